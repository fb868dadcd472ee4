//! Rules at random, and what they allow, found out as simply as that can be: every rule is looked at for every value, and nothing
//! is remembered. It shares no code with the server.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::random::Random;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    user: &'static str,
    name: &'static str,
    team: &'static str,
}

impl Who {
    pub fn random(random: &mut Random) -> Self {
        Self { user: random.pick(&["u", "v", "w"]), name: "", team: "" }.changed(random)
    }

    /// The same user with a token that claims something else, perhaps.
    pub fn changed(self, random: &mut Random) -> Self {
        Self { name: random.pick(&["u", "v", "x"]), team: random.pick(&["a", "b"]), ..self }
    }

    pub fn token(self) -> String {
        format!(r#"{{"sub":"{}","name":"{}","team":"{}"}}"#, self.user, self.name, self.team)
    }
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Reading,
    Subscribing,
    Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Team,
    OtherTeam,
    Few,
    KeyIsNot,
}

impl When {
    const ALL: [Self; 4] = [Self::Team, Self::OtherTeam, Self::Few, Self::KeyIsNot];

    const fn text(self) -> &'static str {
        match self {
            Self::Team => "value.team == claims.team",
            Self::OtherTeam => "value.team != claims.team",
            Self::Few => "value.n < 5",
            Self::KeyIsNot => "key != 'u1'",
        }
    }

    /// `None`: it has no answer.
    fn holds(self, who: Who, key: &str, value: Option<&Value>) -> Option<bool> {
        let field = |name| value.and_then(|value| value.get(name));
        match self {
            Self::Team => Some(field("team")?.as_str()? == who.team),
            Self::OtherTeam => Some(field("team")?.as_str()? != who.team),
            Self::Few => Some(field("n")?.as_i64()? < 5),
            Self::KeyIsNot => Some(key != "u1"),
        }
    }
}

/// One rule about any map.
#[derive(Clone, Debug)]
struct Rule {
    is_deny: bool,
    actions: &'static [&'static str],
    keys: Option<&'static str>,
    fields: Option<&'static [&'static str]>,
    when: Option<When>,
}

impl Rule {
    const fn is_whole(&self) -> bool {
        self.keys.is_none() && self.fields.is_none() && self.when.is_none()
    }
}

#[derive(Clone, Debug)]
pub struct Rules(Vec<Rule>);

/// What of a value is allowed: names, or all of them, but for others.
struct Fields {
    allowed: Option<Vec<&'static str>>,
    denied: Vec<&'static str>,
}

impl Rules {
    pub fn random(random: &mut Random) -> Self {
        const ACTIONS: [&[&str]; 6] =
            [&["read"], &["read"], &["read", "write"], &["subscribe"], &["subscribe", "write"], &["write"]];
        const KEYS: [Option<&str>; 6] =
            [None, None, Some("u*"), Some("{user.id}*"), Some("{claims.name}*"), Some("*1")];
        let rule = |random: &mut Random, is_deny, actions: &'static [&'static str]| Rule {
            is_deny,
            actions,
            keys: random.pick(&KEYS),
            // What is kept of a value depends on when that is written, which is not known here.
            fields: if actions.contains(&"write") {
                None
            } else {
                random.pick(&[None, None, None, Some(&["team"][..]), Some(&["n", "pad"][..])])
            },
            when: if random.per_mille(600) { Some(random.pick(&When::ALL)) } else { None },
        };
        let mut rules = vec![rule(random, false, &["read"])];
        if random.per_mille(500) {
            rules.push(rule(random, false, &["write"]));
        }
        for (is_deny, most) in [(false, 4), (true, 3)] {
            for _ in 0..random.below(most) {
                let actions = random.pick(&ACTIONS);
                rules.push(rule(random, is_deny, actions));
            }
        }
        Self(rules)
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for rule in &self.0 {
            let verb = if rule.is_deny { "deny" } else { "allow" };
            write!(text, "[[rule]]\n{verb} = {:?}\nmaps = [\"**\"]\n", rule.actions).unwrap();
            rule.keys.iter().for_each(|keys| writeln!(text, "keys = [{keys:?}]").unwrap());
            rule.fields.iter().for_each(|fields| writeln!(text, "fields = {fields:?}").unwrap());
            rule.when.iter().for_each(|when| writeln!(text, "when = {:?}", when.text()).unwrap());
        }
        text
    }

    /// Those about one thing to do: who may read may subscribe.
    fn about(&self, doing: Doing) -> impl Iterator<Item = &Rule> {
        let names: &[&str] = match doing {
            Doing::Reading => &["read"],
            Doing::Subscribing => &["read", "subscribe"],
            Doing::Writing => &["write"],
        };
        self.0.iter().filter(move |rule| names.iter().any(|name| rule.actions.contains(name)))
    }

    /// Whether it is not forbidden for all keys, whoever asks.
    pub fn allow(&self, doing: Doing) -> bool {
        self.about(doing).any(|rule| !rule.is_deny)
            && !self.about(doing).any(|rule| rule.is_deny && rule.is_whole())
    }

    /// What somebody sees of a value, or of a key of which nothing is there, or may write.
    pub fn seen(&self, doing: Doing, who: Who, key: &str, value: Option<&str>) -> Option<String> {
        let parsed: Option<Value> = value.map(|value| serde_json::from_str(value).unwrap());
        let fields = self.fields(doing, who, key, parsed.as_ref())?;
        if fields.allowed.is_none() && fields.denied.is_empty() {
            return Some(value.unwrap_or_default().to_owned());
        }
        let object: Map<String, Value> = parsed?.as_object()?.clone();
        let is_seen = |name: &String| {
            let name = &&**name;
            fields.allowed.as_ref().is_none_or(|allowed| allowed.contains(name))
                && !fields.denied.contains(name)
        };
        let rest: Map<String, Value> = object.into_iter().filter(|(name, _)| is_seen(name)).collect();
        (!rest.is_empty()).then(|| Value::Object(rest).to_string())
    }

    fn fields(&self, doing: Doing, who: Who, key: &str, value: Option<&Value>) -> Option<Fields> {
        let holds = |rule: &Rule| {
            let has_key = match rule.keys {
                None => true,
                Some("*1") => key.ends_with('1'),
                Some("u*") => key.starts_with('u'),
                Some("{claims.name}*") => key.starts_with(who.name),
                _ => key.starts_with(who.user),
            };
            if !has_key {
                Some(false)
            } else {
                rule.when.map_or(Some(true), |when| when.holds(who, key, value))
            }
        };
        let mut fields = Fields { allowed: Some(Vec::new()), denied: Vec::new() };
        let mut is_allowed = false;
        for rule in self.about(doing).filter(|rule| !rule.is_deny && holds(rule) == Some(true)) {
            is_allowed = true;
            match (rule.fields, &mut fields.allowed) {
                (Some(names), Some(allowed)) => allowed.extend(names),
                (None, allowed) => *allowed = None,
                _ => {}
            }
        }
        for rule in self.about(doing).filter(|rule| rule.is_deny && holds(rule) != Some(false)) {
            match rule.fields {
                Some(names) => fields.denied.extend(names),
                None => is_allowed = false,
            }
        }
        is_allowed.then_some(fields)
    }

    /// Whether no value decides about anything: then a removal is told to all who might have seen what was removed.
    pub fn are_about_keys(&self, doing: Doing) -> bool {
        let looks =
            |rule: &Rule| rule.fields.is_some() || rule.when.is_some_and(|when| when != When::KeyIsNot);
        let has_whole = self.about(doing).any(|rule| !rule.is_deny && rule.is_whole());
        !self.about(doing).any(|rule| looks(rule) && (rule.is_deny || !has_whole))
    }
}
