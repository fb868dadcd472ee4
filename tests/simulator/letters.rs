//! Direct messages that clients have sent and been sent: what was promised of them.

use std::collections::{BTreeMap, BTreeSet};

/// By which a message is known: the log that it is of, and its place there.
pub type Name = (String, u64);

/// Reads one.
pub fn name(text: &str) -> Name {
    let (epoch, offset) = text.split_once('-').unwrap_or_else(|| panic!("{text} names no message"));
    assert_eq!(epoch.len(), 16, "{text}");
    (epoch.to_owned(), offset.parse().unwrap_or_else(|_| panic!("{text} names no message")))
}

/// See the module. As of operations, there are two books: what holds while the process lives, and what a crash must leave.
#[derive(Default)]
pub struct Letters {
    last: u64,
    /// Whom each was for.
    to: BTreeMap<u64, String>,
    /// Which message has which name, by its user.
    names: BTreeMap<(String, Name), u64>,
    now: Book,
    durable: Book,
    /// The last of each log that somebody has acknowledged, whether that has arrived or not.
    acked: BTreeMap<(String, String), u64>,
    /// Messages that have come.
    pub arrived: u64,
}

/// Messages that were taken for each user.
type Book = BTreeMap<String, BTreeMap<Name, u64>>;

impl Letters {
    /// The number of another one.
    pub fn write(&mut self, to: &str) -> u64 {
        self.last += 1;
        self.to.insert(self.last, to.to_owned());
        self.last
    }

    /// The server has taken one.
    pub fn taken(&mut self, number: u64, name: Name, is_durable: bool) {
        let to = self.to[&number].clone();
        self.name(&to, &name, number);
        if is_durable {
            self.durable.entry(to.clone()).or_default().insert(name.clone(), number);
        }
        self.now.entry(to).or_default().insert(name, number);
    }

    /// One has come to a user.
    pub fn arrived(&mut self, user: &str, name: &Name, number: u64) {
        assert_eq!(self.to[&number], user, "it is for another");
        self.name(user, name, number);
        self.arrived += 1;
    }

    fn name(&mut self, user: &str, name: &Name, number: u64) {
        let earlier = self.names.insert((user.to_owned(), name.clone()), number);
        assert!(earlier.is_none_or(|earlier| earlier == number), "{name:?} of {user} names two messages");
    }

    /// A client of the user has acknowledged one.
    pub fn acknowledged(&mut self, user: &str, (epoch, offset): &Name) {
        let acked = self.acked.entry((user.to_owned(), epoch.clone())).or_default();
        *acked = (*acked).max(*offset);
    }

    /// What was not durable may be gone.
    pub fn crashed(&mut self) {
        self.now.clone_from(&self.durable);
    }

    /// Everything is gone, or may be.
    pub fn cleared(&mut self) {
        self.now.clear();
        self.durable.clear();
    }

    /// The server goes on from a copy, and knows nothing of what it has said since.
    pub fn restored(&mut self) {
        self.cleared();
        self.names.clear();
    }

    /// A message that a connection of the user has yet to be sent, which has been sent these.
    pub fn lacks(&self, user: &str, got: &BTreeSet<Name>) -> Option<(&Name, u64)> {
        let of_user = self.now.get(user).into_iter().flatten();
        let mut lacking = of_user.filter(|(name, _)| {
            let acked = self.acked.get(&(user.to_owned(), name.0.clone())).copied().unwrap_or_default();
            name.1 > acked && !got.contains(*name)
        });
        lacking.next().map(|(name, &number)| (name, number))
    }
}
