//! Rules as their authors think of them.

use super::*;

fn rules(text: &str) -> Arc<Rules> {
    Arc::new(Rules::parse(text).unwrap_or_else(|error| panic!("{error}")))
}

fn identity(claims: &str) -> Identity {
    Identity::of_claims(&serde_json::from_str(claims).expect("claims"), "roles").expect("an identity")
}

fn view(rules: &Arc<Rules>, claims: &str, action: Action, map: &str) -> View {
    rules.grant(&identity(claims)).view(action, map)
}

fn seen(rules: &Arc<Rules>, claims: &str, (map, key): (&str, &str), value: &str) -> Option<String> {
    let facts = Facts::read(map, key, value.as_bytes());
    let fields = view(rules, claims, Action::Read, map).fields(&facts, &mut Asked::default())?;
    Some(String::from_utf8(fields.seen(value.as_bytes())?.into()).expect("JSON"))
}

fn written(
    rules: &Arc<Rules>,
    claims: &str,
    key: &str,
    value: &str,
    current: Option<&str>,
) -> Option<String> {
    let facts = Facts::new("m", key, Some(value.as_bytes()), current.map(str::as_bytes));
    let View::Parts(parts) = view(rules, claims, Action::Write, "m") else {
        panic!("it depends on the value")
    };
    let written = parts.written(&facts, &mut Asked::default())?;
    Some(String::from_utf8(written.into_owned()).expect("JSON"))
}

const MEMBER: &str = r#"{"sub":"u1","roles":["member"],"team":"x"}"#;

#[test]
fn the_example_of_the_page_says_what_it_should() {
    let rules = rules(
        r#"
        [[role]]
        name = "member"
        [[rule]]
        allow = ["read", "write"]
        maps = ["todos:{user.id}", "board:*"]
        keys = ["*"]
        roles = ["member"]
        fields = ["title", "done"]
        when = "claims.team == value.team"
        [[rule]]
        deny = ["write"]
        maps = ["board:archive"]
        "#,
    );
    let value = r#"{"done":true,"secret":1,"team":"x","title":"t"}"#;
    let some = Some(r#"{"done":true,"title":"t"}"#);
    assert_eq!(seen(&rules, MEMBER, ("todos:u1", "list-1:a"), value).as_deref(), some);
    assert_eq!(seen(&rules, MEMBER, ("board:archive", "k"), value).as_deref(), some);
    assert_eq!(seen(&rules, MEMBER, ("todos:u2", "k"), value), None);
    assert_eq!(seen(&rules, MEMBER, ("board:a:b", "k"), value), None);
    assert_eq!(seen(&rules, MEMBER, ("todos:u1", "k"), r#"{"done":true,"team":"y"}"#), None);
    assert_eq!(seen(&rules, MEMBER, ("todos:u1", "k"), r#"{"done":true}"#), None, "no answer denies");
    assert_eq!(seen(&rules, r#"{"sub":"u1"}"#, ("todos:u1", "k"), value), None);
    assert_eq!(seen(&rules, r#"{"sub":"u9","roles":["admin"]}"#, ("x", "k"), value).as_deref(), Some(value));
    for action in [Action::Write, Action::Delete] {
        assert_eq!(view(&rules, MEMBER, action, "board:archive"), View::None);
    }
    assert_eq!(view(&rules, MEMBER, Action::Publish, "board:x"), View::None);
    assert_ne!(view(&rules, MEMBER, Action::Subscribe, "board:archive"), View::None);
}

#[test]
fn equal_rights_are_one_view() {
    let rules = rules(
        r#"
        [[rule]]
        allow = ["read"]
        maps = ["m", "own:{user.id}"]
        when = "claims.team == value.team"
        [[rule]]
        allow = ["read"]
        maps = ["open"]
        [[rule]]
        allow = ["read"]
        maps = ["open"]
        when = "user.id == 'x'"
        "#,
    );
    let [a, b, c] = [
        r#"{"sub":"a","team":"x","exp":1}"#,
        r#"{"sub":"b","team":"x","exp":2,"more":[1]}"#,
        r#"{"sub":"c","team":"y"}"#,
    ];
    let read = |claims, map| view(&rules, claims, Action::Read, map);
    assert_eq!(read(a, "m"), read(b, "m"));
    assert_ne!(read(a, "m"), read(c, "m"));
    assert_ne!(rules.grant(&identity(a)), rules.grant(&identity(b)), "they have maps of their own");
    for claims in [a, b, c] {
        assert_eq!((read(claims, "open"), read(claims, "closed")), (View::All, View::None));
    }
}

#[test]
fn no_field_that_may_not_change_opens_a_door() {
    let rules = rules(
        r#"
        [[rule]]
        allow = ["write"]
        maps = ["m"]
        fields = ["title"]
        when = "claims.team == value.team"
        "#,
    );
    let other = Some(r#"{"team":"y","title":"a"}"#);
    assert_eq!(written(&rules, MEMBER, "k", r#"{"team":"x","title":"b"}"#, other), None, "the team stays y");
    let own = Some(r#"{"team":"x","title":"a"}"#);
    let expected = Some(r#"{"team":"x","title":"b"}"#);
    assert_eq!(written(&rules, MEMBER, "k", r#"{"team":"y","title":"b"}"#, own).as_deref(), expected);
    assert_eq!(
        written(&rules, MEMBER, "k", r#"{"team":"x","title":"b"}"#, None),
        None,
        "the team would not be there"
    );
}

#[test]
fn denied_fields_and_states_stay() {
    let rules = rules(
        r#"
        [[rule]]
        allow = ["write"]
        maps = ["m"]
        [[rule]]
        deny = ["write"]
        maps = ["m"]
        fields = ["owner"]
        when = "current != null && current.owner != user.id"
        [[rule]]
        deny = ["write"]
        maps = ["m"]
        when = "current != null && has(current.locked) && current.locked"
        "#,
    );
    let at = |value, current| written(&rules, MEMBER, "k", value, current);
    assert_eq!(at(r#"{"owner":"u1"}"#, None).as_deref(), Some(r#"{"owner":"u1"}"#));
    assert_eq!(
        at(r#"{"a":1,"owner":"u1"}"#, Some(r#"{"owner":"u2"}"#)).as_deref(),
        Some(r#"{"a":1,"owner":"u2"}"#)
    );
    assert_eq!(at(r#"{"owner":"u3"}"#, Some(r#"{"owner":"u1"}"#)).as_deref(), Some(r#"{"owner":"u3"}"#));
    assert_eq!(at(r#"{"owner":"u1"}"#, Some(r#"{"locked":true,"owner":"u1"}"#)), None);
    assert_eq!(at(r#"{"owner":"u1"}"#, Some("7")), None, "no answer denies");
}

#[test]
fn a_bad_file_says_where() {
    let rule = |more: &str| format!("[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\n{more}");
    for (text, expected) in [
        (rule("rolls = [\"a\"]"), "unknown field `rolls`"),
        (rule("deny = [\"read\"]"), "rule 1: it says either allow or deny"),
        ("[[rule]]\nmaps = [\"m\"]".into(), "rule 1: it says either allow or deny"),
        ("[[rule]]\nallow = []\nmaps = [\"m\"]".into(), "rule 1: it says either allow or deny"),
        ("[[rule]]\nallow = [\"reed\"]\nmaps = [\"m\"]".into(), "there is no action \"reed\""),
        ("[[rule]]\nallow = [\"read\"]\nmaps = []".into(), "rule 1: \"maps\" is empty"),
        (rule("roles = [\"editor\"]"), "rule 1: there is no role \"editor\""),
        (
            format!("{}\n{}", rule(""), rule("keys = [\"{claims}\"]")),
            "rule 2: \"{claims}\": in braces stands",
        ),
        (rule("when = \"vaule.x\""), "rule 1: when: there is no `vaule`"),
        (rule("when = \"1 +\""), "rule 1: when: ERROR"),
        ("rule = 7".into(), "invalid type"),
        ("[limits.editor]\nops_per_second = 1".into(), "[limits.editor]: there is no such role"),
        ("[limits.anonymous]\nops_per_second = 1".into(), "[limits.anonymous]: anonymous is no user"),
        ("[limits.admin]\nburst_seconds = 0".into(), "[limits.admin]: burst_seconds is from 1 to 3600"),
        ("[limits.admin]\nops_per_second = -1".into(), "TOML parse error at line 2, column 18"),
        ("[limits.admin]\nops = 1".into(), "unknown field `ops`"),
        ("#".repeat(1 << 20), "more than 262144 bytes"),
        (rule("").repeat(1001), "more than 1000 rules"),
    ] {
        let error = Rules::parse(&text).map(|_| ()).expect_err(&text[..text.len().min(60)]).to_string();
        assert!(error.contains(expected), "{error}\nhas not: {expected}");
    }
}

#[test]
fn of_several_roles_the_most_generous_rates_count() {
    let text = "[[role]]\nname = \"a\"\n[[role]]\nname = \"b\"\n[[role]]\nname = \"c\"\n\
        [limits.a]\nmessages_per_second = 5\nops_per_second = 1\n\
        [limits.b]\nmessages_per_second = 3\nops_per_second = 2\nbytes_per_second = 9";
    let rules = rules(text);
    let rates = |roles: &str| {
        let rates = rules.rates(&identity(&format!(r#"{{"sub":"u","roles":"{roles}"}}"#)))?;
        Some([rates.messages_per_second, rates.ops_per_second, rates.bytes_per_second])
    };
    for (roles, expected) in [
        ("a", Some([5, 1, 0])),
        ("b", Some([3, 2, 9])),
        ("a b", Some([5, 2, 0])),
        ("b c", Some([3, 2, 9])),
        ("c", None),
        ("", None),
    ] {
        assert_eq!(rates(roles), expected, "{roles}");
    }
}

#[test]
fn views_go_to_other_threads() {
    const fn goes<T: Send + Sync>() {}
    goes::<View>();
    goes::<Grant>();
}

#[test]
fn keys_that_begin_in_certain_ways_are_known_by_that() {
    let beginnings = |text: &str, claims: &str| match view(&rules(text), claims, Action::Read, "m") {
        View::Parts(parts) => parts.key_beginnings().map(|texts| texts.join(" ")),
        view => panic!("{view:?}"),
    };
    let rule = |keys: &str| format!("[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nkeys = {keys}\n");
    let deny = "[[rule]]\ndeny = [\"read\"]\nmaps = [\"m\"]\nkeys = [\"*x\"]\n";
    for (text, expected) in [
        (rule(r#"["a:*", "b"]"#), Some("a: b")),
        (rule(r#"["ab", "a**", "abc*", "b*"]"#), Some("a b")),
        (rule(r#"["a*"]"#) + &rule(r#"["{user.id}:*"]"#) + deny, Some("a u1:")),
        (rule(r#"["a*", "*b"]"#), None),
        (rule(r#"["a*"]"#) + "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nwhen = \"value.n > 1\"\n", None),
    ] {
        assert_eq!(beginnings(&text, MEMBER).as_deref(), expected, "{text}");
    }
}

#[test]
fn equal_views_of_equal_files_have_one_digest_and_others_another() {
    let text = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nkeys = [\"{user.id}*\"]\nwhen = \"claims.team == 'x'\"\n";
    let digest = |text: &str, claims: &str| match view(&rules(text), claims, Action::Read, "m") {
        View::Parts(parts) => parts.digest(),
        view => panic!("{view:?}"),
    };
    let of_member = digest(text, MEMBER);
    assert_eq!(digest(text, &MEMBER.replace("member", "other")), of_member, "nothing looks at roles");
    assert_ne!(digest(text, &MEMBER.replace("u1", "u2")), of_member);
    assert_ne!(digest(text, &MEMBER.replace(r#""x""#, r#""y""#)), of_member);
    assert_ne!(digest(&format!("{text}# the same\n"), MEMBER), of_member);
}

#[test]
fn a_condition_that_would_take_too_long_has_no_answer() {
    let rules =
        rules("[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nwhen = \"value.all(x, x >= 0 && x < 10)\"");
    let View::Parts(parts) = view(&rules, MEMBER, Action::Read, "m") else { panic!("it depends") };
    let asked = |elements: usize| {
        let value = serde_json::to_vec(&vec![1; elements]).expect("JSON");
        let (facts, mut asked) = (Facts::read("m", "k", &value), Asked::default());
        let is_seen = parts.fields(&facts, &mut asked).is_some();
        (is_seen, asked.undecided, asked.work)
    };
    assert!(asked(100).0);
    let quadratic = Arc::new(
        Rules::parse("[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nwhen = \"value.all(x, x in value)\"")
            .expect("rules"),
    );
    let View::Parts(searching) = view(&quadratic, MEMBER, Action::Read, "m") else { panic!("it depends") };
    let is_met = |elements: usize| {
        let value = serde_json::to_vec(&vec![1; elements]).expect("JSON");
        searching.fields(&Facts::read("m", "k", &value), &mut Asked::default()).is_some()
    };
    assert!(is_met(50) && !is_met(2_000), "what is searched in each round counts for each");
    let (is_seen, undecided, most) = asked(100_000);
    assert_eq!((is_seen, undecided), (false, 1));
    let (.., some) = asked(1_000);
    assert!(some < most && some > 1_000, "what it takes is counted: {some}, {most}");
}

#[test]
fn what_a_denial_keeps_is_asked_about_again() {
    let rules = rules(
        r#"
        [[rule]]
        allow = ["write"]
        maps = ["m"]
        when = "value.owner == user.id"
        [[rule]]
        deny = ["write"]
        maps = ["m"]
        fields = ["owner"]
        when = "current != null"
        "#,
    );
    let other = Some(r#"{"owner":"alice","t":1}"#);
    assert_eq!(written(&rules, MEMBER, "k", r#"{"owner":"u1","t":2}"#, other), None, "the owner stays alice");
    let own = Some(r#"{"owner":"u1","t":1}"#);
    let expected = Some(r#"{"owner":"u1","t":2}"#);
    assert_eq!(written(&rules, MEMBER, "k", r#"{"owner":"u1","t":2}"#, own).as_deref(), expected);
    assert_eq!(written(&rules, MEMBER, "k", r#"{"owner":"u1","t":2}"#, None).as_deref(), expected);
    let locked = self::rules(
        r#"
        [[rule]]
        allow = ["write"]
        maps = ["m"]
        [[rule]]
        deny = ["write"]
        maps = ["m"]
        when = "has(value.locked) && value.locked"
        [[rule]]
        deny = ["write"]
        maps = ["m"]
        fields = ["locked"]
        "#,
    );
    let there = Some(r#"{"locked":true,"t":1}"#);
    assert_eq!(written(&locked, MEMBER, "k", r#"{"locked":false,"t":2}"#, there), None);
}

#[test]
fn a_grant_is_small_however_many_rules_name_their_user() {
    let rule = |n: usize| {
        format!(
            "[[rule]]\nallow = [\"read\"]\nmaps = [\"area-{n}:{{user.id}}\", \"team-{n}:{{claims.team}}\"]\n"
        )
    };
    let rules = rules(&(0..200).map(rule).collect::<String>());
    let granted = |claims: &str| rules.grant(&identity(claims));
    let Grant::Some(clauses) = granted(MEMBER) else { panic!("it is a member") };
    let About::Known { who, rules: bits } = &clauses.about else { panic!("rules are in force") };
    assert!(who.bytes() < 100 && bits.len() == 4, "{who:?}");
    for (map, expected) in [
        ("area-7:u1", View::All),
        ("team-199:x", View::All),
        ("area-7:u2", View::None),
        ("team-7:y", View::None),
    ] {
        assert_eq!(view(&rules, MEMBER, Action::Read, map), expected, "{map}");
    }
    // What no rule looks at makes no other grant.
    assert_eq!(granted(MEMBER), granted(r#"{"sub":"u1","team":"x","iat":7,"more":[1,2]}"#));
    assert_ne!(granted(MEMBER), granted(r#"{"sub":"u1","team":"y"}"#));
}
