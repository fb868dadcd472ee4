//! A client: speaks the protocol over a link, keeps a replica of every map it watches, and believes nothing
//! it is not told.

mod answers;
mod identity;
mod letters;
mod lists;
mod op;
mod requests;
mod rooms;
mod synckit;
mod talk;
mod tie;
mod watch;

pub use identity::Pass;
pub use op::{Op, OpKind};
pub use rooms::Rooms;
pub use synckit::SyncKit;
pub use tie::{TIE_TAG, Tie};
pub use watch::{Filter, Spec, Watch};

use std::collections::{BTreeMap, VecDeque};

use identity::Shown;
use letters::Mail;
use lists::Lists;
use talk::Talking;

use crate::frames::{self, BINARY, CLOSE, PING, PONG, TEXT};
use crate::link::{End, Link};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::replica::{Cell, Replica, Stamp};
use crate::revoked::Revoked;
use crate::scenario::{Kind, Scenario};

/// What a client sees of the world while it acts.
pub struct Context<'a> {
    pub random: &'a mut Random,
    pub oracle: &'a mut Oracle,
    /// The tie that is on, if one is.
    pub tie: &'a mut Option<Tie>,
    pub scenario: &'a Scenario,
    /// `None`: nobody is asked who it is.
    pub revoked: Option<&'a Revoked>,
    pub now_us: u64,
    pub unix_ms: u64,
    /// No faults any more, and a writer may not hear itself.
    pub is_calm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits for the answer to its upgrade, or to its plain request.
    Http,
    /// The upgrade was answered; waits for `hello`.
    Greeting,
    Open,
    /// Has sent a close frame.
    Closing,
}

/// A request without its answer.
#[derive(Debug)]
pub enum Asked {
    Ping,
    /// `told`: the latest stamp the connection had been told when it was sent.
    Write {
        ops: Vec<Op>,
        wants_durable: bool,
        told: Stamp,
    },
    Read {
        map: usize,
        keys: Vec<String>,
        floor: Vec<Option<Cell>>,
    },
    Subscribe {
        map: usize,
    },
    /// `watch`: the request it ends.
    Unsubscribe {
        map: usize,
        watch: Option<u64>,
    },
    Digest {
        map: usize,
    },
    List,
    EndList,
    Auth {
        shown: Shown,
    },
    Join {
        channel: usize,
    },
    Leave,
    Publish {
        text: String,
        wants_durable: bool,
        /// The membership that it had when it said this, so that what it is told is of the epoch of that.
        member: Option<u64>,
    },
    History {
        limit: u64,
    },
    Letter {
        number: u64,
        is_durable: bool,
    },
}

/// See the module.
pub struct Client {
    pub index: usize,
    /// Its node in stamps it makes.
    pub name: String,
    /// Index of the link in the world.
    pub link: Option<usize>,
    /// Counts its connections; the current one is named by it in values.
    pub connection: u32,
    pub stage: Stage,
    inbox: Vec<u8>,
    has_hello: bool,
    /// Counts what it was told, pings aside.
    heard: u64,
    /// A plain HTTP request instead of an upgrade.
    pub is_plain: bool,
    pub next_id: u64,
    next_op: u64,
    pub asked: BTreeMap<u64, Asked>,
    /// Requests that are answered only if something is refused, once for each operation.
    unanswered: BTreeMap<u64, usize>,
    /// Requests to subscribe and to unsubscribe without their answers, by map, which come in this order.
    in_order: BTreeMap<usize, VecDeque<u64>>,
    /// What it watches on this connection, by map.
    pub watches: BTreeMap<usize, Watch>,
    /// What it has of maps it watched before, to go on from.
    pub kept: BTreeMap<usize, Watch>,
    totals: BTreeMap<(usize, String), (i64, i64)>,
    /// Stamps it has made, by their milliseconds.
    stamped: BTreeMap<u64, u64>,
    /// Stamps the server gave its operations on this connection, by key and in the order they were sent.
    given: BTreeMap<(usize, String), BTreeMap<u64, Stamp>>,
    /// The latest stamp it was told on this connection, of whatever and in whatever message.
    told: Stamp,
    /// Until when it reads nothing, and how much it reads at a time.
    pub stalled_until_us: u64,
    pub read_bytes_max: usize,
    pub retry_at_us: u64,
    /// Observers do what they are told and nothing by chance.
    pub is_observer: bool,
    pub digests: BTreeMap<usize, (u64, String)>,
    /// The code of the last close frame it got.
    pub close_code: Option<u16>,
    /// What it is as a client of SyncKit; `None`: it speaks `/v1`.
    pub synckit: Option<SyncKit>,
    pub talking: Talking,
    /// `None`: nobody asks who it is.
    pub identity: Option<Pass>,
    /// Rooms that it is in or hears of on this connection.
    pub rooms: Rooms,
    /// Direct messages that its connection has been sent.
    pub mail: Mail,
    /// What it has of its queries.
    pub lists: Lists,
}

impl Client {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            name: format!("c{index}"),
            link: None,
            connection: 0,
            stage: Stage::Http,
            inbox: Vec::new(),
            has_hello: false,
            heard: 0,
            is_plain: false,
            next_id: 1,
            next_op: 1,
            asked: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            in_order: BTreeMap::new(),
            watches: BTreeMap::new(),
            kept: BTreeMap::new(),
            totals: BTreeMap::new(),
            stamped: BTreeMap::new(),
            given: BTreeMap::new(),
            told: Stamp::default(),
            stalled_until_us: 0,
            read_bytes_max: 1 << 20,
            retry_at_us: 0,
            is_observer: false,
            digests: BTreeMap::new(),
            close_code: None,
            synckit: None,
            talking: Talking::default(),
            identity: None,
            rooms: Rooms::default(),
            mail: Mail::default(),
            lists: Lists::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.link.is_some() && self.stage == Stage::Open
    }

    /// Sends the first bytes over a new link.
    pub fn connect(&mut self, index: usize, link: &mut Link, is_plain: bool, context: &mut Context<'_>) {
        self.link = Some(index);
        self.connection += 1;
        self.stage = Stage::Http;
        self.is_plain = is_plain;
        self.close_code = None;
        self.has_hello = false;
        self.mail = Mail::default();
        self.inbox.clear();
        let must_show = self.synckit.is_some();
        let show =
            |identity: &mut Pass| identity.connected(must_show || identity.is_careful, must_show, context);
        let token = self.identity.as_mut().map(show).unwrap_or_default();
        let head = if is_plain {
            let path =
                context.random.pick(&["/metrics", "/healthz", "/health", "/", "/nowhere", "/v1", "/ws"]);
            format!("GET {path} HTTP/1.1\r\nHost: sim\r\n\r\n")
        } else {
            let path = if self.synckit.is_some() { "/ws" } else { "/v1" };
            format!(
                "GET {path} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{token}\r\n"
            )
        };
        if let Some(synckit) = &mut self.synckit {
            synckit.connected(format!("{}.{}.", self.name, self.connection), context);
        }
        link.upstream.extend(head.as_bytes());
        if !is_plain && context.random.per_mille(200) {
            // A client in a hurry: frames in the same segment as the upgrade.
            self.ping(link, context);
        }
    }

    /// Reads what has arrived; whether there was anything but pings.
    pub fn read(&mut self, link: &mut Link, context: &mut Context<'_>) -> bool {
        if self.stalled_until_us > context.now_us {
            return false;
        }
        let len = link.downstream.len().min(self.read_bytes_max);
        self.inbox.extend(link.downstream.drain(..len));
        let heard = self.heard;
        while self.link.is_some() && self.step(link, context) {}
        if self.link.is_some() && link.downstream.is_empty() && link.downstream_end {
            self.ended(link, context);
            return true;
        }
        self.heard > heard || self.is_plain && len > 0
    }

    /// Understands one more thing of what was read.
    fn step(&mut self, link: &mut Link, context: &mut Context<'_>) -> bool {
        if self.stage == Stage::Http {
            return !self.is_plain && self.step_upgrade(link, context);
        }
        let Some((opcode, payload)) = frames::take_frame(&mut self.inbox) else { return false };
        self.heard += u64::from(!matches!(opcode, PING | PONG));
        match opcode {
            TEXT | BINARY if self.synckit.is_some() => {
                self.check_is_allowed(link, context);
                self.with_synckit(link, context, |synckit, context| {
                    synckit.handle(opcode == TEXT, payload, context);
                });
            }
            TEXT => self.handle_text(payload, link, context),
            PING => self.send_frame(link, context.random, PONG, &payload),
            PONG => {}
            CLOSE => {
                let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                self.handle_close(code, link, context);
            }
            opcode => panic!("opcode {opcode} from a server"),
        }
        true
    }

    fn step_upgrade(&mut self, link: &mut Link, context: &mut Context<'_>) -> bool {
        let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
        let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        self.stage = Stage::Greeting;
        if self.synckit.is_some() {
            // Here the client speaks first.
            self.stage = Stage::Open;
            self.with_synckit(link, context, SyncKit::resubscribe);
        }
        true
    }

    fn handle_close(&mut self, code: Option<u16>, link: &mut Link, context: &mut Context<'_>) {
        self.close_code = Some(code.unwrap_or(1005));
        // SyncKit's clients are told of limits and silence alike.
        let code = if code == Some(1008) && self.synckit.is_some() { Some(1013) } else { code };
        let is_known = matches!(code, Some(1000 | 1001 | 1007 | 1013 | 4005 | 4008) | None)
            || code.is_some_and(|code| self.may_be_closed_with(code, context));
        assert!(is_known || self.stage == Stage::Closing, "closed with {code:?}");
        let is_slow = code == Some(4008) && !context.is_calm;
        let is_late = code == Some(4005) && !context.is_calm;
        assert!(is_slow || is_late || !matches!(code, Some(4005 | 4008)), "a healthy client got {code:?}");
        if self.stage != Stage::Closing {
            self.send_frame(link, context.random, CLOSE, &code.unwrap_or(1000).to_be_bytes());
        }
        link.end_upstream(End::Orderly);
        self.stage = Stage::Closing;
    }

    /// The server has ended its side.
    fn ended(&mut self, link: &mut Link, context: &mut Context<'_>) {
        if self.is_plain {
            // A client that was too slow is cut off in the middle, or told nothing.
            let start = &b"HTTP/1.1 "[..self.inbox.len().min(9)];
            assert!(self.inbox.starts_with(start), "{}", String::from_utf8_lossy(&self.inbox));
        }
        link.end_upstream(End::Orderly);
        self.detach(context);
    }

    /// The transport fails, or the client gives up on it.
    pub fn reset(&mut self, link: &mut Link, context: &mut Context<'_>) {
        link.end_upstream(End::Reset);
        self.detach(context);
    }

    /// Forgets the connection and everything that went with it.
    fn detach(&mut self, context: &mut Context<'_>) {
        self.link = None;
        self.inbox.clear();
        self.unanswered.clear();
        self.in_order.clear();
        self.given.clear();
        self.told = Stamp::default();
        self.rooms = Rooms::default();
        self.retry_at_us = context.now_us + 20_000;
        for (_, asked) in std::mem::take(&mut self.asked) {
            if let Asked::Write { ops, .. } = asked {
                ops.into_iter().for_each(|op| self.unclear(op, context));
            }
        }
        self.talking.disconnected();
        self.lists.disconnected();
        if let Some(synckit) = &mut self.synckit {
            synckit.disconnected(context);
        }
        for (map, watch) in std::mem::take(&mut self.watches) {
            if let Some(kept) = watch.keep() {
                self.kept.insert(map, kept);
            }
        }
    }

    /// The server has lost what was not durable, or may have.
    pub fn server_crashed(&mut self, context: &Context<'_>) {
        let is_contested = |map: usize| context.scenario.maps[map].kind == Kind::Contested;
        // It may get another type now, and what is kept be of no use.
        self.kept.retain(|map, _| !is_contested(*map) || context.oracle.type_of(*map).is_some());
        for (map, kept) in &mut self.kept {
            kept.note_lost(|key, cell| !context.oracle.is_durable(*map, key, cell));
        }
        self.synckit.iter_mut().for_each(SyncKit::server_crashed);
        self.lists.server_crashed();
    }

    pub fn send_frame(&mut self, link: &mut Link, random: &mut Random, opcode: u8, payload: &[u8]) {
        if link.upstream_end.is_some() || self.stage == Stage::Closing {
            return;
        }
        let mut frame = Vec::new();
        frames::write_frame(&mut frame, random, true, opcode, payload);
        link.upstream.extend(&frame);
    }

    fn send_text(&mut self, link: &mut Link, context: &mut Context<'_>, text: &str) {
        self.send_message(link, context, TEXT, text.as_bytes());
    }

    /// Sends a message, now and then in fragments with a ping between them.
    fn send_message(&mut self, link: &mut Link, context: &mut Context<'_>, opcode: u8, payload: &[u8]) {
        if !context.random.per_mille(50) || payload.len() < 2 {
            return self.send_frame(link, context.random, opcode, payload);
        }
        if link.upstream_end.is_some() {
            return;
        }
        let (head, tail) = payload.split_at(context.random.between(1, payload.len() - 1));
        let mut bytes = Vec::new();
        frames::write_frame(&mut bytes, context.random, false, opcode, head);
        frames::write_frame(&mut bytes, context.random, true, PING, b"between");
        frames::write_frame(&mut bytes, context.random, true, frames::CONTINUATION, tail);
        link.upstream.extend(&bytes);
    }

    /// Ends the connection as it should be ended.
    pub fn close(&mut self, link: &mut Link, context: &mut Context<'_>) {
        if self.stage == Stage::Http {
            return link.end_upstream(End::Orderly);
        }
        let code = context.random.pick(&[1000_u16, 1001, 3000, 4999]);
        self.send_frame(link, context.random, CLOSE, &code.to_be_bytes());
        self.stage = Stage::Closing;
    }

    /// The replicas of its current subscriptions.
    pub fn replica(&self, map: usize) -> Option<&Replica> {
        self.watches.get(&map).map(|watch| &watch.replica)
    }
}
