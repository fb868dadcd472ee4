//! A list of cores, as `taskset` and the kernel write it: `0-3,6`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Cores by their numbers, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoreList(pub Vec<usize>);

/// The largest core number that is read: far beyond any machine, and small enough that a range is no attack
/// on memory.
const CORE_MAX: usize = 65_535;

impl FromStr for CoreList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (parse_core(first), parse_core(last)) {
                (Some(first), Some(last)) if first <= last => cores.extend(first..=last),
                _ => return Err(format!("'{part}' is no core; write cores as 0-3,6")),
            }
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

fn parse_core(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|&core| core <= CORE_MAX)
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.chunk_by(|left, right| left + 1 == *right).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [only] => write!(f, "{comma}{only}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_become_ascending_cores() {
        let read = |text: &str| text.parse::<CoreList>().unwrap().0;
        assert_eq!(read("0-3,6"), [0, 1, 2, 3, 6]);
        assert_eq!(read("6,0,0, 2-2"), [0, 2, 6]);
    }

    #[test]
    fn garbage_is_refused_with_an_example() {
        for text in ["", "a", "1-", "-1", "3-1", "1,,2", "0-99999999999", "1-2-3"] {
            assert!(text.parse::<CoreList>().is_err_and(|error| error.contains("0-3,6")), "{text}");
        }
    }

    #[test]
    fn runs_are_shown_as_ranges() {
        assert_eq!(CoreList(vec![0, 1, 2, 3, 6, 8, 9]).to_string(), "0-3,6,8-9");
        assert_eq!(CoreList(vec![5]).to_string(), "5");
    }
}
