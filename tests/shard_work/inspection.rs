//! What whoever runs the server asks costs a turn the same however much there is, and a walk in shares misses nothing that stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use annulus::handover::connect_inspection;
use annulus::handover::inspection::{
    Ask, Finding, Inquiry, InspectionEnd, KeysOf, Share, Walk, WantedClients,
};
use annulus::limits::{INSPECTED_BYTES_MAX, INSPECTED_SLOTS_MAX, INSPECTED_VALUE_BYTES_MAX};
use annulus::shard::work;

use crate::client_frames::text_frame;
use crate::host::Host;

const CLIENTS: usize = 2_500;
const MAPS: usize = 3_000;
/// Units of one answer: a look at each slot, and a row of each that is told.
const ANSWER_MAX: u64 = INSPECTED_SLOTS_MAX as u64 * work::WALKED + 500 * work::FRAME + work::MESSAGE_MIN;

/// A shard with many clients and maps, and the other end of its queue of questions.
fn crowded() -> (Host, InspectionEnd) {
    let mut host = Host::new(|config| (config.connections_max, config.handshakes_max) = (10_000, 10_000));
    let (port, end) = connect_inspection(1, &Arc::default()).pop().unwrap();
    host.shard().open_to_inspection(port);
    let writer = host.open();
    let names: Vec<String> = (0..MAPS).map(|number| format!("map-{number}")).collect();
    for names in names.chunks(500) {
        let op = |name: &String| {
            format!(r#"{{"map":"{name}","key":"k","op":"set","value":"{}"}}"#, "v".repeat(200))
        };
        let ops: Vec<String> = names.iter().map(op).collect();
        let write = format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(","));
        host.receive(writer, &text_frame(write.as_bytes()));
        host.settle();
    }
    for _ in 1..CLIENTS {
        host.open();
    }
    host.settle();
    (host, end)
}

fn ask(host: &mut Host, end: &mut InspectionEnd, inquiry: Inquiry) -> Finding {
    end.ask.push(Ask { number: 7, inquiry }).unwrap();
    host.turn();
    assert!(host.work() <= ANSWER_MAX, "{} units for one answer", host.work());
    let told = end.told.pop().expect("it is answered by the next turn");
    assert_eq!(told.number, 7);
    told.finding
}

/// All rows of a walk, which is meanwhile disturbed.
fn walk<T>(mut share: impl FnMut(Walk) -> Share<T>) -> Vec<T> {
    let (mut rows, mut from) = (Vec::new(), 0);
    loop {
        let found = share(Walk { from, rows_max: 500 });
        assert!(found.looked_at <= INSPECTED_SLOTS_MAX && found.rows.len() <= 500);
        rows.extend(found.rows);
        match found.next {
            Some(next) => from = next,
            None => return rows,
        }
    }
}

#[test]
fn lists_cost_the_same_a_share_and_have_each_that_stays_once_while_others_come_and_go() {
    let (mut host, mut end) = crowded();
    let nobody = host.open();
    let (mut comes, mut goes) = (Vec::new(), vec![nobody]);
    let rows = walk(|walk| {
        // In each turn one comes and one goes.
        comes.push(host.open());
        goes.pop().into_iter().for_each(|id| host.reset(id));
        let wanted = WantedClients::default();
        match ask(&mut host, &mut end, Inquiry::Clients { walk, wanted }) {
            Finding::Clients(share) => share,
            other => panic!("{other:?}"),
        }
    });
    let ids: BTreeSet<_> = rows.iter().map(|row| row.connection).collect();
    assert_eq!(ids.len(), rows.len(), "nobody is told twice");
    assert!(rows.len() >= CLIENTS, "{} of {CLIENTS} are told", rows.len());

    let rows = walk(|walk| {
        let inquiry = Inquiry::Maps { walk, prefix: "map-1".into(), map_type: None };
        match ask(&mut host, &mut end, inquiry) {
            Finding::Maps(share) => share,
            other => panic!("{other:?}"),
        }
    });
    let names: BTreeSet<_> = rows.iter().map(|row| row.map.clone()).collect();
    // Of 0 to 2999: 1, 10 to 19, 100 to 199, 1000 to 1999.
    assert_eq!((names.len(), rows.len()), (1_111, 1_111));

    let maps: Arc<[Box<str>]> = rows.iter().take(500).map(|row| row.map.clone()).collect();
    let parts = match ask(&mut host, &mut end, Inquiry::MapParts { maps }) {
        Finding::MapParts(parts) => parts,
        other => panic!("{other:?}"),
    };
    assert!(parts.len() == 500 && parts.iter().all(|part| (part.keys, part.state) == (1, "loaded")));
}

#[test]
fn a_share_of_keys_ends_by_its_bytes() {
    let mut host = Host::new(|_| {});
    let (port, mut end) = connect_inspection(1, &Arc::default()).pop().unwrap();
    host.shard().open_to_inspection(port);
    let writer = host.open();
    let value = "v".repeat(INSPECTED_VALUE_BYTES_MAX - 10);
    for number in 0..100 {
        let write = format!(
            r#"{{"type":"write","ops":[{{"map":"m","key":"k{number}","op":"set","value":"{value}"}}]}}"#
        );
        host.receive(writer, &text_frame(write.as_bytes()));
        host.settle();
    }
    let mut shares = 0;
    let rows = walk(|walk| {
        shares += 1;
        let inquiry = Inquiry::Keys { map: "m".into(), prefix: "".into(), walk };
        let Finding::Keys(KeysOf::Loaded(keys)) = ask(&mut host, &mut end, inquiry) else {
            panic!("they are there")
        };
        let bytes: usize = keys.rows.iter().map(|row| row.value.as_ref().unwrap().len()).sum();
        assert!(bytes <= INSPECTED_BYTES_MAX + INSPECTED_VALUE_BYTES_MAX, "{bytes} bytes in one answer");
        keys
    });
    let keys: BTreeSet<_> = rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!((keys.len(), rows.len()), (100, 100));
    assert!(shares >= 6, "{shares} shares");
}

#[test]
fn a_check_is_spread_over_turns_and_nobody_asks_costs_nothing() {
    let (mut host, mut end) = crowded();
    host.turn();
    assert_eq!(host.work(), 0, "a turn in which nobody asks");
    end.ask.push(Ask { number: 1, inquiry: Inquiry::Check }).unwrap();
    let (most, turns) = host.settle();
    assert!(most <= 2 * 512 * work::WALKED + work::MESSAGE_MIN, "{most} units in one turn");
    assert!(turns > 10, "{turns} turns");
    let told = end.told.pop().expect("nobody is suspect");
    let Finding::Checked(checked) = told.finding else { panic!("{told:?}") };
    assert_eq!((checked.violations, checked.problems), (0, Vec::new()));
    assert!(checked.looked_at > MAPS as u64);
}
