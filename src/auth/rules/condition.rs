//! Conditions of rules: CEL over who asks and what it is about.
//!
//! They have no loops within loops and a bounded tree, so that one costs at most its nodes times the elements of the values, which
//! is what it counts as work. Where that is too much it is not asked, and there is no answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::Key;
use cel::{Context, Env, Program, Value};
use serde_json::{Map, json};
use thiserror::Error;

use crate::auth::Asker;
use crate::limits::{CONDITION_BYTES_MAX, CONDITION_NODES_MAX};

/// Functions a condition may call beside the operators. Each takes time in proportion to its arguments at most.
const FUNCTIONS: [&str; 10] =
    ["size", "contains", "startsWith", "endsWith", "int", "uint", "double", "string", "bool", "type"];
const VARIABLES: [&str; 6] = ["user", "claims", "map", "key", "value", "current"];

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition, ready to be asked.
pub struct Condition {
    program: Program,
    nodes: usize,
    has_loop: bool,
    /// Whether something is searched for in each round of a loop.
    has_search: bool,
    uses: Uses,
}

/// What a condition looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Uses {
    user: bool,
    /// Those claims; `None` for all, whatever they are.
    claims: Option<Vec<Box<str>>>,
    /// The value that is written or read, or the one that is there.
    values: bool,
    current: bool,
}

/// Why a text is no condition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadCondition {
    #[error("a condition has 1 to {CONDITION_BYTES_MAX} bytes")]
    Length,
    #[error("{0}")]
    Syntax(String),
    #[error("it has more than {CONDITION_NODES_MAX} parts")]
    TooLarge,
    #[error("`all`, `exists`, `map` and the like may not stand within each other")]
    Nested,
    #[error("there is no `{0}` here; there are user, claims, map, key, value and current")]
    Variable(String),
    #[error("there is no function `{0}` here; there are {functions}", functions = FUNCTIONS.join(", "))]
    Function(String),
}

/// What a condition may look at of one who asks, and no more: who has the same of it gets the same answers.
pub struct Bound {
    /// As JSON, which decides whether two are equal.
    text: Box<str>,
    user: Box<dyn Val>,
    claims: Box<dyn Val>,
}

/// What is asked about, as CEL has it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub map: &'a dyn Val,
    pub key: &'a dyn Val,
    pub value: &'a dyn Val,
    pub current: &'a dyn Val,
}

/// A condition could not be evaluated: something is missing, or of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided;

impl Condition {
    /// # Errors
    /// [`BadCondition`].
    pub fn compile(text: &str) -> Result<Self, BadCondition> {
        if !(1..=CONDITION_BYTES_MAX).contains(&text.len()) {
            return Err(BadCondition::Length);
        }
        let program =
            ENVIRONMENT.compile(text).map_err(|errors| BadCondition::Syntax(first_line(&errors)))?;
        let mut reader =
            Reader { uses: Uses { claims: Some(Vec::new()), ..Uses::default() }, ..Reader::default() };
        reader.read(program.expression())?;
        let Reader { nodes, has_loop, has_search, mut uses, .. } = reader;
        if let Some(claims) = &mut uses.claims {
            claims.sort_unstable();
            claims.dedup();
        }
        Ok(Self { program, nodes, has_loop, has_search, uses })
    }

    pub const fn looks_at_user(&self) -> bool {
        self.uses.user
    }

    /// The claims that it looks at; `None`: all.
    pub fn claims(&self) -> Option<&[Box<str>]> {
        self.uses.claims.as_deref()
    }

    pub const fn looks_at_current(&self) -> bool {
        self.uses.current
    }

    pub const fn looks_at_values(&self) -> bool {
        self.uses.values || self.uses.current
    }

    /// Steps that it takes at most, of values with so many elements in them.
    pub const fn steps(&self, elements: usize) -> usize {
        let rounds = if self.has_loop { 1 + elements } else { 1 };
        self.nodes * rounds + if self.has_search { rounds.saturating_mul(elements) } else { 0 }
    }

    /// What it may look at of somebody.
    pub fn bind(&self, asker: &Asker<'_>) -> Bound {
        let user = match self.uses.user {
            true => {
                json!({ "id": &*asker.identity.user, "roles": asker.identity.roles, "session": asker.identity.session })
            }
            false => serde_json::Value::Null,
        };
        let claims = match &self.uses.claims {
            None => asker.claims.all().clone(),
            Some(names) => {
                let present = |name: &str| Some((name.to_owned(), asker.claims.get(name)?.clone()));
                names.iter().filter_map(|name| present(name)).collect::<Map<_, _>>()
            }
        };
        let claims = serde_json::Value::Object(claims);
        let text = json!([user, claims]).to_string().into();
        Bound { text, user: val(&user), claims: val(&claims) }
    }

    /// # Errors
    /// [`Undecided`]: neither yes nor no.
    pub fn is_met(&self, bound: &Bound, subject: Subject<'_>) -> Result<bool, Undecided> {
        let variables = Variables { bound, subject };
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&variables);
        match Value::resolve_val(self.program.expression(), &context)
            .map(|found| Value::try_from(found.as_ref()))
        {
            Ok(Ok(Value::Bool(is_met))) => Ok(is_met),
            _ => Err(Undecided),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Condition")
            .field("nodes", &self.nodes)
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

/// JSON as CEL has it, where a whole number is an `int`, as one that a condition is compared with is.
pub fn val(json: &serde_json::Value) -> Box<dyn Val> {
    value(json).try_into().expect("CEL has a type for each of JSON")
}

/// As deep as the value nests, which the parsers bound.
fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(is_it) => Value::Bool(*is_it),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(text.clone().into()),
        serde_json::Value::Array(elements) => {
            Value::List(elements.iter().map(value).collect::<Vec<_>>().into())
        }
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, member)| (Key::from(name.clone()), value(member)));
            Value::Map(members.collect::<HashMap<_, _>>().into())
        }
    }
}

struct Variables<'a> {
    bound: &'a Bound,
    subject: Subject<'a>,
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(CowVal::Borrowed(match variable {
            "user" => self.bound.user.as_ref(),
            "claims" => self.bound.claims.as_ref(),
            "map" => self.subject.map,
            "key" => self.subject.key,
            "value" => self.subject.value,
            "current" => self.subject.current,
            _ => return None,
        }))
    }
}

/// Goes through a tree once.
#[derive(Default)]
struct Reader<'a> {
    nodes: usize,
    uses: Uses,
    /// Variables of the loop that it is in.
    inner: Vec<&'a str>,
    is_in_loop: bool,
    has_loop: bool,
    has_search: bool,
}

impl<'a> Reader<'a> {
    fn read(&mut self, node: &'a IdedExpr) -> Result<(), BadCondition> {
        self.nodes += 1;
        if self.nodes > CONDITION_NODES_MAX {
            return Err(BadCondition::TooLarge);
        }
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) if is_claims(&select.operand) => {
                self.claim(&select.field);
                Ok(())
            }
            Expr::Select(select) => self.read(&select.operand),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.read(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                cel::common::ast::EntryExpr::MapEntry(entry) => {
                    self.read(&entry.key)?;
                    self.read(&entry.value)
                }
                cel::common::ast::EntryExpr::StructField(field) => self.read(&field.value),
            }),
            Expr::Struct(made) => Err(BadCondition::Function(made.type_name.clone())),
            Expr::Comprehension(each) => {
                if self.is_in_loop {
                    return Err(BadCondition::Nested);
                }
                self.read(&each.iter_range)?;
                (self.is_in_loop, self.has_loop) = (true, true);
                let names = [Some(&each.iter_var), each.iter_var2.as_ref(), Some(&each.accu_var)];
                self.inner = names.into_iter().flatten().map(|name| &**name).collect();
                for part in [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                    self.read(part)?;
                }
                self.is_in_loop = false;
                self.inner.clear();
                Ok(())
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<(), BadCondition> {
        let name = &*call.func_name;
        self.has_search |= self.is_in_loop && matches!(name, operators::IN | "contains");
        if let (operators::INDEX, [of, at]) = (name, &*call.args)
            && is_claims(of)
            && let Expr::Literal(LiteralValue::String(claim)) = &at.expr
        {
            self.claim(claim.inner());
            return Ok(());
        }
        // Operators have signs in their names, which no function has.
        let is_operator = name.contains(|c: char| !c.is_ascii_alphanumeric());
        if !is_operator && !FUNCTIONS.contains(&name) {
            return Err(BadCondition::Function(name.to_owned()));
        }
        call.target.as_deref().into_iter().chain(&call.args).try_for_each(|part| self.read(part))
    }

    fn variable(&mut self, name: &str) -> Result<(), BadCondition> {
        match name {
            _ if self.inner.contains(&name) => {}
            "claims" => self.uses.claims = None,
            "user" => self.uses.user = true,
            "value" => self.uses.values = true,
            "current" => self.uses.current = true,
            _ if VARIABLES.contains(&name) => {}
            _ => return Err(BadCondition::Variable(name.to_owned())),
        }
        Ok(())
    }

    fn claim(&mut self, name: &str) {
        if let Some(claims) = &mut self.uses.claims {
            claims.push(name.into());
        }
    }
}

fn is_claims(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "claims")
}

fn first_line(errors: &impl ToString) -> String {
    errors.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Bound {
    pub const fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Bound(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;

    fn identity() -> Identity {
        let claims =
            r#"{"sub":"u1","roles":["a","b"],"team":"x","n":3,"app":{"level":2},"https://e.org/t":"y"}"#;
        Identity::of_claims(&serde_json::from_str(claims).expect("claims"), "roles").expect("an identity")
    }

    fn ask(condition: &str, value: &str, current: &str) -> Result<bool, Undecided> {
        let condition = Condition::compile(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let [value, current] = [value, current].map(|text| val(&serde_json::from_str(text).expect("JSON")));
        let [map, key] = ["todos", "k1"].map(|text| val(&json!(text)));
        let subject = Subject { map: &*map, key: &*key, value: &*value, current: &*current };
        condition.is_met(&condition.bind(&(&identity()).into()), subject)
    }

    #[test]
    fn conditions_see_who_asks_and_what_about() {
        for (condition, expected) in [
            ("claims.team == value.team", Ok(true)),
            ("claims.team == current.team", Ok(false)),
            ("user.id == 'u1' && 'a' in user.roles", Ok(true)),
            ("claims['team'] == 'x' && claims[\"https://e.org/t\"] == 'y'", Ok(true)),
            ("has(claims.team) && !has(claims.nobody)", Ok(true)),
            ("claims.app.level >= 2 && claims.n + 1 == 4", Ok(true)),
            ("map == 'todos' && key.startsWith('k')", Ok(true)),
            ("value.tags.exists(t, t == claims.team)", Ok(true)),
            ("value.tags.all(t, size(t) < 3)", Ok(true)),
            ("value.n == 1 && value.f > 1.4 && value.b && value.nothing == null", Ok(true)),
            ("value.missing == 1", Err(Undecided)),
            ("value.missing == 1 || value.n == 1", Ok(true)),
            ("value.team", Err(Undecided)),
            ("claims.nobody == 'x'", Err(Undecided)),
            ("value.n / 0 == 1", Err(Undecided)),
            ("value.n == 'text'", Ok(false)),
        ] {
            let value = r#"{"team":"x","tags":["x","yy"],"n":1,"f":1.5,"b":true,"nothing":null}"#;
            assert_eq!(ask(condition, value, r#"{"team":"z"}"#), expected, "{condition}");
        }
        assert_eq!(ask("current == null || current.owner == user.id", "1", "null"), Ok(true));
        assert_eq!(ask("value.team == 'x'", "7", "null"), Err(Undecided));
    }

    #[test]
    fn only_what_a_condition_looks_at_tells_identities_apart() {
        let bound = |condition: &str| {
            Condition::compile(condition).expect(condition).bind(&(&identity()).into()).text.to_string()
        };
        assert_eq!(bound("claims.team == 'x'"), r#"[null,{"team":"x"}]"#);
        assert_eq!(bound("has(claims.app.level) || claims['n'] == 1"), r#"[null,{"app":{"level":2},"n":3}]"#);
        assert_eq!(bound("claims.nobody == 1"), "[null,{}]");
        assert_eq!(bound("value.n == 1"), "[null,{}]");
        assert!(bound("user.id == 'x'").contains("u1"));
        for all in ["claims == value", "claims[key] == 1", "size(claims) == 1", "'a' in claims"] {
            assert!(bound(all).contains("https://e.org/t"), "{all}");
        }
    }

    /// Goal: nothing that is compiled can take long, and nothing crashes the compiler.
    #[test]
    fn a_bomb_is_no_condition() {
        let deep = format!("{}1{}", "(".repeat(900), ")".repeat(900));
        let many = format!("1 == 1{}", " || 1 == 1".repeat(200));
        let lists = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let huge = "a".repeat(CONDITION_BYTES_MAX + 1);
        for bomb in [&*deep, &many, &lists, &huge, "", "1 +", "\"", "\u{0}"] {
            assert!(Condition::compile(bomb).is_err(), "{bomb:.40}");
        }
        let nested = "[1,2].map(x, [1,2].map(y, [1,2].map(z, x + y + z))) == []";
        assert_eq!(Condition::compile(nested).map(|_| ()), Err(BadCondition::Nested));
        for (text, error) in [
            ("other.x == 1", BadCondition::Variable("other".into())),
            ("value.matches('(a+)+b')", BadCondition::Function("matches".into())),
            ("size(y) == 1 && value.all(y, y)", BadCondition::Variable("y".into())),
        ] {
            assert_eq!(Condition::compile(text).map(|_| ()), Err(error), "{text}");
        }
    }
}
