//! The `annulus` command: settings first, then the log, then the host, then the server.
//!
//! Exit codes: 0 done, 1 a fault while running or a failed check, 2 a configuration that cannot be served.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nothing can be written: io::log, cli::stdout"
)]

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use annulus::cli::{self, Command, Serve, TaskError, stdout};
use annulus::io::host::{self, OpenFiles};
use annulus::io::inherited::{self, Inherited, Program};
use annulus::io::log;
use annulus::server::{Next, RunError, Server, Settings};
use annulus::service::signals::Signals;
use annulus::service::upgrade;

/// Its per-thread heaps suit threads that share nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_RUNTIME: u8 = 1;
const EXIT_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    upgrade::note_start(std::env::args_os(), cli::without_action);
    // Until there is much to find.
    host::allow_huge_pages(false);
    let strange = cli::variables::strange(std::env::vars_os());
    match cli::parse(std::env::args_os(), &|name| std::env::var_os(name)) {
        Ok(Command::Serve(mut serve)) => {
            serve.remarks.extend(strange);
            // Before anything else is opened.
            let inherited = match inherited::take() {
                Ok(inherited) => inherited,
                Err(error) => return fail(&error, EXIT_CONFIGURATION),
            };
            let tls_listen = serve.config.tls_listen.clone();
            let of_units = inherited
                .iter()
                .filter(|listener| !listener.is_ours() && !tls_listen.contains(&listener.address));
            match serve.serve_at(of_units.map(|listener| listener.address)) {
                Ok(()) => run(serve, inherited),
                Err(error) => fail(&error, EXIT_CONFIGURATION),
            }
        }
        Ok(Command::Doctor(mut serve)) => {
            serve.remarks.extend(strange);
            printed(cli::doctor::run(&serve))
        }
        Ok(Command::Config { text, remarks }) => {
            remark(&[remarks, strange].concat());
            printed(stdout::print(&text).map(|()| true))
        }
        Ok(Command::Task(task)) => {
            remark(&strange);
            match task.run() {
                Ok(()) | Err(TaskError::ReaderGone) => ExitCode::SUCCESS,
                Err(error) => fail(&error, EXIT_RUNTIME),
            }
        }
        Ok(Command::Page(page)) => printed(stdout::print_page(&page).map(|()| true)),
        // The log is not started yet, and this line must be seen whatever the log filter says.
        Err(error) => fail(&error, EXIT_CONFIGURATION),
    }
}

fn run(serve: Serve, inherited: Vec<Inherited>) -> ExitCode {
    let listeners_max =
        serve.cores.len() * (serve.config.listen.len() + serve.config.tls_listen.len()) + inherited.len();
    if let Err(error) = inherited::reserve(listeners_max) {
        return fail(&RunError::Thread(error), EXIT_RUNTIME);
    }
    if let Err(error) = cli::logging::start(&serve.log) {
        return fail(&RunError::Thread(error), EXIT_RUNTIME);
    }
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => return fail(&RunError::Thread(error), EXIT_RUNTIME),
    };
    // Before any socket opens, as each needs a descriptor.
    let open_files = host::raise_nofile();
    let origin = serve.origin_of_listen();
    match bind_and_run(serve, inherited, open_files, signals) {
        Ok(None) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Ok(Some(next)) => become_next(next),
        Err(error @ (RunError::AddressInUse { .. } | RunError::Bind { .. })) => {
            fail(&format!("{error}{}", origin.unwrap_or_default()), EXIT_RUNTIME)
        }
        Err(error) => fail(&error, EXIT_RUNTIME),
    }
}

fn bind_and_run(
    mut serve: Serve,
    inherited: Vec<Inherited>,
    open_files: OpenFiles,
    signals: Signals,
) -> Result<Option<Next>, RunError> {
    // A socket is a descriptor: what the limit does not allow, no flag can. Clients beyond it are told so.
    let wanted = serve.config.connections_max;
    let possible = host::connections_possible(open_files, serve.cores.len());
    serve.config.connections_max = wanted.min(possible);
    let handshakes = host::handshakes_possible(open_files, serve.cores.len(), serve.config.connections_max);
    serve.config.handshakes_max = serve.config.handshakes_max.min(handshakes);
    let settings = Settings {
        config: serve.config.clone(),
        cores: serve.cores.clone(),
        storage: serve.storage.clone(),
        identity: serve.identity.clone(),
        tls: serve.tls.clone(),
        hooks: serve.hooks.clone(),
        admin: serve.admin,
        from_flags: serve.from_flags.clone(),
        node_is_chosen: serve.node_is_chosen,
    };
    let server = Server::bind_with(settings, inherited)?;
    // The banner names the ports that port 0 became, and comes only once they are really ours.
    (serve.config.listen, serve.config.tls_listen) =
        (server.addresses().to_vec(), server.tls_addresses().to_vec());
    serve.admin = server.admin_address();
    server.node().clone_into(&mut serve.config.node);
    cli::banner::show(&serve, open_files);
    if wanted > possible {
        tracing::warn!(
            "--max-connections {wanted} is lowered to {possible}, as open files are limited to {}; see `annulus doctor`",
            open_files.soft
        );
    }
    server.run(signals)
}

/// Becomes the program that takes the place of this one, or this one again where that cannot be started.
fn become_next(next: Next) -> ExitCode {
    let arguments = upgrade::arguments();
    log::flush();
    let (error, listeners) =
        inherited::pass(&Program { path: &next.program, arguments: &arguments }, next.listeners);
    log::say(&format!(
        "annulus: {} cannot be started: {error}; starting this one again\n",
        next.program.display()
    ));
    log::flush();
    let itself = Program { path: Path::new("/proc/self/exe"), arguments: &arguments };
    let (error, _) = inherited::pass(&itself, listeners);
    fail(&format!("and this one neither: {error}"), EXIT_RUNTIME)
}

/// The end of a command that prints: whether what it printed was good news.
fn printed(outcome: io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&TaskError::Stdout(error), EXIT_RUNTIME),
    }
}

fn remark(remarks: &[String]) {
    remarks.iter().for_each(|remark| log::say(&format!("annulus: warning: {remark}\n")));
}

fn fail(error: &dyn Display, code: u8) -> ExitCode {
    log::say(&format!("annulus: {error}\n"));
    log::flush();
    ExitCode::from(code)
}
