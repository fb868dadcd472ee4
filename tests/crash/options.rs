//! What the command line and the environment ask for.

use std::time::Duration;

/// Rounds of `cargo test`, which CI runs.
const ROUNDS_DEFAULT: u64 = 100;
const LANES_DEFAULT: u64 = 2;
const POWER_CUTS_DEFAULT: u64 = 20;
/// Of `--every-flush`.
const SECONDS_DEFAULT: u64 = 10;
const REPLAYS_DEFAULT: usize = 100;

/// What is recorded, and how much of it is looked at.
pub struct EveryFlush {
    pub time: Duration,
    /// At the most, half of them behind a flush and half with some of the writes up to the next.
    pub replays: usize,
    /// As `mkfs` and `mount` know it.
    pub file_system: String,
}

/// See the module.
pub struct Options {
    pub rounds: u64,
    /// Of the first life; the next ones count up from it.
    pub seed: u64,
    /// Servers that run, and are killed, at the same time.
    pub lanes: u64,
    /// Memory storage, with every ack believed: to see that the loop fails when writes are lost.
    pub is_memory: bool,
    /// Rounds that end in a power cut, where the machine allows it.
    pub power_cuts: u64,
    /// These rounds, and no others.
    pub every_flush: Option<EveryFlush>,
    pub is_verbose: bool,
    /// `--list`, as tools that look for tests ask.
    pub lists: bool,
}

impl Options {
    pub fn read() -> Self {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let variable = |name: &str| number(std::env::var(name).ok());
        let mut options = Self {
            rounds: variable("ANNULUS_ROUNDS").unwrap_or(ROUNDS_DEFAULT),
            seed: variable("ANNULUS_SEED").unwrap_or(1),
            lanes: LANES_DEFAULT,
            is_memory: false,
            power_cuts: variable("ANNULUS_POWER_CUTS").unwrap_or(POWER_CUTS_DEFAULT),
            every_flush: None,
            is_verbose: false,
            lists: false,
        };
        let mut every_flush = EveryFlush {
            time: Duration::from_secs(SECONDS_DEFAULT),
            replays: REPLAYS_DEFAULT,
            file_system: "ext4".to_owned(),
        };
        let mut is_every_flush = false;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match &argument[..] {
                "--rounds" => options.rounds = number(arguments.next()).expect("--rounds takes a number"),
                "--seed" => options.seed = number(arguments.next()).expect("--seed takes a number"),
                "--lanes" => options.lanes = number(arguments.next()).expect("--lanes takes a number"),
                "--power-cuts" => {
                    options.power_cuts = number(arguments.next()).expect("--power-cuts takes a number");
                }
                "--every-flush" => is_every_flush = true,
                "--seconds" => {
                    let seconds = number(arguments.next()).expect("--seconds takes a number");
                    every_flush.time = Duration::from_secs(seconds);
                }
                "--replays" => {
                    let replays = number(arguments.next()).expect("--replays takes a number");
                    every_flush.replays = usize::try_from(replays).expect("replays are few");
                }
                "--file-system" => {
                    every_flush.file_system = arguments.next().expect("--file-system takes a name");
                }
                "--memory" => (options.is_memory, options.power_cuts) = (true, 0),
                "-v" | "--verbose" => options.is_verbose = true,
                "--list" => options.lists = true,
                "--test-threads" | "--skip" | "--format" | "--color" => drop(arguments.next()),
                // A name of tests to run, which may not mean this one.
                name if !name.starts_with('-') && !"crash".contains(name) => {
                    (options.rounds, options.power_cuts) = (0, 0);
                }
                // Other arguments of the usual harness, such as `--nocapture`.
                _ => {}
            }
        }
        if is_every_flush {
            (options.rounds, options.power_cuts) = (0, 0);
            options.every_flush = Some(every_flush);
        }
        options
    }
}
