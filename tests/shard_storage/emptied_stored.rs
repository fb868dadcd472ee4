//! Maps of a storage that nothing is left of: memory is given back by deleting, whatever its limit is. What a removal is
//! remembered by goes after the retention; what is left of the map then is nothing that the storage does not have.

use crate::world::World;

#[test]
fn a_map_without_a_cell_leaves_once_that_is_in_the_base() {
    for shards in [1, 2] {
        let mut world = World::with(shards, |config| config.tombstone_retention_ms = 1_000);
        let client = world.connect(0);
        world.received(client);
        let empty = world.metrics().resident_bytes;
        let write = |world: &mut World, op: &str, keys: std::ops::Range<usize>| {
            let op = |n| format!(r#"{{"map":"m{n}","key":"k","op":{op}}}"#);
            let ops = keys.map(op).collect::<Vec<_>>().join(",");
            let mut answers = world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
            world.serve();
            answers.extend(world.received(client));
            answers
        };
        // Two are used again while they wait.
        let (maps, used) = (500, 0..2);
        write(&mut world, r#""set","value":1"#, 0..maps);
        write(&mut world, r#""delete""#, 0..maps);
        let pass = |world: &mut World| (0..10).for_each(|_| world.pass_ms(1_000));
        pass(&mut world);
        let held = world.metrics();
        assert!(held.cells == 0 && held.resident_bytes > empty, "nothing is in the base");
        write(&mut world, r#""set","value":2"#, used.clone());
        world.fold();
        pass(&mut world);
        let left = world.metrics();
        assert_eq!(left.cells, used.len() as u64);
        let each = held.resident_bytes / maps as u64;
        assert!(
            left.resident_bytes < empty + 4 * each,
            "{} bytes of {}",
            left.resident_bytes,
            held.resident_bytes
        );
        world.check_gauges();
        // They keep their type, and come back.
        let refused = write(&mut world, r#""increment","by":1"#, 5..6);
        assert_eq!(refused[0]["rejected"][0]["code"], "map_type", "{refused:?}");
        write(&mut world, r#""delete""#, used.clone());
        world.fold();
        pass(&mut world);
        assert_eq!(world.metrics().resident_bytes, empty);
    }
}
