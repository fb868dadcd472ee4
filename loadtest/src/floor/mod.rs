//! The floor: what the kernel alone costs. A bare io_uring server in this process moves the same bytes as the run
//! before it, on the server's core, with no protocol work; the same load drives it.
//!
//! Invariant: the shape of a floor run (bytes of a request, of an answer, of a delivery) is taken from what really
//! went over the wire, so that a percentage of the floor compares like with like.

mod load;
mod server;

use crate::drive::{Timing, measure};
use crate::failure::Failure;
use crate::fleet::{Fleet, Framing, Target};
use crate::report::figures::{Figures, Outcome};
use crate::window::Meter;
use load::{EchoLoad, FanoutLoad};
use server::FloorServer;

/// What the floor moves.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Each request is answered; `operations` of the real protocol are in one request.
    Echo { connections: usize, request_bytes: usize, reply_bytes: usize, operations: u64 },
    /// Each publish is acked, and delivered to each subscriber.
    Fanout {
        publishers: usize,
        subscribers: usize,
        window: u64,
        publish_bytes: usize,
        ack_bytes: usize,
        delivery_bytes: usize,
    },
}

/// First byte of a connection to the floor: what it is.
const ROLE_ECHO: u8 = b'E';
const ROLE_PUBLISHER: u8 = b'P';
const ROLE_SUBSCRIBER: u8 = b'S';

/// Runs the floor alone on `core`, for the same time as the real run.
///
/// # Errors
/// When the floor cannot be set up or stops answering: a fault of this program.
pub fn run(shape: Shape, core: usize, timing: Timing, progress: bool) -> Result<Outcome, Failure> {
    let server = FloorServer::start(shape, core)?;
    let meter = Meter { subject: Some(server.thread), metrics: None, progress };
    let mut fleet = Fleet::new(&Target::loopback(server.address))?;
    let figures = match shape {
        Shape::Echo { connections, request_bytes, reply_bytes, operations } => {
            fleet.open_as(
                connections,
                Framing::Fixed { bytes: reply_bytes },
                ROLE_ECHO,
                timing.timeout_ns,
            )?;
            let mut load = EchoLoad::new(connections, request_bytes, operations);
            measure(&mut fleet, &mut load, timing, &meter)?.figures(&load.tally)
        }
        Shape::Fanout { publishers, subscribers, window, publish_bytes, ack_bytes, delivery_bytes } => {
            fleet.open_as(
                publishers,
                Framing::Fixed { bytes: ack_bytes },
                ROLE_PUBLISHER,
                timing.timeout_ns,
            )?;
            let framing = Framing::Fixed { bytes: delivery_bytes };
            fleet.open_as(subscribers, framing, ROLE_SUBSCRIBER, timing.timeout_ns)?;
            fleet.acknowledge_on_read(publishers..publishers + subscribers);
            let mut load = FanoutLoad::new(publishers, subscribers, window, publish_bytes);
            measure(&mut fleet, &mut load, timing, &meter)?.figures(&load.tally)
        }
    };
    fleet.close();
    server.stop()?;
    let checked = "every byte owed came back; their content has no meaning here".to_owned();
    Ok(Outcome { title: title(shape), operation: operation(shape), figures, checked })
}

/// Sets the floor's figures beside those of the real run.
pub fn compare(real: &mut Figures, floor: &Figures) {
    let copied = [
        ("floor_throughput_per_second", "throughput_per_second"),
        ("floor_cpu_us_per_operation", "server_cpu_us_per_operation"),
        ("floor_user_us_per_operation", "server_user_us_per_operation"),
        ("floor_cpu_percent", "server_cpu_percent"),
        ("floor_load_cpu_percent", "load_cpu_percent"),
        ("floor_p50_us", "latency_p50_us"),
        ("floor_p99_us", "latency_p99_us"),
    ];
    for (name, source) in copied {
        if let Some(number) = floor.number(source) {
            real.set(name, number);
        }
    }
    let pair = |name: &str| real.number(name).zip(floor.number(name));
    let cpu = pair("server_cpu_us_per_operation");
    let p50 = pair("latency_p50_us");
    if let Some((real_us, floor_us)) = cpu {
        real.set("percent_of_floor", 100.0 * floor_us / real_us);
    }
    if let Some((real_us, floor_us)) = p50 {
        real.set("p50_over_floor_percent", 100.0 * (real_us / floor_us - 1.0));
    }
}

fn title(shape: Shape) -> String {
    match shape {
        Shape::Echo { connections, request_bytes, reply_bytes, .. } => {
            format!("floor   echo, {connections} connections, {request_bytes} B in, {reply_bytes} B out")
        }
        Shape::Fanout { publishers, subscribers, window, publish_bytes, ack_bytes, delivery_bytes } => {
            format!(
                "floor   fan-out {publishers} → {subscribers}, window {window}, {publish_bytes} B in, \
             {ack_bytes} B ack, {delivery_bytes} B a delivery"
            )
        }
    }
}

fn operation(shape: Shape) -> &'static str {
    match shape {
        Shape::Echo { .. } => "op",
        Shape::Fanout { .. } => "delivery",
    }
}
