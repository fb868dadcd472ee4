//! What the server says when it starts: what runs, within which limits, and where to go next.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use super::cores::CoreList;
use super::{LogFormat, Serve, inherited};
use crate::config::Bytes;
use crate::config::{AuthMode, Config, DialectPath, Fsync, StorageConfig};
use crate::dialect::synckit;
use crate::io::host::{OpenFiles, reachable};
use crate::io::log;

/// Writes the banner to stderr, as a page for people or as one event of the JSON log.
pub fn show(serve: &Serve, open_files: OpenFiles) {
    let banner = Banner { serve, open_files };
    match serve.log.format {
        LogFormat::Human => log::say(&banner.to_string()),
        LogFormat::Json => banner.log(),
    }
}

struct Banner<'a> {
    serve: &'a Serve,
    open_files: OpenFiles,
}

impl Banner<'_> {
    fn log(&self) {
        let Serve { config, cores, storage, inherited, .. } = self.serve;
        let listen: Vec<String> = config.listen.iter().map(SocketAddr::to_string).collect();
        let tls: Vec<String> = config.tls_listen.iter().map(SocketAddr::to_string).collect();
        let inherited = counting(inherited);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            node = config.node,
            listen = listen.join(","),
            tls_listen = (!tls.is_empty()).then(|| tls.join(",")),
            admin = self.serve.admin.map(|address| address.to_string()),
            synckit_path = synckit_path(config),
            cores = %CoreList(cores.clone()),
            shards = cores.len(),
            storage = if storage.is_some() { "disk" } else { "memory" },
            data_dir = storage.as_ref().map(|storage| storage.data_dir.display().to_string()),
            connections_max = config.connections_max,
            message_bytes_max = config.message_bytes_max,
            subscriptions_max = config.subscriptions_max,
            open_files = self.open_files.soft,
            allowed_origins = allowed_origins(config),
            auth = config.auth.as_str(),
            rules = rules(self.serve).map(|path| path.display().to_string()),
            from_environment = (!inherited.is_empty()).then(|| inherited.join(",")),
            "annulus starts"
        );
        for warning in self.serve.warnings() {
            tracing::warn!("{warning}");
        }
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Serve { config, cores, storage, inherited, .. } = self.serve;
        let shards = if cores.len() == 1 { "1 shard".to_owned() } else { format!("{} shards", cores.len()) };
        writeln!(f, "annulus {}   node {}", env!("CARGO_PKG_VERSION"), config.node)?;
        for address in &config.listen {
            writeln!(f, "  listen    ws://{address}/v1")?;
        }
        for address in &config.tls_listen {
            writeln!(f, "  tls       wss://{address}/v1")?;
        }
        if let Some(admin) = self.serve.admin {
            writeln!(f, "  admin     http://{admin}/api")?;
            writeln!(f, "  console   http://{}/console/", reachable(admin))?;
        }
        if let Some(synckit) = synckit_path(config) {
            for address in &config.listen {
                writeln!(f, "  synckit   ws://{address}{synckit}")?;
            }
            for address in &config.tls_listen {
                writeln!(f, "  synckit   wss://{address}{synckit}")?;
            }
        }
        writeln!(f, "  cores     {}  ({shards})", CoreList(cores.clone()))?;
        match storage {
            Some(storage) => write_storage(f, storage, config)?,
            None => writeln!(f, "  storage   memory  (a restart empties it)")?,
        }
        writeln!(
            f,
            "  limits    {} connections, {} a message, {} subscriptions each, {} open files",
            config.connections_max,
            Bytes(config.message_bytes_max),
            config.subscriptions_max,
            self.open_files.soft
        )?;
        if config.listen.iter().chain(&config.tls_listen).any(|address| !address.ip().is_loopback()) {
            let advice = if config.allowed_origins.is_empty() {
                "  (--allowed-origins names those that may)"
            } else {
                ""
            };
            writeln!(f, "  origins   {}{advice}", allowed_origins(config))?;
        }
        writeln!(f, "  identity  {}", identity(self.serve))?;
        let inherited = counting(inherited);
        if !inherited.is_empty() {
            writeln!(f, "  from environment  {}", inherited.join(", "))?;
        }
        for warning in self.serve.warnings() {
            writeln!(f, "  WARNING   {warning}")?;
        }
        let Some(&address) = config.listen.first() else { return Ok(()) };
        let reachable = reachable(address);
        let mut next = "  next    ";
        if config.front_page.is_some() {
            writeln!(f, "{next}  http://{reachable}/ in a browser, twice")?;
            next = "          ";
        }
        writeln!(f, "{next}  curl http://{reachable}/healthz")?;
        writeln!(f, "            curl http://{reachable}/metrics")?;
        writeln!(f, "            cargo run --release -p loadtest -- ping --url ws://{reachable}/v1")?;
        writeln!(f, "            annulus --help, annulus doctor")
    }
}

/// Variables of SyncKit's servers without those that nothing is made of, of which there are warnings.
fn counting(inherited: &[&'static str]) -> Vec<&'static str> {
    inherited.iter().copied().filter(|name| inherited::counts(name)).collect()
}

/// Where SyncKit's clients are served; `None`: nowhere.
fn synckit_path(config: &Config) -> Option<&str> {
    let is_synckit = |found: &&DialectPath| found.dialect == synckit::PATH.dialect;
    config.dialects.iter().find(is_synckit).map(|found| &*found.path)
}

/// Whose pages may connect.
fn allowed_origins(config: &Config) -> String {
    let origins: Vec<String> = config.allowed_origins.iter().map(ToString::to_string).collect();
    if origins.is_empty() { "any page may connect".to_owned() } else { origins.join(",") }
}

/// The file that says who may do what.
fn rules(serve: &Serve) -> Option<&Path> {
    serve.identity.as_ref()?.rules.as_deref()
}

/// Who may come, and what they may do.
fn identity(serve: &Serve) -> String {
    let (who, all) = match serve.config.auth {
        AuthMode::None => ("nobody is asked who they are", "everybody may do everything"),
        AuthMode::Optional => ("who shows no token is anonymous", "everybody may do everything"),
        AuthMode::Required => ("everybody shows a token", "who does may do everything"),
    };
    match rules(serve) {
        Some(path) => format!("{who}  (rules of {})", path.display()),
        None => format!("{who}, and {all}  (--auth, --rules)"),
    }
}

fn write_storage(f: &mut fmt::Formatter<'_>, storage: &StorageConfig, config: &Config) -> fmt::Result {
    write!(f, "  storage   {}  (", storage.data_dir.display())?;
    match storage.fsync {
        Fsync::Always => write!(f, "synced always")?,
        Fsync::Interval { ms } => write!(f, "synced every {ms} ms")?,
        Fsync::Never => write!(f, "synced when the kernel likes, no durable acks")?,
    }
    match config.memory_limit_bytes {
        0 => writeln!(f, ", all of it in memory)"),
        bytes => writeln!(f, ", up to {} of it in memory)", Bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    #[test]
    fn the_banner_says_what_runs_and_where_to_go() {
        let core = crate::io::host::allowed_cores()[0].to_string();
        let flags =
            ["annulus", "--auth", "optional", "--listen", "0.0.0.0:9100,[::1]:9101", "--node", "eu-1"];
        let flags =
            [&flags[..], &["--data-dir", "/data", "--memory-limit", "32MiB", "--cores", &core]].concat();
        let Ok(Command::Serve(serve)) = parse(flags, &|_| None) else { panic!("valid flags") };
        let open_files = OpenFiles { soft: 4096, hard: 4096 };
        let text = Banner { serve: &serve, open_files }.to_string();
        for part in [
            "node eu-1",
            "ws://0.0.0.0:9100/v1",
            "ws://[::1]:9101/v1",
            "ws://0.0.0.0:9100/ws",
            "ws://[::1]:9101/ws",
            "/data  (synced always, up to 32MiB of it in memory)",
            "100000 connections",
            "1MiB a message",
            "4096 open files",
            "  identity  who shows no token is anonymous, and everybody may do everything  (--auth, --rules)\n",
            "  origins   any page may connect  (--allowed-origins names those that may)\n",
            "http://127.0.0.1:9100/healthz",
            "--url ws://127.0.0.1:9100/v1",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("from environment") && !text.contains("WARNING"), "{text}");
    }

    #[test]
    fn the_banner_says_whose_pages_may_connect_where_others_reach_the_server() {
        let banner = |flags: &[&str]| {
            let flags = ["annulus", "--auth", "optional"].iter().chain(flags);
            let Ok(Command::Serve(serve)) = parse(flags, &|_| None) else { panic!("valid flags") };
            Banner { serve: &serve, open_files: OpenFiles { soft: 4096, hard: 4096 } }.to_string()
        };
        assert!(!banner(&["--listen", "127.0.0.1:9000,[::1]:9000"]).contains("origins"));
        assert!(banner(&["--listen", "127.0.0.1:9000,192.0.2.1:9000"]).contains("any page may connect"));
        let text = banner(&["--listen", "[::]:9000", "--allowed-origins", "HTTPS://a.example:443,http://b"]);
        assert!(text.contains("  origins   https://a.example,http://b\n"), "{text}");
    }

    #[test]
    fn the_banner_names_the_variables_that_counted() {
        let variables = [
            ("PORT", "8080"),
            ("JWT_SECRET", "hush"),
            ("SYNCKIT_AUTH_REQUIRED", "false"),
            ("DATABASE_URL", "postgres://u:hush@db/kit"),
            ("REDIS_URL", "redis://:hush@cache"),
            ("WS_MAX_CONNECTIONS", "200"),
        ];
        let environment = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        };
        let Ok(Command::Serve(serve)) = parse(["annulus", "--enable-test-reset"], &environment) else {
            panic!("valid variables")
        };
        let text = Banner { serve: &serve, open_files: OpenFiles { soft: 4096, hard: 4096 } }.to_string();
        let counted = "  from environment  PORT, WS_MAX_CONNECTIONS, SYNCKIT_AUTH_REQUIRED\n";
        assert!(text.contains(counted) && !text.contains("hush"), "{text}");
        for unused in [
            "JWT_SECRET is not used beside SYNCKIT_AUTH_REQUIRED=false",
            "DATABASE_URL is not used",
            "REDIS_URL is not used",
        ] {
            assert!(text.contains(&format!("  WARNING   {unused}")), "{text}");
        }
        assert!(text.contains("  WARNING   --enable-test-reset: whoever"), "{text}");
    }
}
