//! How much of a write has to have happened before it is answered, as the client asks and the server says.

use clap::ValueEnum;

/// The levels of protocol v1 that a server of one node has, weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AckLevel {
    /// No answer at all.
    None,
    /// Merged by the owner of the key.
    #[default]
    Memory,
    /// On the disk, past every crash.
    Durable,
}

impl AckLevel {
    /// As the protocol writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Durable => "durable",
        }
    }
}

/// Parses a level for a scenario that cannot do without acks.
///
/// # Errors
/// The text for the command line.
pub fn answered_level(text: &str) -> Result<AckLevel, String> {
    match AckLevel::from_str(text, false) {
        Ok(AckLevel::None) | Err(_) => Err("must be memory or durable".to_owned()),
        Ok(level) => Ok(level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_without_an_answer_is_refused_where_answers_are_needed() {
        assert_eq!(answered_level("durable"), Ok(AckLevel::Durable));
        assert_eq!(answered_level("memory"), Ok(AckLevel::Memory));
        assert!(answered_level("none").is_err() && answered_level("replicated").is_err());
    }
}
