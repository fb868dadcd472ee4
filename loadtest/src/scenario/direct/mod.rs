//! `direct`: messages from user to user. `queued.rs`: to those who are away, and how long until all of them have theirs once
//! they have come back; `live.rs`: to those who are there, how long one takes and what it costs.
//!
//! Users show tokens that the load signs with a secret of its own, which it has its server told.

mod letters;
mod live;
mod queued;
mod users;

use std::path::PathBuf;

use super::write::value_bytes;
use crate::bench::Bench;
use crate::failure::Failure;
use crate::report::figures::Outcome;
use crate::rig::{Rig, Run};
use crate::server::process::with_server_output;
use users::{Secret, Users};

#[derive(Clone, Debug, clap::Args)]
pub struct DirectOptions {
    /// Users who are sent something
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub users: u32,
    /// Users who send; each receiver has messages of one of them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub senders: u32,
    /// Messages that wait for those who are away, all together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: u64,
    /// Messages a second to those who are there, all together
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// How many messages one acknowledgement of those who are there is for
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub ack_every: u64,
    /// Bytes of the data of one message as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub data_bytes: usize,
    /// File of the secret that tokens are signed with; --url needs that of the server [default: one of its own]
    #[arg(long, value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
}

/// Two outcomes: what has waited, and what is delivered at once.
///
/// # Errors
/// What went wrong on the wire, or did not come.
pub fn run(rig: &Rig<'_>, options: &DirectOptions, run: &Run) -> Result<Vec<Outcome>, Failure> {
    if options.senders > options.users {
        return Err(Failure::Setup("--senders: there are no more of them than --users".to_owned()));
    }
    if rig.is_remote() && options.jwt_secret_file.is_none() {
        return Err(Failure::Setup("--url needs the server's --jwt-secret-file, to sign tokens".to_owned()));
    }
    let secret = Secret::of(options.jwt_secret_file.as_deref())?;
    let data = rig.data_dir(false)?;
    let started = (!rig.is_remote()).then(|| rig.start_server(data.as_ref(), &secret.server_arguments()));
    let mut server = started.transpose()?;
    let mut bench = rig.bench(server.as_ref(), None, run)?;
    run_both(&mut bench, options, &secret).map_err(|failure| with_server_output(failure, server.as_mut()))
}

fn run_both(bench: &mut Bench, options: &DirectOptions, secret: &Secret) -> Result<Vec<Outcome>, Failure> {
    let target = bench.target.clone();
    let mut come = |part: &str| {
        let name = format!("{}-{part}", bench.run);
        let users = Users::new(&name, options.senders as usize, options.users as usize);
        bench.target = users.come_to(&target, secret)?;
        match part {
            "q" => queued::run(bench, options, users),
            _ => live::run(bench, options, users),
        }
    };
    Ok(vec![come("q")?, come("l")?])
}
