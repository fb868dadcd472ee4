//! Which keys of a map a subscription wants.

/// Immutable, so that all shards can read one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// These keys, sorted, each once and with its hash.
    Keys(Vec<(Box<str>, u64)>),
    /// Keys that start with this.
    Prefix(Box<str>),
}

impl Filter {
    /// The given keys; `hash` is the hash of `(map, key)`.
    pub fn keys<'a>(keys: impl Iterator<Item = &'a str>, hash: impl Fn(&str) -> u64) -> Self {
        let mut keys: Vec<(Box<str>, u64)> = keys.map(|key| (Box::from(key), hash(key))).collect();
        keys.sort_unstable();
        keys.dedup();
        Self::Keys(keys)
    }

    pub fn passes(&self, key: &[u8]) -> bool {
        match self {
            Self::Keys(keys) => keys.binary_search_by(|(wanted, _)| wanted.as_bytes().cmp(key)).is_ok(),
            Self::Prefix(prefix) => key.starts_with(prefix.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_pass_when_named_and_prefixes_when_shared() {
        let keys = Filter::keys(["b", "a", "b"].into_iter(), |_| 0);
        assert!(keys.passes(b"a") && keys.passes(b"b") && !keys.passes(b"ab"));
        let prefix = Filter::Prefix("user:".into());
        assert!(prefix.passes(b"user:1") && !prefix.passes(b"use"));
    }
}
