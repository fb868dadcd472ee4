//! The `permissions` of a token, as SyncKit's tokens have them: what may be read and written where there are no rules.
//!
//! ```json
//! {"canRead": ["doc-1", "doc-2"], "canWrite": ["doc-1"], "isAdmin": false}          "*": all
//! ```

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::{About, Clause, Clauses, Grant, Part, Pattern, Rules};
use crate::auth::Identity;

/// What being on a list allows: on the first with documents and with their rooms, on the second with documents.
static MEANING: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let text = "[[rule]]\nallow = [\"read\"]\nmaps = [\"**\"]\n\
                [[rule]]\nallow = [\"presence\"]\nmaps = [\"**\"]\n\
                [[rule]]\nallow = [\"write\", \"publish\"]\nmaps = [\"**\"]";
    Arc::new(Rules::parse(text).expect("these are rules"))
});

/// What the permissions of an identity allow; `None` if it has none.
pub fn granted(identity: &Identity) -> Option<Grant> {
    if !identity.has_permissions {
        return None;
    }
    let claims = identity.claims.read();
    let permissions = claims.get("permissions")?;
    if permissions.get("isAdmin") == Some(&Value::Bool(true)) {
        return Some(Grant::Everything);
    }
    let [read, write] = ["canRead", "canWrite"].map(|list| permissions.get(list).and_then(Value::as_array));
    let clause = |(rule, (prefix, documents)): (usize, (&str, &Vec<Value>))| {
        let pattern = |document: &str| match document {
            "*" => Pattern::everything(),
            name => Pattern::literal(&format!("{prefix}{name}")),
        };
        let maps: Box<[_]> = documents.iter().filter_map(Value::as_str).map(pattern).collect();
        let part = Part { rule, keys: None, bound: None };
        (!maps.is_empty()).then_some(Clause { maps, part })
    };
    // A room is called as the document is whose clients are in it.
    let lists = [("", read), ("room:", read), ("", write)];
    let of = lists.into_iter().enumerate().filter_map(|(rule, (prefix, list))| Some((rule, (prefix, list?))));
    let list: Box<[Clause]> = of.filter_map(clause).collect();
    let is_nothing = list.is_empty();
    Some(Grant::Some(Arc::new(Clauses::new(Arc::clone(&MEANING), About::Listed(list), is_nothing))))
}

#[cfg(test)]
mod tests {
    use super::super::{Action, View};
    use super::*;

    fn may(permissions: &str, action: Action, map: &str) -> bool {
        let claims = format!(r#"{{"sub":"u","permissions":{permissions}}}"#);
        let claims = serde_json::from_str(&claims).expect("claims");
        let identity = Identity::of_claims(&claims, "roles").expect("an identity");
        match granted(&identity).expect("there are permissions").view(action, map) {
            View::All => true,
            View::None => false,
            View::Parts(_) => panic!("documents are allowed as a whole"),
        }
    }

    #[test]
    fn lists_allow_what_they_name_and_nothing_else() {
        let some = r#"{"canRead":["a","b*"],"canWrite":["a"]}"#;
        for action in [Action::Read, Action::Subscribe] {
            assert!(may(some, action, "a") && may(some, action, "b*") && !may(some, action, "bc"));
        }
        assert!(may(some, Action::Presence, "room:a") && !may(some, Action::Presence, "room:c"));
        assert!(
            may(some, Action::Write, "a")
                && may(some, Action::Delete, "a")
                && may(some, Action::Publish, "a")
        );
        assert!(!may(some, Action::Write, "b*") && !may(some, Action::Admin, "a"));
        assert!(
            !may(some, Action::Read, "room:a") && !may(some, Action::Write, "room:a"),
            "it is another document"
        );
        assert!(
            !may(r#"{"canRead":["room:a"]}"#, Action::Presence, "room:a"),
            "that is in the room of another"
        );
        let all = r#"{"canRead":["*"]}"#;
        assert!(
            may(all, Action::Read, "a:b/c")
                && may(all, Action::Presence, "room:x:y")
                && !may(all, Action::Write, "a")
        );
        assert!(may(r#"{"isAdmin":true}"#, Action::Write, "a"));
        for none in ["{}", "null", "7", r#"{"canRead":"*"}"#, r#"{"canRead":[7]}"#, r#"{"isAdmin":"true"}"#] {
            assert!(!may(none, Action::Read, "a"), "{none}");
        }
    }

    #[test]
    fn equal_permissions_are_one_grant() {
        let grant = |user: &str| {
            let claims = format!(r#"{{"sub":"{user}","permissions":{{"canRead":["a"]}}}}"#);
            let claims = serde_json::from_str(&claims).expect("claims");
            granted(&Identity::of_claims(&claims, "roles").expect("an identity"))
        };
        assert_eq!(grant("a"), grant("b"));
    }
}
