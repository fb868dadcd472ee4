//! The application is asked who comes in: in order, within bounds, and whoever leaves meanwhile is nobody's concern.

use annulus::hooks::{Allowed, Happened, Kind, Verdict};
use annulus::limits::{QUESTIONS_ASKED_MAX, QUESTIONS_WAITING_BYTES_MAX};

use crate::world::World;

const RULES: &str = r#"
    [[role]]
    name = "vip"
    [[rule]]
    allow = ["read", "write"]
    maps = ["m"]
    [[rule]]
    allow = ["write"]
    maps = ["vip"]
    roles = ["vip"]
"#;
const ASKED: &str = "[question.on_connect]\nurl = \"http://localhost/\"\notherwise = \"deny\"\n";
const ALLOW: fn() -> Verdict = || Verdict::Allow(Box::default());

fn rules(more: &str) -> String {
    format!("{RULES}{more}")
}

fn token(user: usize) -> String {
    format!("{{'sub':'u{user}'}}")
}

fn is_in(texts: &[String]) -> bool {
    texts.iter().any(|text| text.contains("authenticated"))
}

#[test]
fn no_more_is_asked_than_there_is_room_for_and_all_are_asked_in_order() {
    let mut world = World::with(2, &rules(ASKED), |_| {});
    let count = 3 * QUESTIONS_ASKED_MAX;
    let clients: Vec<_> =
        (0..count).map(|user| world.connect(0, Some(&token(user)), "/v1", "127.0.0.1")).collect();
    world.settle();
    let mut answered = 0;
    while answered < count {
        let asked = world.asked(0);
        assert!(!asked.is_empty() && asked.len() <= QUESTIONS_ASKED_MAX, "{}", asked.len());
        world.settle();
        assert!(world.asked(0).is_empty(), "there would be no room for more answers");
        for ask in &asked {
            let body: serde_json::Value = serde_json::from_slice(&ask.body).unwrap();
            assert_eq!(body["user"], format!("u{answered}"));
            answered += 1;
            world.say(0, ask, ALLOW());
        }
        world.settle();
    }
    assert!(clients.iter().all(|&client| is_in(&world.texts(client))));
    assert!(world.asked(0).is_empty());
}

#[test]
fn who_finds_no_room_comes_back_later_and_others_are_served() {
    let mut world = World::with(1, &rules(ASKED), |_| {});
    let inside = world.connect(0, Some(&token(0)), "/v1", "127.0.0.1");
    world.settle();
    let first = world.asked(0).pop().unwrap();
    world.say(0, &first, ALLOW());
    world.settle();
    assert!(is_in(&world.texts(inside)));
    let claim = "x".repeat(10_000);
    let large = |user: usize| format!("{{'sub':'v{user}','large':'{claim}'}}");
    let fit = QUESTIONS_WAITING_BYTES_MAX / claim.len();
    let clients: Vec<_> =
        (0..fit + 20).map(|user| world.connect(0, Some(&large(user)), "/v1", "127.0.0.1")).collect();
    world.settle();
    let texts: Vec<_> = clients.iter().map(|&client| world.texts(client)).collect();
    let away = texts.iter().filter(|texts| texts.iter().any(|text| text.starts_with("close 1013"))).count();
    assert!((20..100).contains(&away), "{away} of {} are turned away", clients.len());
    let said = world.ask(inside, r#"{"type":"ping","id":1}"#);
    assert!(said[0].contains("pong"), "{said:?}");
    // Who is first in line stays, so that what those behind it had asked is still kept, and counts.
    let stays = clients[QUESTIONS_ASKED_MAX];
    clients.iter().filter(|&&client| client != stays).for_each(|&client| world.fail(client));
    world.settle();
    let crowd: Vec<_> =
        (0..fit).map(|user| world.connect(0, Some(&large(user)), "/v1", "127.0.0.1")).collect();
    world.settle();
    let is_away = |texts: &[String]| texts.iter().any(|text| text.starts_with("close 1013"));
    let away = crowd.iter().filter(|&&client| is_away(&world.texts(client))).count();
    assert!(away >= 100, "{away} of {fit} are turned away");
    crowd.iter().for_each(|&client| world.fail(client));
    for ask in world.asked(0) {
        world.say(0, &ask, ALLOW());
    }
    world.settle();
    let again = world.connect(0, Some(&token(1)), "/v1", "127.0.0.1");
    world.settle();
    // Those who have left are answered all the same, which lets nobody in.
    for _ in 0..2 {
        for ask in world.asked(0) {
            world.say(0, &ask, ALLOW());
        }
        world.settle();
    }
    assert!(is_in(&world.texts(again)));
    assert!(is_in(&world.texts(stays)));
    assert_eq!(world.metrics().connections, 3);
}

#[test]
fn an_answer_to_who_has_left_lets_nobody_in_who_has_its_place() {
    let mut world = World::with(1, &rules(ASKED), |_| {});
    let gone = world.connect(0, Some(&token(0)), "/v1", "127.0.0.1");
    world.settle();
    let stale = world.asked(0).pop().unwrap();
    world.fail(gone);
    world.settle();
    let other = world.connect(0, Some(&token(1)), "/v1", "127.0.0.1");
    world.settle();
    assert_eq!(gone.id.index, other.id.index, "the same slot");
    world.say(0, &stale, ALLOW());
    world.settle();
    assert!(world.texts(other).is_empty() && world.listed("u0").is_empty());
    let asked = world.asked(0).pop().unwrap();
    world.say(0, &asked, Verdict::Deny { reason: Some("no".into()) });
    world.settle();
    assert_eq!(world.texts(other), ["close 4003 no"]);
    assert!(world.listed("u1").is_empty(), "who is turned away was on no list");
}

#[test]
fn roles_that_are_given_count_and_go_with_the_rules_that_name_them() {
    let mut world = World::with(2, &rules(ASKED), |_| {});
    let client = world.connect(1, Some(&token(0)), "/v1", "127.0.0.1");
    world.settle();
    let ask = world.asked(1).pop().unwrap();
    let allowed =
        Allowed { roles: ["vip".into()].into(), welcome: [(*b"7").into()].into(), ..Allowed::default() };
    world.say(1, &ask, Verdict::Allow(Box::new(allowed)));
    world.settle();
    let texts = world.texts(client);
    assert!(
        texts[1].contains(r#""roles":["vip"]"#) && texts[2] == r#"{"type":"welcome","data":7}"#,
        "{texts:?}"
    );
    let write = r#"{"type":"write","id":1,"ops":[{"map":"vip","key":"k","op":"set","value":1}]}"#;
    assert!(world.ask(client, write)[0].contains(r#""applied":1"#));
    world.stand(&rules(&format!("{ASKED}[[rule]]\ndeny = [\"write\"]\nmaps = [\"vip\"]\n")));
    assert!(world.ask(client, write)[0].contains("forbidden"));
    world.stand(&rules(ASKED));
    assert!(world.ask(client, write)[0].contains(r#""applied":1"#), "the role has stayed");
}

#[test]
fn what_was_given_to_nobody_in_particular_is_not_the_users() {
    let mut world = World::with(1, &rules(ASKED), |_| {});
    let client = world.connect(0, None, "/v1", "127.0.0.1");
    world.settle();
    let vip = || Allowed { roles: ["vip".into()].into(), ..Allowed::default() };
    let ask = world.asked(0).pop().unwrap();
    world.say(0, &ask, Verdict::Allow(Box::new(vip())));
    world.settle();
    world.texts(client);
    let write = r#"{"type":"write","id":1,"ops":[{"map":"vip","key":"k","op":"set","value":1}]}"#;
    assert!(world.ask(client, write)[0].contains(r#""applied":1"#));
    let auth = format!(r#"{{"type":"auth","id":2,"token":"{}"}}"#, token(0));
    for _ in 0..2 {
        assert!(world.ask(client, &auth).is_empty() || world.asked(0).is_empty());
        for ask in world.asked(0) {
            world.say(0, &ask, ALLOW());
        }
        world.settle();
        world.texts(client);
        assert!(world.ask(client, write)[0].contains("forbidden"));
    }
}

#[test]
fn changes_are_told_by_the_owner_once_a_turn_and_map_and_nobody_else_hears() {
    let hook = "[[hook]]\nevents = [\"changed\"]\nnames = [\"m\"]\nurl = \"http://localhost/\"\n";
    let mut world = World::with(3, &rules(hook), |_| {});
    let (client, _) = world.open(0, &token(0));
    let op = |map: &str, key: usize| format!(r#"{{"map":"{map}","key":"k{key}","op":"set","value":1}}"#);
    let ops: Vec<String> = (0..600).map(|key| op("m", key)).chain([op("vip", 1), op("m", 599)]).collect();
    world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(",")));
    let told = world.told();
    let mut keys: Vec<&str> = told
        .iter()
        .flat_map(|what| {
            let Happened::Changed { map, keys } = what else { panic!("{what:?}") };
            assert_eq!(&**map, "m");
            keys.iter().map(|key| &**key)
        })
        .collect();
    assert_eq!(keys.len(), 600, "the last one follows itself");
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 600);
    assert!(told.len() <= 9, "some hundred keys an event, and not one: {}", told.len());
    assert!(told.iter().all(|what| what.kind() == Kind::Changed));
    world.stand(RULES);
    world.ask(client, &format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, op("m", 7)));
    assert!(world.told().is_empty(), "nobody wants to hear of anything");
}

#[test]
fn keys_that_are_to_be_seen_first_come_before_messages_that_have_waited() {
    let greetings: String =
        (0..6).map(|key| format!("[[welcome]]\nmap = \"m\"\nkey = \"k{key}\"\n")).collect();
    let send = "[[rule]]\nallow = [\"send\"]\nmaps = [\"user:*\"]\n";
    let mut world = World::with(3, &rules(&[send, &greetings].concat()), |_| {});
    let (writer, _) = world.open(0, "{'sub':'writer'}");
    for key in 0..6 {
        let op = format!(r#"{{"map":"m","key":"k{key}","op":"set","value":{key}}}"#);
        world.ask(writer, &format!(r#"{{"type":"write","id":1,"ops":[{op}]}}"#));
    }
    for home in 0..3 {
        let user = world.user_of(home, "reader");
        let sent =
            world.ask(writer, &format!(r#"{{"type":"send","id":2,"to":"user:{user}","data":"later"}}"#));
        assert!(sent[0].contains("queued"), "{sent:?}");
        // One in which what it may be sent is looked at later, and one that becomes somebody when it is open.
        let at_once = world.open(1, &format!("{{'sub':'{user}'}}")).1;
        let anonymous = world.connect(2, None, "/v1", "127.0.0.1");
        world.settle();
        world.texts(anonymous);
        let later = world.ask(anonymous, &format!(r#"{{"type":"auth","token":"{{'sub':'{user}'}}"}}"#));
        for texts in [at_once, later] {
            let places = |of: &str| -> Vec<usize> {
                (0..texts.len()).filter(|&place| texts[place].contains(of)).collect()
            };
            let (entries, direct) = (places(r#""type":"entries""#), places(r#""type":"direct""#));
            assert!(entries.len() == 6 || entries.is_empty(), "who was welcomed as nobody is not again");
            assert_eq!(direct, [texts.len() - 1], "it comes once, after all others: {texts:?}");
        }
    }
}
