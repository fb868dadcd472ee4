//! The way to the shards: questions to one or all of them, and their answers.
//!
//! ```text
//!  handlers ──Asked──► one task ══queues══► shards; it is woken by the event that they raise
//!           ◄─oneshot─┘
//! ```
//! Invariant: a shard is asked no more at a time than its queue has room for answers; what is beyond waits here, and is refused past
//! `WAITING_MAX`. Whoever has stopped waiting costs a shard one question at most.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::Refusal;
use crate::handover::inspection::{Ask, Finding, Inquiry, InspectionEnd};
use crate::io::{Clock, Control, Event};
use crate::limits::INSPECTIONS_MAX;
use crate::mesh::ConnectionId;

/// Questions that wait for room at a shard.
const WAITING_MAX: usize = 1024;
/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is answered, and how long the shard's event loop let it wait, in microseconds.
pub struct Answered {
    pub finding: Finding,
    pub lag_us: u64,
}

struct Asked {
    shard: usize,
    inquiry: Inquiry,
    answer: oneshot::Sender<Answered>,
}

/// A way to ask. Cheap to clone.
#[derive(Clone)]
pub struct Shards {
    asks: mpsc::Sender<Asked>,
    count: usize,
}

/// What the task owns.
pub struct Ways {
    pub ends: Vec<InspectionEnd>,
    pub controls: Vec<Control>,
    pub event: Event,
    pub clock: Clock,
}

impl Shards {
    /// Starts the task.
    ///
    /// # Errors
    /// The event cannot be watched.
    pub fn start(ways: Ways) -> std::io::Result<Self> {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let count = ways.ends.len();
        let file = ways.event.file()?;
        rustix::io::ioctl_fionbio(&file, true)?;
        #[expect(deprecated, reason = "it is sound for a file, which has one descriptor until it is closed")]
        let woken = AsyncFd::with_interest(file, Interest::READABLE)?;
        tokio::spawn(async move { Task::new(ways).run(asked, &woken).await });
        Ok(Self { asks, count })
    }

    pub const fn count(&self) -> usize {
        self.count
    }

    /// Asks one shard.
    ///
    /// # Errors
    /// Too much waits, or it does not answer in time.
    pub async fn ask(&self, shard: usize, inquiry: Inquiry) -> Result<Finding, Refusal> {
        Ok(self.ask_for(shard, inquiry, PATIENCE).await?.finding)
    }

    /// The same, with how long it took to be looked at.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_for(
        &self,
        shard: usize,
        inquiry: Inquiry,
        patience: Duration,
    ) -> Result<Answered, Refusal> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { shard, inquiry, answer };
        self.asks.try_send(asked).map_err(|_| busy("too many questions wait"))?;
        match timeout(patience, answered).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(_)) => Err(unavailable("the server is ending")),
            Err(_) => Err(unavailable("a shard does not answer in time")),
        }
    }

    /// Asks all of them the same, at once; their answers in order.
    ///
    /// # Errors
    /// As [`Self::ask`], of any.
    pub async fn ask_all(&self, inquiry: impl Fn() -> Inquiry) -> Result<Vec<Finding>, Refusal> {
        let asking = (0..self.count).map(|shard| self.ask(shard, inquiry()));
        futures_util::future::join_all(asking).await.into_iter().collect()
    }
}

/// An answer to something else, which no shard gives.
pub fn other() -> Refusal {
    unavailable("a shard has answered something else")
}

pub fn unavailable(message: &str) -> Refusal {
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
    Refusal { retry_after_ms: Some(1_000), ..refusal }
}

fn busy(message: &str) -> Refusal {
    Refusal { code: "overloaded".to_owned(), ..unavailable(message) }
}

/// The name of a connection, as its `hello` has it.
pub fn connection_name(shard: usize, id: ConnectionId) -> String {
    format!("{shard}-{}-{}", id.index, id.generation)
}

/// What such a name says.
pub fn parse_connection(name: &str, shards: usize) -> Option<(usize, ConnectionId)> {
    let mut parts = name.split('-');
    let shard = parts.next()?.parse().ok().filter(|&shard: &usize| shard < shards)?;
    let (index, generation) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((shard, ConnectionId { index, generation }))
}

struct Task {
    ways: Ways,
    pending: HashMap<u64, (oneshot::Sender<Answered>, u64)>,
    /// For each shard, what it has been asked and what waits.
    asked: Vec<usize>,
    waiting: Vec<VecDeque<Asked>>,
    number: u64,
}

impl Task {
    fn new(ways: Ways) -> Self {
        let count = ways.ends.len();
        let waiting = (0..count).map(|_| VecDeque::new()).collect();
        Self { ways, pending: HashMap::new(), asked: vec![0; count], waiting, number: 0 }
    }

    async fn run(mut self, mut asks: mpsc::Receiver<Asked>, woken: &AsyncFd<std::fs::File>) {
        loop {
            tokio::select! {
                ready = woken.readable() => {
                    let Ok(mut ready) = ready else { return };
                    let mut count = [0; 8];
                    let _ = rustix::io::read(woken.get_ref(), &mut count);
                    ready.clear_ready();
                    self.take_answers();
                }
                asked = asks.recv() => {
                    let Some(asked) = asked else { return };
                    let shard = asked.shard;
                    self.waiting[shard].push_back(asked);
                    self.send(shard);
                }
            }
        }
    }

    fn send(&mut self, shard: usize) {
        let mut has_sent = false;
        while self.asked[shard] < INSPECTIONS_MAX
            && let Some(Asked { inquiry, answer, .. }) = self.waiting[shard].pop_front()
        {
            if answer.is_closed() {
                continue;
            }
            self.number += 1;
            let number = self.number;
            // It has ended; so has whoever waits, soon.
            if self.ways.ends[shard].ask.push(Ask { number, inquiry }).is_err() {
                break;
            }
            self.pending.insert(number, (answer, self.ways.clock.now().monotonic_us));
            self.asked[shard] += 1;
            has_sent = true;
        }
        if has_sent {
            self.ways.controls[shard].wake();
        }
    }

    fn take_answers(&mut self) {
        for shard in 0..self.ways.ends.len() {
            while let Ok(told) = self.ways.ends[shard].told.pop() {
                self.asked[shard] -= 1;
                if let Some((answer, asked_us)) = self.pending.remove(&told.number) {
                    let lag_us = told.at_us.saturating_sub(asked_us);
                    let _ = answer.send(Answered { finding: told.finding, lag_us });
                }
            }
            self.send(shard);
        }
    }
}
