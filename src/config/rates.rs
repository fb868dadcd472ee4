//! How much somebody may send and ask for in a second, and how much of it at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// Seconds whose worth may come at once, if nothing else is said.
const BURST_SECONDS: u32 = 1;
/// An hour.
const BURST_SECONDS_MAX: u32 = 3_600;

/// Rates of one connection, user or address; 0: no limit. The same words stand in flags and in the rules file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    pub messages_per_second: u32,
    /// Operations of writes.
    pub ops_per_second: u32,
    /// Bytes of messages.
    pub bytes_per_second: u32,
    /// New connections.
    pub connections_per_second: u32,
    /// From 1 to an hour: who was silent for so long may send at once what the rates allow in that time.
    pub burst_seconds: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            messages_per_second: 0,
            ops_per_second: 0,
            bytes_per_second: 0,
            connections_per_second: 0,
            burst_seconds: BURST_SECONDS,
        }
    }
}

/// Why a text is no list of rates. Displayed, it is a sentence without its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRates {
    #[error("burst_seconds is from 1 to {BURST_SECONDS_MAX}")]
    Burst,
    #[error(
        "{0:?} is none of messages_per_second, ops_per_second, bytes_per_second, connections_per_second and burst_seconds"
    )]
    Unknown(String),
    #[error("{0} is a number, once")]
    Number(&'static str),
}

impl Rates {
    /// # Errors
    /// [`BadRates::Burst`].
    pub fn checked(self) -> Result<Self, BadRates> {
        if (1..=BURST_SECONDS_MAX).contains(&self.burst_seconds) { Ok(self) } else { Err(BadRates::Burst) }
    }

    /// Whether nothing is limited.
    pub fn are_none(&self) -> bool {
        self.fields().iter().all(|&(name, rate)| name == "burst_seconds" || rate == 0)
    }

    /// What somebody may who has the rates of both: of each kind the higher one, and no limit where either has none.
    #[must_use]
    pub fn most_generous(self, other: Self) -> Self {
        let of = |one: u32, other: u32| if one == 0 || other == 0 { 0 } else { one.max(other) };
        Self {
            messages_per_second: of(self.messages_per_second, other.messages_per_second),
            ops_per_second: of(self.ops_per_second, other.ops_per_second),
            bytes_per_second: of(self.bytes_per_second, other.bytes_per_second),
            connections_per_second: of(self.connections_per_second, other.connections_per_second),
            burst_seconds: self.burst_seconds.max(other.burst_seconds),
        }
    }

    const fn fields(&self) -> [(&'static str, u32); 5] {
        [
            ("messages_per_second", self.messages_per_second),
            ("ops_per_second", self.ops_per_second),
            ("bytes_per_second", self.bytes_per_second),
            ("connections_per_second", self.connections_per_second),
            ("burst_seconds", self.burst_seconds),
        ]
    }
}

/// `messages_per_second=50,bytes_per_second=1000000`; the empty text limits nothing.
impl FromStr for Rates {
    type Err = BadRates;

    fn from_str(text: &str) -> Result<Self, BadRates> {
        let mut rates = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, number) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, number) = (name.trim(), number.trim());
            let (name, place) = match name {
                "messages_per_second" => ("messages_per_second", &mut rates.messages_per_second),
                "ops_per_second" => ("ops_per_second", &mut rates.ops_per_second),
                "bytes_per_second" => ("bytes_per_second", &mut rates.bytes_per_second),
                "connections_per_second" => ("connections_per_second", &mut rates.connections_per_second),
                "burst_seconds" => ("burst_seconds", &mut rates.burst_seconds),
                other => return Err(BadRates::Unknown(other.to_owned())),
            };
            let is_new = !seen.contains(&name);
            *place = number.parse().ok().filter(|_| is_new).ok_or(BadRates::Number(name))?;
            seen.push(name);
        }
        rates.checked()
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.fields().into_iter().filter(|&(name, number)| match name {
            "burst_seconds" => !self.are_none(),
            _ => number > 0,
        });
        for (index, (name, number)) in set.enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}={number}")?;
        }
        Ok(())
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_back_and_what_is_wrong_is_named() {
        let rates: Rates = "messages_per_second=50, bytes_per_second=1000,burst_seconds=5".parse().unwrap();
        assert_eq!((rates.messages_per_second, rates.ops_per_second, rates.burst_seconds), (50, 0, 5));
        assert_eq!(rates.to_string().parse(), Ok(rates));
        assert_eq!(("".parse(), Rates::default().to_string()), (Ok(Rates::default()), String::new()));
        for (text, error) in [
            ("messages=1", BadRates::Unknown("messages".to_owned())),
            ("=1", BadRates::Unknown(String::new())),
            ("ops_per_second", BadRates::Number("ops_per_second")),
            ("ops_per_second=-1", BadRates::Number("ops_per_second")),
            ("ops_per_second=1,ops_per_second=2", BadRates::Number("ops_per_second")),
            ("bytes_per_second=5000000000", BadRates::Number("bytes_per_second")),
            ("burst_seconds=0", BadRates::Burst),
            ("burst_seconds=3601", BadRates::Burst),
        ] {
            assert_eq!(text.parse::<Rates>(), Err(error), "{text}");
        }
    }

    #[test]
    fn of_two_the_more_generous_counts_kind_by_kind() {
        let rates = |text: &str| text.parse::<Rates>().unwrap();
        let one = rates("messages_per_second=5,ops_per_second=9,connections_per_second=1");
        let other = rates("messages_per_second=7,ops_per_second=2,bytes_per_second=3,burst_seconds=4");
        let both = one.most_generous(other);
        assert_eq!(both, rates("messages_per_second=7,ops_per_second=9,burst_seconds=4"));
        assert_eq!(both, other.most_generous(one));
    }
}
