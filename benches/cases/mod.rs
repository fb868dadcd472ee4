//! The operations that are measured, one file a topic; `../time.rs` and `../instructions.rs` say what each costs.
//!
//! Invariant: a case does what a shard does, through the public interface, with buffers that are warm and kept;
//! and it checks what came out, so that a case which no longer does its work fails instead of being fast.

mod encode;
mod frame;
mod merge;
mod mesh;
mod message;
mod outbox;
mod turn;

/// Whatever is measured with.
pub trait Meter {
    /// Measures `run`, which leaves everything so that it can run again, any number of times.
    fn steady(&mut self, case: Case, run: impl FnMut());

    /// Measures `run` on what `prepare` makes, which is made anew each time. Making and dropping it are not measured.
    fn fresh<State>(&mut self, case: Case, prepare: impl FnMut() -> State, run: impl FnMut(&mut State));
}

/// What a run does.
#[derive(Clone, Copy)]
pub struct Case {
    pub topic: &'static str,
    pub name: &'static str,
    /// Operations of one run; figures are for one of them.
    pub operations: u64,
}

/// Measures everything there is.
pub fn measure_all(meter: &mut impl Meter) {
    frame::measure(meter);
    message::measure(meter);
    merge::measure(meter);
    encode::measure(meter);
    outbox::measure(meter);
    mesh::measure(meter);
    turn::measure(meter);
}

/// A case whose run does one operation.
const fn one(topic: &'static str, name: &'static str) -> Case {
    many(topic, name, 1)
}

const fn many(topic: &'static str, name: &'static str, operations: u64) -> Case {
    Case { topic, name, operations }
}
