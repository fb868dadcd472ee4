//! Rules at random, and what they allow, found out as simply as that can be: every rule is looked at for every value, and nothing
//! is remembered. It shares no code with the server.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::random::Random;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub user: &'static str,
    pub team: &'static str,
}

pub const WHO: [Who; 3] =
    [Who { user: "u", team: "a" }, Who { user: "v", team: "b" }, Who { user: "w", team: "a" }];

impl Who {
    pub fn claims(self) -> String {
        format!(r#"{{"sub":"{}","team":"{}"}}"#, self.user, self.team)
    }
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

/// One rule about reading any map.
#[derive(Clone, Debug)]
struct Rule {
    is_deny: bool,
    keys: Option<&'static str>,
    fields: Option<&'static [&'static str]>,
    when: Option<When>,
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
        let rule = |random: &mut Random, is_deny| Rule {
            is_deny,
            keys: random.pick(&[None, None, Some("u*"), Some("{user.id}*"), Some("*1")]),
            fields: random.pick(&[None, None, None, Some(&["team"][..]), Some(&["n", "pad"][..])]),
            when: if random.per_mille(600) { Some(random.pick(&When::ALL)) } else { None },
        };
        let mut rules: Vec<Rule> = (0..random.between(1, 3)).map(|_| rule(random, false)).collect();
        rules.extend((0..random.below(3)).map(|_| rule(random, true)));
        Self(rules)
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for rule in &self.0 {
            let verb = if rule.is_deny { "deny" } else { "allow" };
            write!(text, "[[rule]]\n{verb} = [\"read\"]\nmaps = [\"**\"]\n").unwrap();
            rule.keys.iter().for_each(|keys| writeln!(text, "keys = [{keys:?}]").unwrap());
            rule.fields.iter().for_each(|fields| writeln!(text, "fields = {fields:?}").unwrap());
            rule.when.iter().for_each(|when| writeln!(text, "when = {:?}", when.text()).unwrap());
        }
        text
    }

    /// What somebody sees of a value, or of a key of which nothing is there.
    pub fn seen(&self, who: Who, key: &str, value: Option<&str>) -> Option<String> {
        let parsed: Option<Value> = value.map(|value| serde_json::from_str(value).unwrap());
        let fields = self.fields(who, key, parsed.as_ref())?;
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

    fn fields(&self, who: Who, key: &str, value: Option<&Value>) -> Option<Fields> {
        let holds = |rule: &Rule| {
            let has_key = match rule.keys {
                None => true,
                Some("*1") => key.ends_with('1'),
                Some("u*") => key.starts_with('u'),
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
        for rule in self.0.iter().filter(|rule| !rule.is_deny && holds(rule) == Some(true)) {
            is_allowed = true;
            match (rule.fields, &mut fields.allowed) {
                (Some(names), Some(allowed)) => allowed.extend(names),
                (None, allowed) => *allowed = None,
                _ => {}
            }
        }
        for rule in self.0.iter().filter(|rule| rule.is_deny && holds(rule) != Some(false)) {
            match rule.fields {
                Some(names) => fields.denied.extend(names),
                None => is_allowed = false,
            }
        }
        is_allowed.then_some(fields)
    }

    /// Whether no value decides about anything: then a removal is told to all who might have seen what was removed.
    pub fn is_about_keys(&self) -> bool {
        let looks =
            |rule: &Rule| rule.fields.is_some() || rule.when.is_some_and(|when| when != When::KeyIsNot);
        let is_whole = |rule: &&Rule| rule.keys.is_none() && rule.fields.is_none() && rule.when.is_none();
        let has_whole = self.0.iter().filter(is_whole).any(|rule| !rule.is_deny);
        !self.0.iter().any(|rule| looks(rule) && (rule.is_deny || !has_whole))
    }
}
