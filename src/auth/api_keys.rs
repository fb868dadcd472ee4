//! API keys, for backends and scripts: a file has the name, the roles and the SHA-256 of each.
//!
//! A key is `ann_<id>_<secret>`, in whose secret are 256 random bits: too many to be guessed, so that a fast hash does.

use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::identity::{Identity, KEY_USERS};
use super::lines::{self, BadFile};
use crate::limits::{API_KEYS_MAX, ROLE_BYTES_MAX, ROLES_MAX};

const PREFIX: &str = "ann_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;
/// Random bytes that make a key.
pub const API_KEY_RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

/// The SHA-256 of a token or an API key.
pub type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    pub name: Box<str>,
    /// Of this one key: one that is made later with the same name has another.
    pub id: Box<str>,
    pub roles: Box<[Box<str>]>,
    /// When, as RFC 3339.
    pub created: Box<str>,
    /// In hexadecimal digits.
    sha256: Box<str>,
}

/// Those of a file, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    /// In the order of the file.
    list: Vec<ApiKey>,
    places: HashMap<Box<str>, usize>,
}

/// Why a key is not made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadApiKey {
    #[error("a name has 1 to {ROLE_BYTES_MAX} letters, digits and any of . _ -")]
    Name,
    #[error("a key has at most {ROLES_MAX} roles of 1 to {ROLE_BYTES_MAX} bytes, without control characters")]
    Roles,
    #[error("there is a key of that name already; revoke it first, or choose another name")]
    Taken,
    #[error("there are {API_KEYS_MAX} keys already")]
    TooMany,
}

pub fn fingerprint(credential: &str) -> Fingerprint {
    let hash = digest(&SHA256, credential.as_bytes());
    hash.as_ref().try_into().expect("it has the length of its algorithm")
}

/// Whether a text is meant to be an API key; a token never begins so.
pub fn is_api_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

impl ApiKeys {
    /// # Errors
    /// [`BadFile`] for the first line that is no key, or one that was there before.
    pub fn parse(text: &str) -> Result<Self, BadFile> {
        let mut keys = Self::default();
        for (line, key) in lines::parse::<ApiKey>(text, API_KEYS_MAX)? {
            let bad = |problem: String| BadFile::Line { line, problem };
            check(&key.name, &key.roles).map_err(|error| bad(error.to_string()))?;
            if key.hash().is_none() {
                return Err(bad("`sha256` has 64 hexadecimal digits".to_owned()));
            }
            if keys.named(&key.name).is_some() || keys.places.contains_key(&key.id) {
                return Err(bad("a name or an id stands twice".to_owned()));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    pub fn text(&self) -> String {
        lines::text(&self.list)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.list.iter()
    }

    pub fn has(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// Adds one. Returns the key itself, which is nowhere else.
    ///
    /// # Errors
    /// [`BadApiKey`].
    pub fn create(
        &mut self,
        name: &str,
        roles: &[Box<str>],
        created: &str,
        random: &[u8; API_KEY_RANDOM_BYTES],
    ) -> Result<String, BadApiKey> {
        check(name, roles)?;
        if self.named(name).is_some() {
            return Err(BadApiKey::Taken);
        }
        if self.list.len() == API_KEYS_MAX {
            return Err(BadApiKey::TooMany);
        }
        let (id, secret) = random.split_at(ID_BYTES);
        let id = HEXLOWER.encode(id);
        let credential = format!("{PREFIX}{id}_{}", BASE64URL_NOPAD.encode(secret));
        self.push(ApiKey {
            name: name.into(),
            id: id.into(),
            roles: roles.into(),
            created: created.into(),
            sha256: HEXLOWER.encode(&fingerprint(&credential)).into(),
        });
        Ok(credential)
    }

    /// Takes out the key of that name, if there is one.
    pub fn remove(&mut self, name: &str) -> Option<ApiKey> {
        let at = self.list.iter().position(|key| &*key.name == name)?;
        let key = self.list.remove(at);
        self.places = self.list.iter().map(|key| key.id.clone()).zip(0..).collect();
        Some(key)
    }

    /// The key that a credential is, whose fingerprint is given.
    pub fn find(&self, credential: &str, fingerprint: &Fingerprint) -> Option<&ApiKey> {
        let (id, _) = credential.strip_prefix(PREFIX)?.split_once('_')?;
        let key = &self.list[*self.places.get(id)?];
        verify_slices_are_equal(&key.hash()?, fingerprint).is_ok().then_some(key)
    }

    fn named(&self, name: &str) -> Option<&ApiKey> {
        self.list.iter().find(|key| &*key.name == name)
    }

    fn push(&mut self, key: ApiKey) {
        self.places.insert(key.id.clone(), self.list.len());
        self.list.push(key);
    }
}

impl ApiKey {
    fn hash(&self) -> Option<Fingerprint> {
        HEXLOWER.decode(self.sha256.as_bytes()).ok()?.try_into().ok()
    }

    /// What tells it from every other, and from what it is once its line is changed.
    pub fn line(&self) -> Box<str> {
        let text = [&*self.name, &self.sha256, &self.roles.join(" ")].join(" ");
        format!("{}:{:016x}", self.id, xxh3_64(text.as_bytes())).into()
    }

    /// Whom it names.
    pub fn identity(&self) -> Identity {
        let mut roles = self.roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        Identity {
            user: format!("{KEY_USERS}{}", self.name).into(),
            roles: roles.into(),
            ..Identity::anonymous()
        }
    }
}

fn check(name: &str, roles: &[Box<str>]) -> Result<(), BadApiKey> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=ROLE_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        return Err(BadApiKey::Name);
    }
    let is_role =
        |role: &str| (1..=ROLE_BYTES_MAX).contains(&role.len()) && !role.chars().any(char::is_control);
    if roles.len() > ROLES_MAX || !roles.iter().all(|role| is_role(role)) {
        return Err(BadApiKey::Roles);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "2026-11-26T20:00:00Z";

    fn one(random: u8) -> (ApiKeys, String) {
        let mut keys = ApiKeys::default();
        let roles = ["service".into(), "b".into()];
        let key = keys.create("backend", &roles, CREATED, &[random; API_KEY_RANDOM_BYTES]).expect("a key");
        (keys, key)
    }

    fn find<'a>(keys: &'a ApiKeys, credential: &str) -> Option<&'a ApiKey> {
        keys.find(credential, &fingerprint(credential))
    }

    #[test]
    fn a_key_is_found_by_all_of_it_and_is_not_in_its_file() {
        let (keys, key) = one(0xff);
        // With the characters that part it from its id.
        assert_eq!(key, format!("ann_ffffffffffff_{}8", "_".repeat(42)));
        assert!(is_api_key(&key) && !is_api_key("eyJhbGciOiJIUzI1NiJ9.e30.x"));
        let read = ApiKeys::parse(&keys.text()).expect("its own text");
        assert_eq!(read, keys);
        assert!(!keys.text().contains(&key[20..]));
        let who = find(&read, &key).expect("it is there").identity();
        assert_eq!(
            (&*who.user, who.has_role("service"), who.has_role("anonymous")),
            ("key:backend", true, false)
        );
        assert_eq!((who.expires_ms, who.token_id), (None, None));
        let other = one(7).1;
        for wrong in
            [&key[..key.len() - 1], &format!("{key}A"), &other, "ann_", "ann_ffffffffffff_", "ann_x_y"]
        {
            assert_eq!(find(&read, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_is_of_one_key_at_a_time() {
        let (mut keys, _) = one(1);
        let mut create = |name: &str, roles: &[Box<str>]| {
            keys.create(name, roles, CREATED, &[2; API_KEY_RANDOM_BYTES]).map(drop)
        };
        assert_eq!(create("backend", &[]), Err(BadApiKey::Taken));
        for bad in ["", "a b", "a/b", "ä", "*", &"x".repeat(65)] {
            assert_eq!(create(bad, &[]), Err(BadApiKey::Name), "{bad}");
        }
        for bad in [vec!["".into()], vec!["a\n".into()], vec!["r".into(); ROLES_MAX + 1]] {
            assert_eq!(create("other", &bad), Err(BadApiKey::Roles));
        }
        let id = keys.remove("backend").expect("it was there").id;
        assert!(!keys.has(&id) && keys.remove("backend").is_none() && keys.text().is_empty());
        keys.create("backend", &[], CREATED, &[2; API_KEY_RANDOM_BYTES]).expect("the name is free");
        assert!(!keys.has(&id), "it is another key");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let line = one(1).0.text();
        for (text, expected) in [
            (format!("\n{}", &line[..line.len() - 5]), "line 2: EOF while parsing a string at column"),
            (format!("{line}{line}"), "line 2: a name or an id stands twice"),
            (line.replace("created", "made"), "line 1: unknown field `made`"),
            (line.replace("backend", "back end"), "line 1: a name has 1 to 64 letters"),
            (line.replace("\"sha256\":\"", "\"sha256\":\"0"), "line 1: `sha256` has 64 hexadecimal digits"),
        ] {
            let error = ApiKeys::parse(&text).expect_err(&text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
