//! What other programs call our flags.

/// A name that is none of ours, and the flag that does it here.
const SYNONYMS: [(&str, &str); 14] = [
    ("address", "listen"),
    ("addr", "listen"),
    ("bind", "listen"),
    ("host", "listen"),
    ("port", "listen"),
    ("shards", "cores"),
    ("threads", "cores"),
    ("workers", "cores"),
    ("data", "data-dir"),
    ("dir", "data-dir"),
    ("max-clients", "max-connections"),
    ("cors", "allowed-origins"),
    ("origins", "allowed-origins"),
    ("verbose", "log-level"),
];

/// The flag, without its hyphens, that is called `name` elsewhere.
pub(super) fn flag_meant(name: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(known, _)| *known == name).map(|&(_, flag)| flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_synonym_stands_for_a_flag_and_is_none() {
        let command = super::super::command();
        let is_flag = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
        for (name, flag) in SYNONYMS {
            assert!(is_flag(flag) && !is_flag(name), "{name} and {flag}");
        }
    }
}
