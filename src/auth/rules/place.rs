//! Where a rule finds something about who asks: `user.id`, `user.session`, `claims.team`.

use serde_json::Value;

use crate::auth::Asker;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    UserId,
    Session,
    /// A claim by its name or path.
    Claim(Box<str>),
}

impl Place {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "user.id" => Some(Self::UserId),
            "user.session" => Some(Self::Session),
            _ => text
                .strip_prefix("claims.")
                .filter(|path| !path.is_empty())
                .map(|path| Self::Claim(path.into())),
        }
    }

    /// What is there as a text: a string, or a whole number.
    pub fn text(&self, asker: &Asker<'_>) -> Option<String> {
        match self {
            Self::UserId => Some(asker.identity.user.to_string()),
            Self::Session => asker.identity.session.as_deref().map(str::to_owned),
            Self::Claim(path) => match asker.claims.at(path)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) if !number.is_f64() => Some(number.to_string()),
                _ => None,
            },
        }
    }
}
