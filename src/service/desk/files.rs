//! What the desk reads, at the start and when it changes. What cannot be used then is said in the log, and what was in force stays.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::rules::Rules;
use crate::auth::{ApiKeys, Desk, Keys, Policy, Revoked, Verifier};
use crate::config::IdentityConfig;
use crate::limits::{AUTH_FILE_BYTES_MAX, KEY_FILE_BYTES_MAX, RULES_BYTES_MAX};
use crate::metrics::DeskMetrics;
use crate::service::hooks::{self, LoadError, Loaded};
use crate::service::reading::{self, NotRead};

/// Why what is configured cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("{flag} {}: {source}", path.display())]
    Io { flag: &'static str, path: PathBuf, source: io::Error },
    #[error("{flag} {}: {problem}", path.display())]
    Content { flag: &'static str, path: PathBuf, problem: String },
    #[error("{source_name}: {problem}")]
    Keys { source_name: &'static str, problem: String },
    #[error("cannot open an event: {0}; see `ulimit -n`")]
    Event(#[source] io::Error),
}

/// A file that may change.
#[derive(Debug)]
struct Source {
    flag: &'static str,
    path: PathBuf,
    /// What was read last; nothing of one that is not there.
    seen: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Files {
    config: IdentityConfig,
    api_keys: Option<Source>,
    revoked: Option<Source>,
    rules: Option<Source>,
    /// The set of keys that was fetched last.
    fetched: Option<Vec<u8>>,
    /// Who is told of the hooks that stand in the rules.
    hooks: Option<hooks::Handle>,
}

const API_KEYS: &str = "--api-keys";
const REVOKED: &str = "--revoked";
const RULES: &str = "--rules";

impl Files {
    /// Reads everything for the first time.
    pub fn open(config: &IdentityConfig) -> Result<(Self, Desk), DeskError> {
        let source =
            |flag, path: &Option<PathBuf>| path.clone().map(|path| Source { flag, path, seen: Vec::new() });
        let mut files = Self {
            api_keys: source(API_KEYS, &config.api_keys),
            revoked: source(REVOKED, &config.revoked),
            rules: source(RULES, &config.rules),
            config: config.clone(),
            fetched: None,
            hooks: None,
        };
        let verifier = Verifier { keys: files.keys()?, policy: policy(config) };
        let rules = files.rules.as_mut().map(Source::rules).transpose()?;
        let api_keys = files.api_keys.as_mut().map_or_else(|| Ok(ApiKeys::default()), Source::api_keys)?;
        let revoked = files.revoked.as_mut().map_or_else(|| Ok(Revoked::default()), Source::revoked)?;
        let desk = Desk::new(verifier, api_keys, revoked, rules);
        Ok((files, desk))
    }

    /// From now on the hooks of the rules are told there.
    ///
    /// # Errors
    /// [`DeskError`] for a secret that cannot be read, and hooks that need what there is not.
    pub fn tell(&mut self, handle: hooks::Handle, rules: Option<&Arc<Rules>>) -> Result<(), DeskError> {
        if let Some(source) = &self.rules {
            handle.heed(source.hooks(rules, handle.has_nats())?);
        }
        self.hooks = Some(handle);
        Ok(())
    }

    /// The files whose changes count at once.
    pub fn watched(&self) -> impl Iterator<Item = &Path> {
        [&self.api_keys, &self.revoked].into_iter().flatten().map(|source| &*source.path)
    }

    /// Reads again what was changed of those.
    pub fn look(&mut self, desk: &mut Desk, metrics: &DeskMetrics) {
        if let Some(source) = &mut self.api_keys
            && let Some(api_keys) = source.if_changed(metrics, Source::api_keys)
        {
            desk.set_api_keys(api_keys);
        }
        if let Some(source) = &mut self.revoked
            && let Some(revoked) = source.if_changed(metrics, Source::revoked)
        {
            desk.set_revoked(revoked);
        }
    }

    /// Reads everything again.
    pub fn reload(&mut self, desk: &mut Desk, metrics: &DeskMetrics) {
        self.look(desk, metrics);
        self.reload_rules(desk, metrics);
        if !self.restore_keys(desk) {
            metrics.files_refused.add(1);
        }
    }

    fn reload_rules(&mut self, desk: &mut Desk, metrics: &DeskMetrics) {
        let Some(source) = &mut self.rules else { return };
        let has_nats = self.hooks.as_ref().is_some_and(hooks::Handle::has_nats);
        let read = |source: &mut Source| {
            let before = source.seen.clone();
            let rules = source.rules()?;
            match source.hooks(Some(&rules), has_nats) {
                Ok(hooks) => Ok((rules, hooks)),
                Err(error) => {
                    // They count once what they need is there.
                    source.seen = before;
                    Err(error)
                }
            }
        };
        let read = source.if_changed(metrics, read);
        // Where the rules are the same, secrets may be others. What is wrong with them was said just now.
        let hooks = match read {
            Some((rules, hooks)) => {
                desk.set_rules(Some(rules));
                Ok(hooks)
            }
            None => source.hooks(desk.standing().rules.as_ref(), has_nats),
        };
        if let (Some(handle), Ok(hooks)) = (&self.hooks, hooks) {
            handle.heed(hooks);
        }
    }

    /// Takes a set of keys that was fetched. Whether there is any use in it.
    pub fn take_fetched(&mut self, set: Vec<u8>, desk: &mut Desk) -> bool {
        if self.fetched.as_ref() == Some(&set) {
            return true;
        }
        let before = self.fetched.replace(set);
        let is_taken = self.restore_keys(desk);
        if !is_taken {
            self.fetched = before;
        }
        is_taken
    }

    fn restore_keys(&self, desk: &mut Desk) -> bool {
        match self.keys() {
            Ok(keys) => desk.set_keys(keys),
            Err(error) => {
                tracing::error!("{error}; the keys that were in force stay");
                return false;
            }
        }
        true
    }

    /// All keys that tokens may be signed with.
    fn keys(&self) -> Result<Keys, DeskError> {
        let config = &self.config;
        let mut keys = Keys::default();
        for (flag, paths, add) in [
            (
                "--jwt-secret-file",
                config.secret_file.as_slice(),
                Keys::add_secret as fn(&mut Keys, &[u8]) -> _,
            ),
            ("--jwt-public-key-file", &config.public_key_files, Keys::add_pem),
            ("--jwks-file", config.jwks_file.as_slice(), Keys::add_set),
        ] {
            for path in paths {
                let content = read(flag, path, KEY_FILE_BYTES_MAX)?;
                let problem =
                    |error| DeskError::Content { flag, path: path.clone(), problem: format!("{error}") };
                add(&mut keys, &content).map_err(problem)?;
            }
        }
        let named =
            |source_name| move |problem| DeskError::Keys { source_name, problem: format!("{problem}") };
        if let Some(secret) = &config.secret {
            keys.add_secret(secret.0.as_bytes()).map_err(named("JWT_SECRET"))?;
        }
        if let Some(set) = &self.fetched {
            keys.add_set(set).map_err(named("--jwks-url"))?;
        }
        Ok(keys)
    }
}

impl Source {
    /// What `read` makes of the file, if it is another one than before and can be used.
    fn if_changed<T>(
        &mut self,
        metrics: &DeskMetrics,
        read: impl FnOnce(&mut Self) -> Result<T, DeskError>,
    ) -> Option<T> {
        let before = self.seen.clone();
        let found = read(self);
        if self.seen == before && found.is_ok() {
            return None;
        }
        match found {
            Ok(found) => {
                tracing::info!("{} {} counts as it is now", self.flag, self.path.display());
                Some(found)
            }
            Err(error) => {
                metrics.files_refused.add(1);
                tracing::error!("{error}; what was in force stays");
                None
            }
        }
    }

    fn rules(&mut self) -> Result<Arc<Rules>, DeskError> {
        let content = read(self.flag, &self.path, RULES_BYTES_MAX)?;
        let rules = self.parse(&content, |text| Rules::parse(text).map(Arc::new))?;
        self.seen = content;
        Ok(rules)
    }

    /// The hooks of the rules in it, with their secrets.
    fn hooks(&self, rules: Option<&Arc<Rules>>, has_nats: bool) -> Result<Loaded, DeskError> {
        let set = rules.and_then(|rules| rules.hooks());
        if !has_nats && set.is_some_and(|set| set.needs_nats()) {
            let problem = "a [[hook]] has a subject, and --nats-url names no server".to_owned();
            return Err(DeskError::Content { flag: self.flag, path: self.path.clone(), problem });
        }
        Loaded::read(set, &self.path).map_err(|LoadError { path, problem }| DeskError::Content {
            flag: "secret_file",
            path,
            problem,
        })
    }

    fn api_keys(&mut self) -> Result<ApiKeys, DeskError> {
        self.entries(ApiKeys::parse)
    }

    fn revoked(&mut self) -> Result<Revoked, DeskError> {
        self.entries(Revoked::parse)
    }

    /// What is in a file that need not be there.
    fn entries<T, E: std::fmt::Display>(
        &mut self,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, DeskError> {
        let content = match read(self.flag, &self.path, AUTH_FILE_BYTES_MAX) {
            // One that was there and said something is not gone by intent: an empty one would say so.
            Err(DeskError::Io { source, .. })
                if source.kind() == ErrorKind::NotFound && self.seen.is_empty() =>
            {
                Vec::new()
            }
            content => content?,
        };
        let found = self.parse(&content, parse)?;
        self.seen = content;
        Ok(found)
    }

    fn parse<T, E: std::fmt::Display>(
        &self,
        content: &[u8],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, DeskError> {
        let bad = |problem| DeskError::Content { flag: self.flag, path: self.path.clone(), problem };
        let text = std::str::from_utf8(content).map_err(|error| bad(format!("it is no text: {error}")))?;
        parse(text).map_err(|error| bad(error.to_string()))
    }
}

/// Whether all that is configured can be used. `has_nats`: whether hooks may have subjects.
///
/// # Errors
/// [`DeskError`].
pub fn check(config: &IdentityConfig, has_nats: bool) -> Result<(), DeskError> {
    let (files, desk) = Files::open(config)?;
    let hooks = |source: &Source| source.hooks(desk.standing().rules.as_ref(), has_nats);
    files.rules.as_ref().map_or(Ok(()), |source| hooks(source).map(drop))
}

/// The rules in a file.
///
/// # Errors
/// [`DeskError`].
pub fn read_rules(path: &Path) -> Result<Arc<Rules>, DeskError> {
    Source { flag: RULES, path: path.to_owned(), seen: Vec::new() }.rules()
}

/// The hooks in a file of rules, with their secrets.
///
/// # Errors
/// [`DeskError`].
pub fn read_hooks(path: &Path, has_nats: bool) -> Result<Loaded, DeskError> {
    let mut source = Source { flag: RULES, path: path.to_owned(), seen: Vec::new() };
    let rules = source.rules()?;
    source.hooks(Some(&rules), has_nats)
}

fn policy(config: &IdentityConfig) -> Policy {
    Policy {
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        leeway_ms: config.leeway_ms,
        allow_no_expiry: config.allow_no_expiry,
        roles_claim: config.roles_claim.clone(),
    }
}

fn read(flag: &'static str, path: &Path, bytes_max: usize) -> Result<Vec<u8>, DeskError> {
    reading::read(path, bytes_max).map_err(|error| match error {
        NotRead::Io(source) => DeskError::Io { flag, path: path.to_owned(), source },
        problem => DeskError::Content { flag, path: path.to_owned(), problem: problem.to_string() },
    })
}

/// A sentence for each secret that others than its owner may read.
pub fn open_to_others(config: &IdentityConfig) -> Option<String> {
    let path = config.secret_file.as_ref()?;
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let path = path.display();
    (mode & 0o077 != 0).then(|| {
        format!("--jwt-secret-file {path} has mode {mode:03o}, so that others may use it; `chmod go= {path}` closes it")
    })
}
