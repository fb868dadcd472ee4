//! The labels of what is counted by kind: operations, their outcomes, refused connections.

/// What an operation does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Set,
    Delete,
    Add,
    Remove,
    Increment,
    Read,
}

impl OpKind {
    /// Every kind, in the order of its discriminant.
    pub const ALL: [Self; 6] =
        [Self::Set, Self::Delete, Self::Add, Self::Remove, Self::Increment, Self::Read];

    /// The value of the label `kind`: the word of the protocol.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Increment => "increment",
            Self::Read => "read",
        }
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// It changed the cell, or, for a read, was answered.
    Applied,
    /// An equal or newer state was there: neither stored nor sent on, and yet acknowledged.
    Lost,
    /// It was answered with a rejection.
    Rejected,
}

impl OpOutcome {
    /// Every outcome, in the order of its discriminant.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Lost, Self::Rejected];

    /// The value of the label `outcome`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Lost => "lost",
            Self::Rejected => "rejected",
        }
    }
}

/// Which limit turned a connection away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `--max-connections`.
    Connections,
    /// `--max-connections-per-ip`.
    PerIp,
    /// `--accept-rate`.
    Rate,
    /// `--max-handshakes`.
    Handshakes,
    /// `--max-connections-per-user`.
    PerUser,
    /// `connections_per_second` of a user.
    UserRate,
    /// `connections_per_second` of an address.
    AddressRate,
    /// `--sessions reject`.
    Session,
    /// `on_connect`.
    Application,
}

impl Refusal {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 9] = [
        Self::Connections,
        Self::PerIp,
        Self::Rate,
        Self::Handshakes,
        Self::PerUser,
        Self::UserRate,
        Self::AddressRate,
        Self::Session,
        Self::Application,
    ];

    /// The value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PerIp => "per_ip",
            Self::Rate => "rate",
            Self::Handshakes => "handshakes",
            Self::PerUser => "per_user",
            Self::UserRate => "user_rate",
            Self::AddressRate => "address_rate",
            Self::Session => "session",
            Self::Application => "application",
        }
    }
}

/// Whose rate a message was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateOf {
    Connection,
    User,
    Address,
}

impl RateOf {
    /// Every one, in the order of its discriminant.
    pub const ALL: [Self; 3] = [Self::Connection, Self::User, Self::Address];

    /// The value of the label `of`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::User => "user",
            Self::Address => "address",
        }
    }
}

/// Counters by one or two labels.
#[derive(Clone, Debug)]
pub(super) struct Table<const ROWS: usize, const COLUMNS: usize>([[u64; COLUMNS]; ROWS]);

impl<const ROWS: usize, const COLUMNS: usize> Default for Table<ROWS, COLUMNS> {
    fn default() -> Self {
        Self([[0; COLUMNS]; ROWS])
    }
}

impl<const ROWS: usize, const COLUMNS: usize> Table<ROWS, COLUMNS> {
    pub(super) fn add_one(&mut self, row: usize, column: usize) {
        self.0[row][column] += 1;
    }

    pub(super) fn count(&self, row: usize, column: usize) -> u64 {
        self.0[row][column]
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (row, other_row) in self.0.iter_mut().zip(&other.0) {
            for (count, other_count) in row.iter_mut().zip(other_row) {
                *count += other_count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_their_discriminants() {
        assert!(OpKind::ALL.iter().enumerate().all(|(index, &kind)| kind as usize == index));
        assert!(OpOutcome::ALL.iter().enumerate().all(|(index, &outcome)| outcome as usize == index));
        assert!(RateOf::ALL.iter().enumerate().all(|(index, &of)| of as usize == index));
        assert!(Refusal::ALL.iter().enumerate().all(|(index, &refusal)| refusal as usize == index));
    }
}
