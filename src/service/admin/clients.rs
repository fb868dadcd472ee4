//! Connections: lists of them, one of them, and ending them.

use std::net::IpAddr;

use axum::http::Uri;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Refusal};
use super::fields::{bad, not_found, number, query, said};
use super::shards::{Shards, connection_name, other, parse_connection};
use super::walk::{PageOf, page};
use crate::handover::inspection::{ClientRow, Finding, Inquiry, SubscriptionRow, Walk, WantedClients};
use crate::mesh::ConnectionId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user: Option<Box<str>>,
    address: Option<String>,
    dialect: Option<String>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u32>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedOne {
    connection: String,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u32>,
    after: Option<String>,
}

/// What `POST /admin/kick` is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kick {
    connection: Option<String>,
    user: Option<Box<str>>,
}

#[derive(Serialize)]
struct Shown {
    connection: String,
    shard: usize,
    phase: &'static str,
    user: Option<Box<str>>,
    session: Option<Box<str>>,
    roles: Vec<Box<str>>,
    address: IpAddr,
    dialect: Option<&'static str>,
    connected_ms: u64,
    idle_ms: u64,
    received_bytes: u64,
    sent_bytes: u64,
    outbox_bytes: usize,
    subscriptions: usize,
    queries: usize,
    channels: usize,
    rooms: usize,
}

#[derive(Serialize)]
struct Detail {
    unix_ms: u64,
    #[serde(flatten)]
    shown: Shown,
    waits: &'static str,
    is_paused: bool,
    behind: usize,
    unread_bytes: usize,
    is_sending: bool,
    subscriptions_page: Vec<SubscriptionRow>,
    channels_page: Vec<Box<str>>,
    next: Option<String>,
}

/// What is asked, and the names of the dialects.
pub struct Clients<'a> {
    pub shards: &'a Shards,
    pub dialects: &'static [&'static str],
}

impl Clients<'_> {
    /// `GET /admin/clients`.
    pub async fn list(&self, uri: &Uri) -> Answer {
        let asked: Asked = query(uri)?;
        let of = PageOf::new(asked.limit, asked.after.as_deref(), self.shards.count())?;
        let address = asked.address.as_deref().map(network).transpose()?;
        let dialect = asked.dialect.as_deref().map(|name| self.dialect(name)).transpose()?;
        let wanted = WantedClients { user: asked.user, address, dialect };
        let inquiry = |walk| Inquiry::Clients { walk, wanted: wanted.clone() };
        let share = |_, finding| if let Finding::Clients(share) = finding { Some(share) } else { None };
        let rows = page(self.shards, of, inquiry, share).await?;
        said(&rows.listed("clients", |(shard, row)| self.shown(shard, row)))
    }

    /// `GET /admin/client`.
    pub async fn one(&self, uri: &Uri, unix_ms: u64) -> Answer {
        let asked: AskedOne = query(uri)?;
        let (shard, connection) = self.connection(&asked.connection)?;
        // The cursor is a place of its own list.
        let of = PageOf::new(asked.limit, None, 1)?;
        let from = asked.after.as_deref().map_or(Ok(0), |after| {
            after
                .parse()
                .map_err(|_| bad("bad_cursor", "after is the `next` of an answer about this connection"))
        })?;
        let inquiry = Inquiry::Client { connection, walk: Walk { from, rows_max: of.limit } };
        let Finding::Client(detail) = self.shards.ask(shard, inquiry).await? else { return Err(other()) };
        let detail = *detail.ok_or_else(gone)?;
        said(&Detail {
            unix_ms,
            shown: self.shown(shard, detail.row),
            waits: detail.waits,
            is_paused: detail.is_paused,
            behind: detail.behind,
            unread_bytes: detail.unread_bytes,
            is_sending: detail.is_sending,
            subscriptions_page: detail.subscriptions.rows,
            channels_page: detail.channels,
            next: detail.subscriptions.next.map(|next| next.to_string()),
        })
    }

    /// `POST /admin/kick`.
    pub async fn kick(&self, kick: &Kick) -> Answer {
        let kicked = match kick {
            Kick { connection: Some(name), user: None } => {
                let (shard, connection) = self.connection(name)?;
                self.kicked(shard, Inquiry::Kick { connection }).await?
            }
            Kick { connection: None, user: Some(user) } => {
                // One of the shards is the home of the user; no other knows anybody of that name.
                let inquiry = || Inquiry::KickUser { user: user.clone() };
                let count = |finding| if let Finding::Kicked(count) = finding { count } else { 0 };
                self.shards.ask_all(inquiry).await?.into_iter().map(count).sum()
            }
            _ => return Err(bad("bad_request", "say either the connection, by its name, or the user")),
        };
        if kicked == 0 {
            return Err(gone());
        }
        said(&serde_json::json!({ "kicked": kicked }))
    }

    async fn kicked(&self, shard: usize, inquiry: Inquiry) -> Result<u32, Refusal> {
        match self.shards.ask(shard, inquiry).await? {
            Finding::Kicked(count) => Ok(count),
            _ => Err(other()),
        }
    }

    fn connection(&self, name: &str) -> Result<(usize, ConnectionId), Refusal> {
        const BAD: &str = "a connection is named as its hello has it, such as 0-5-17";
        parse_connection(name, self.shards.count()).ok_or_else(|| bad("bad_request", BAD))
    }

    fn dialect(&self, name: &str) -> Result<u8, Refusal> {
        let place = self.dialects.iter().position(|dialect| *dialect == name);
        place
            .and_then(|place| u8::try_from(place).ok())
            .ok_or_else(|| bad("bad_request", &format!("dialect is one of {}", self.dialects.join(", "))))
    }

    fn shown(&self, shard: usize, row: ClientRow) -> Shown {
        let is_open = row.phase != "handshake";
        Shown {
            connection: connection_name(shard, row.connection),
            shard,
            phase: row.phase,
            user: row.user,
            session: row.session,
            roles: row.roles,
            address: row.address.to_canonical(),
            dialect: self.dialects.get(usize::from(row.dialect)).copied().filter(|_| is_open),
            connected_ms: row.connected_ms,
            idle_ms: row.idle_ms,
            received_bytes: row.received_bytes,
            sent_bytes: row.sent_bytes,
            outbox_bytes: row.outbox_bytes,
            subscriptions: row.subscriptions,
            queries: row.queries,
            channels: row.channels,
            rooms: row.rooms,
        }
    }
}

fn network(text: &str) -> Result<IpNet, Refusal> {
    let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    text.parse()
        .ok()
        .or_else(address)
        .ok_or_else(|| bad("bad_request", "address is an IP address, or a network such as 10.0.0.0/8"))
}

fn gone() -> Refusal {
    not_found("there is no such connection, or it is gone")
}
