//! What somebody may do with a map, a channel, a room or another user.

use serde::Deserialize;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// `read`, `digest` and `subscribe`.
    Read,
    /// Everything that changes values, removals included.
    Write,
    /// Only removals.
    Delete,
    /// Only snapshots and changes.
    Subscribe,
    Publish,
    Presence,
    Send,
    Admin,
}

impl Action {
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Subscribe,
        Self::Publish,
        Self::Presence,
        Self::Send,
        Self::Admin,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::Send => "send",
            Self::Admin => "admin",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    const EVERY: Self = Self(u8::MAX);

    const fn bit(action: Action) -> u8 {
        1 << action as u8
    }

    /// Whether it names the action, or one that this is part of: who may read may subscribe, and who may write may delete.
    pub const fn cover(self, action: Action) -> bool {
        let wider = match action {
            Action::Subscribe => Self::bit(Action::Read),
            Action::Delete => Self::bit(Action::Write),
            _ => 0,
        };
        self.0 & (Self::bit(action) | wider) != 0
    }
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut actions = Self::default();
        for name in Vec::<String>::deserialize(deserializer)? {
            actions.0 |= match (Action::named(&name), &*name) {
                (Some(action), _) => Self::bit(action),
                (None, "all") => Self::EVERY.0,
                (None, _) => {
                    let known = Action::ALL.map(Action::name).join(", ");
                    return Err(serde::de::Error::custom(format!(
                        "there is no action {name:?}; there are {known} and all"
                    )));
                }
            };
        }
        Ok(actions)
    }
}
