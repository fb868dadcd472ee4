//! A member that takes nothing falls behind, and is told everything again once it has.

use crate::person::{View, ask, connect, told, world_with};

#[test]
fn who_is_slow_is_told_everything_again_and_lacks_nothing() {
    for (shards, full_max) in [(1, 200), (3, 200), (1, 2), (3, 2)] {
        let mut world = world_with(shards, |config| {
            config.outbox_soft_bytes = 3_000;
            config.presence.full_max = full_max;
        });
        let slow = connect(&mut world, shards - 1, "slow");
        let mut view = View::default();
        let join = |n: usize| format!("{{'type':'presence.join','id':1,'room':'doc','state':{n}}}");
        ask(&mut world, slow, &join(0)).iter().for_each(|message| view.hear(message));
        world.stall(slow, true);
        let others: Vec<_> = (0..5).map(|n| connect(&mut world, n % shards, &format!("u{n}"))).collect();
        for (n, &client) in others.iter().enumerate() {
            ask(&mut world, client, &join(n));
        }
        for n in 0..200 {
            let state = "s".repeat(100 + n);
            let update = format!("{{'type':'presence.update','room':'doc','state':'{state}'}}");
            ask(&mut world, others[n % 5], &update);
            if full_max == 2 {
                ask(&mut world, others[4], "{'type':'presence.leave','room':'doc'}");
                ask(&mut world, others[4], &join(n));
            }
        }
        world.close(others[3]);
        world.settle();
        let conflations = world.metrics().presence_conflations;
        assert!(full_max == 2 || conflations > 0, "it was never slow");
        world.stall(slow, false);
        world.settle();
        world.pass_ms(100);
        told(&mut world, slow).iter().for_each(|message| view.hear(message));
        let late = connect(&mut world, 0, "");
        let answer = ask(&mut world, late, "{'type':'presence.watch','id':1,'room':'doc'}");
        let mut truth = View::default();
        truth.hear(&answer[0]);
        assert_eq!(view, truth, "{shards} shards, {full_max}");
        assert_eq!(view.count, 5);
    }
}
