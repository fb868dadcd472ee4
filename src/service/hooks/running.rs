//! The thread of the hooks.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout_at};

use super::asking::Asking;
use super::batch::{Changes, Encoded};
use super::dead_letters::DeadLetters;
use super::handle::Handle;
use super::http::Http;
use super::loaded::Loaded;
use super::target::{Common, Target};
use super::way::{Sender, Way};
use crate::config::HooksConfig;
use crate::handover::{Answered, Ask, HooksEnd};
use crate::hooks::{Event, Happened, Hook};
use crate::io::{Clock, Control, host};
use crate::limits::HOOK_BATCH_MS;
use crate::metrics::HookMetrics;

/// Events of one shard that are taken before others have their turn.
const EVENTS_AT_ONCE: usize = 256;
/// How long targets may take at the end for what waits.
const END: Duration = Duration::from_secs(3);
/// Between two looks at what nobody wakes it for: changes that are due, targets that are done.
const LOOK_BUSY: Duration = Duration::from_millis(20);
const LOOK_IDLE: Duration = Duration::from_secs(10);

/// What the thread is started with.
pub struct Running {
    pub handle: Handle,
    pub told: Receiver<Loaded>,
    pub ends: Vec<HooksEnd>,
    pub controls: Vec<Control>,
    pub config: HooksConfig,
    pub http: Http,
    pub metrics: Arc<HookMetrics>,
    pub clock: Clock,
    /// What the ids of events begin with.
    pub instance: u64,
}

/// The thread at work.
struct Work {
    handle: Handle,
    told: Receiver<Loaded>,
    shards: Vec<Rc<Shard>>,
    common: Rc<Common>,
    asking: Rc<Asking>,
    metrics: Arc<HookMetrics>,
    loaded: Loaded,
    targets: Vec<Rc<Target>>,
    changes: Changes,
    /// When these are told.
    changes_due: Instant,
    instance: u64,
    numbered: u64,
}

/// One shard.
struct Shard {
    end: RefCell<HooksEnd>,
    control: Control,
}

impl Running {
    pub fn run(self) {
        if let Err(error) = host::yield_to_shards() {
            tracing::warn!(
                "the thread of the hooks cannot lower its priority, so shards may notice it: {error}"
            );
        }
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!("no hook is told anything, and no question asked: {error}"),
        };
        let served = LocalSet::new().block_on(&runtime, self.into_work().serve());
        if let Err(error) = served {
            tracing::error!("the thread of the hooks has failed: {error}");
        }
    }

    fn into_work(self) -> Work {
        let Self { handle, told, ends, controls, config, http, metrics, clock, instance } = self;
        let shard = |(end, control)| Rc::new(Shard { end: RefCell::new(end), control });
        let common = Common {
            sender: Sender::new(http.clone(), config.nats.as_ref(), clock.clone()),
            dead_letters: DeadLetters::new(config.dead_letters, config.dead_letters_bytes),
            metrics: Arc::clone(&metrics),
            is_ending: Cell::new(false),
            ends: Notify::new(),
        };
        Work {
            handle,
            told,
            shards: ends.into_iter().zip(controls).map(shard).collect(),
            common: Rc::new(common),
            asking: Rc::new(Asking::new(http, clock, Arc::clone(&metrics))),
            metrics,
            loaded: Loaded::default(),
            targets: Vec::new(),
            changes: Changes::default(),
            changes_due: Instant::now(),
            instance,
            numbered: 0,
        }
    }
}

impl Work {
    async fn serve(mut self) -> io::Result<()> {
        #[expect(deprecated, reason = "it is sound for a file, which has one descriptor until it is closed")]
        let woken = AsyncFd::with_interest(self.handle.event().file()?, Interest::READABLE)?;
        // What was raised twice may be seen twice, and read once.
        rustix::io::ioctl_fionbio(woken.get_ref(), true)?;
        while !self.handle.is_stopping() {
            let has_more = self.pass();
            if has_more {
                yield_now().await;
                continue;
            }
            let looked_at = Instant::now() + if self.is_busy() { LOOK_BUSY } else { LOOK_IDLE };
            if let Ok(ready) = timeout_at(looked_at, woken.readable()).await {
                let _ = rustix::io::read(woken.get_ref(), &mut [0; 8]);
                ready?.clear_ready();
            }
        }
        while self.pass() {}
        self.tell_changes();
        self.end().await;
        Ok(())
    }

    /// Takes and hands on some of what there is; whether there is more.
    fn pass(&mut self) -> bool {
        while let Ok(loaded) = self.told.try_recv() {
            self.heed(loaded);
        }
        let mut has_more = false;
        for shard in self.shards.clone() {
            for _ in 0..EVENTS_AT_ONCE {
                let Some(event) = shard.end.borrow_mut().pop_event() else { break };
                self.take(event);
            }
            loop {
                let Ok(ask) = shard.end.borrow_mut().questions.pop() else { break };
                self.ask(&shard, ask);
            }
            has_more |= !shard.end.borrow().is_empty();
        }
        if Instant::now() >= self.changes_due {
            self.tell_changes();
        }
        self.targets.retain(|target| !target.is_done());
        self.targets.iter().for_each(|target| target.end_pass(&self.common));
        self.count();
        has_more
    }

    /// Other hooks are in force. Targets that were there before keep what waits for them.
    fn heed(&mut self, loaded: Loaded) {
        let mut kept = Vec::new();
        for hook in loaded.set.iter().flat_map(|set| &set.hooks) {
            let webhook =
                hook.url.clone().map(|endpoint| Way::Webhook { secret: loaded.secret(&endpoint), endpoint });
            let nats = hook.subject.clone().map(|subject| Way::Nats { subject });
            for way in webhook.into_iter().chain(nats) {
                let same = self.targets.iter().position(|target| target.is(hook, &way));
                kept.push(match same {
                    Some(place) => {
                        let target = self.targets.swap_remove(place);
                        target.set_way(way);
                        target
                    }
                    None => self.begin(hook, way),
                });
            }
        }
        self.targets.iter().for_each(|target| target.retire());
        self.targets.append(&mut kept);
        self.loaded = loaded;
    }

    fn begin(&self, hook: &Arc<Hook>, way: Way) -> Rc<Target> {
        let target = Rc::new(Target::new(Arc::clone(hook), way));
        spawn_local(Rc::clone(&target).run(Rc::clone(&self.common)));
        target
    }

    fn take(&mut self, event: Event) {
        match event.what {
            Happened::Changed { map, keys } => {
                if self.changes.is_empty() {
                    self.changes_due = Instant::now() + Duration::from_millis(HOOK_BATCH_MS);
                }
                if let Some(full) = self.changes.add(event.unix_ms, map, keys) {
                    self.tell(&full);
                }
            }
            what => self.tell(&Event { what, ..event }),
        }
    }

    fn tell_changes(&mut self) {
        for event in self.changes.take() {
            self.tell(&event);
        }
    }

    /// Puts an event in line for each who hears of it.
    fn tell(&mut self, event: &Event) {
        let (kind, name) = (event.what.kind(), event.what.name());
        let mut hearers = self.targets.iter().filter(|target| target.wants(kind, name)).peekable();
        if hearers.peek().is_none() {
            return;
        }
        self.numbered += 1;
        let encoded = Rc::new(Encoded::new(event, format!("{:016x}-{}", self.instance, self.numbered)));
        hearers.for_each(|target| target.push(&encoded));
    }

    fn ask(&self, shard: &Rc<Shard>, Ask { connection, serial, question, body }: Ask) {
        let (shard, asking) = (Rc::clone(shard), Rc::clone(&self.asking));
        let secret = self.loaded.secret(&question.endpoint);
        spawn_local(async move {
            let verdict = asking.ask(&question, secret.as_deref(), body).await;
            let answered = Answered { connection, serial, verdict };
            // There is room, as no more is asked at once; a shard that has ended waits for nothing.
            let _ = shard.end.borrow_mut().answers.push(answered);
            shard.control.wake();
        });
    }

    /// Whether anything is to be done even if nobody wakes it.
    fn is_busy(&self) -> bool {
        !self.changes.is_empty() || self.targets.iter().any(|target| target.waiting().0 > 0)
    }

    /// Tells who looks at the metrics.
    fn count(&self) {
        let (mut waiting, mut bytes, mut oldest) = (0, 0, None);
        for target in &self.targets {
            let (of_target, its_bytes, its_oldest) = target.waiting();
            waiting += of_target;
            bytes += its_bytes;
            oldest = [oldest, its_oldest].into_iter().flatten().min();
        }
        self.metrics.waiting.set(waiting as u64);
        self.metrics.waiting_bytes.set(bytes as u64);
        self.metrics.oldest_unix_ms.set(oldest.unwrap_or(0));
    }

    /// Has targets deliver what waits, for a while, and buries the rest.
    async fn end(self) {
        self.common.is_ending.set(true);
        self.common.ends.notify_waiters();
        let until = Instant::now() + END;
        while Instant::now() < until && self.targets.iter().any(|target| target.waiting().0 > 0) {
            sleep(LOOK_BUSY).await;
        }
        self.targets.iter().for_each(|target| target.bury_all(&self.common));
        self.count();
    }
}
