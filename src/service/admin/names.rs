//! Rooms, channels and users: what has a home.

use std::sync::Arc;

use axum::http::Uri;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Refusal};
use super::fields::{number, query, said};
use super::shards::{Shards, other};
use super::walk::{PageOf, Rows, page};
use crate::handover::inspection::{ChannelRow, Finding, Inquiry, Share, Walk};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    prefix: Box<str>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u32>,
    after: Option<String>,
}

/// A row with its home.
#[derive(Serialize)]
struct AtHome<T> {
    #[serde(flatten)]
    row: T,
    home: usize,
}

#[derive(Serialize)]
struct Channel {
    #[serde(flatten)]
    row: ChannelRow,
    members: u64,
}

async fn rows<T>(
    shards: &Shards,
    uri: &Uri,
    inquiry: impl Fn(Walk, Box<str>) -> Inquiry,
    share: impl Fn(Finding) -> Option<Share<T>>,
) -> Result<Rows<T>, Refusal> {
    let asked: Asked = query(uri)?;
    let of = PageOf::new(asked.limit, asked.after.as_deref(), shards.count())?;
    page(shards, of, |walk| inquiry(walk, asked.prefix.clone()), |_, finding| share(finding)).await
}

/// `GET /admin/rooms`.
pub async fn rooms(shards: &Shards, uri: &Uri) -> Answer {
    let inquiry = |walk, prefix| Inquiry::Rooms { walk, prefix };
    let share = |finding| if let Finding::Rooms(share) = finding { Some(share) } else { None };
    let rows = rows(shards, uri, inquiry, share).await?;
    said(&rows.listed("rooms", |(home, row)| AtHome { row, home }))
}

/// `GET /admin/users`.
pub async fn users(shards: &Shards, uri: &Uri) -> Answer {
    let inquiry = |walk, prefix| Inquiry::Users { walk, prefix };
    let share = |finding| if let Finding::Users(share) = finding { Some(share) } else { None };
    let rows = rows(shards, uri, inquiry, share).await?;
    said(&rows.listed("users", |(home, row)| AtHome { row, home }))
}

/// `GET /admin/channels`. Members are where their connections are.
pub async fn channels(shards: &Shards, uri: &Uri) -> Answer {
    let inquiry = |walk, prefix| Inquiry::Channels { walk, prefix };
    let share = |finding| if let Finding::Channels(share) = finding { Some(share) } else { None };
    let rows = rows(shards, uri, inquiry, share).await?;
    let names: Arc<[Box<str>]> = rows.rows.iter().map(|(_, row)| row.channel.clone()).collect();
    let mut members = vec![0_u64; names.len()];
    for finding in shards.ask_all(|| Inquiry::ChannelMembers { channels: Arc::clone(&names) }).await? {
        let Finding::ChannelMembers(here) = finding else { return Err(other()) };
        members.iter_mut().zip(here).for_each(|(sum, here)| *sum += u64::from(here));
    }
    let mut members = members.into_iter();
    said(&rows.listed("channels", |(home, row)| {
        let members = members.next().unwrap_or(0);
        AtHome { row: Channel { row, members }, home }
    }))
}
