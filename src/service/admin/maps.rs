//! Maps and their keys: each part is asked of the shard that has it, and summed.

use std::sync::Arc;

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::{Answer, Refusal};
use super::fields::{bad, conflict, not_found, number, query, said};
use super::shards::{Shards, other};
use super::walk::{Listed, PageOf, page};
use crate::crdt::{MapType, Time};
use crate::handover::inspection::{Finding, Inquiry, KeyRow, KeysOf, MapPart, MapRow, Share};
use crate::mesh::{KeyHasher, owner};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedMaps {
    #[serde(default)]
    prefix: Box<str>,
    r#type: Option<String>,
    #[serde(default, deserialize_with = "number")]
    min_keys: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    min_bytes: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    min_subscribers: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u32>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedMap {
    map: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedKeys {
    map: Box<str>,
    #[serde(default)]
    prefix: Box<str>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u32>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedKey {
    map: Box<str>,
    key: Box<str>,
}

/// A map over all shards.
#[derive(Serialize)]
struct Map {
    map: Box<str>,
    r#type: Option<&'static str>,
    home: usize,
    keys: u64,
    cells: u64,
    bytes: u64,
    subscribers: u64,
}

#[derive(Serialize)]
struct Parts {
    #[serde(flatten)]
    map: Map,
    shards: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    shard: usize,
    #[serde(flatten)]
    part: MapPart,
}

#[derive(Serialize)]
struct Tick {
    unix_ms: u64,
    logical: u16,
}

#[derive(Serialize)]
struct Key {
    key: Box<str>,
    shard: usize,
    is_live: bool,
    bytes: usize,
    applied: Tick,
    value: Option<Box<RawValue>>,
    is_cut: bool,
}

#[derive(Serialize)]
struct Keys {
    #[serde(flatten)]
    listed: Listed<Key>,
    /// Shards that may have keys on disk, which are not listed.
    unloaded: Vec<usize>,
}

#[derive(Serialize)]
struct KeyState {
    map: Box<str>,
    key: Box<str>,
    r#type: &'static str,
    shard: usize,
    is_live: bool,
    bytes: usize,
    applied: Tick,
    state: Box<RawValue>,
    holders: Vec<Holder>,
}

#[derive(Serialize)]
struct Holder {
    shard: usize,
    subscribers: u64,
}

/// What is asked, and what tells where keys are.
pub struct Maps<'a> {
    pub shards: &'a Shards,
    pub hasher: KeyHasher,
}

impl Maps<'_> {
    /// `GET /admin/maps`.
    pub async fn list(&self, uri: &Uri) -> Answer {
        let asked: AskedMaps = query(uri)?;
        let of = PageOf::new(asked.limit, asked.after.as_deref(), self.shards.count())?;
        let parse = |name: &String| {
            MapType::parse(name).ok_or_else(|| bad("bad_request", "type is lww, or or counter"))
        };
        let map_type = asked.r#type.as_ref().map(parse).transpose()?;
        let inquiry = |walk| Inquiry::Maps { walk, prefix: asked.prefix.clone(), map_type };
        let share = |_, finding| if let Finding::Maps(share) = finding { Some(share) } else { None };
        let mut rows = page(self.shards, of, inquiry, share).await?;
        let names: Arc<[Box<str>]> = rows.rows.iter().map(|(_, row)| row.map.clone()).collect();
        let parts = self.parts(&names).await?;
        let is_meant = |place: usize| {
            let of_shards = || parts.iter().map(|parts| &parts[place]);
            let at_least = |min: Option<u64>, of: fn(&MapPart) -> u64| {
                min.is_none_or(|min| of_shards().map(of).sum::<u64>() >= min)
            };
            at_least(asked.min_keys, |part| part.keys)
                && at_least(asked.min_bytes, |part| part.bytes)
                && at_least(asked.min_subscribers, |part| part.subscribers)
        };
        let mut shown = Vec::with_capacity(rows.rows.len());
        for (place, (home, MapRow { map, map_type })) in
            std::mem::take(&mut rows.rows).into_iter().enumerate()
        {
            if is_meant(place) {
                let of_shards = parts.iter().map(|parts| &parts[place]);
                let sum = sum_of((map, home), of_shards);
                shown.push((home, Map { r#type: Some(map_type.as_str()), ..sum }));
            }
        }
        let rows = super::walk::Rows { rows: shown, looked_at: rows.looked_at, next: rows.next };
        said(&rows.listed("maps", |(_, map)| map))
    }

    /// `GET /admin/map`.
    pub async fn one(&self, uri: &Uri) -> Answer {
        let AskedMap { map } = query(uri)?;
        let home = usize::from(owner(self.hasher.map(&map), self.shards.count()));
        let parts = self.parts(&Arc::from([map.clone()])).await?;
        if parts.iter().all(|parts| parts[0].state == "absent") {
            return Err(not_found(
                "no shard has anything of this map in memory; GET /admin/export reads the disk",
            ));
        }
        let map = sum_of((map, home), parts.iter().map(|parts| &parts[0]));
        let shards = parts.iter().enumerate().map(|(shard, parts)| Part { shard, part: parts[0] }).collect();
        said(&Parts { map, shards })
    }

    /// `GET /admin/keys`.
    pub async fn keys(&self, uri: &Uri) -> Answer {
        let asked: AskedKeys = query(uri)?;
        let of = PageOf::new(asked.limit, asked.after.as_deref(), self.shards.count())?;
        let mut unloaded = Vec::new();
        let inquiry = |walk| Inquiry::Keys { map: asked.map.clone(), prefix: asked.prefix.clone(), walk };
        let share = |shard, finding| match finding {
            Finding::Keys(KeysOf::Loaded(keys)) => Some(keys),
            Finding::Keys(KeysOf::Nothing) => Some(Share::empty()),
            Finding::Keys(KeysOf::Unloaded) => {
                unloaded.push(shard);
                Some(Share::empty())
            }
            _ => None,
        };
        let rows = page(self.shards, of, inquiry, share).await?;
        said(&Keys { listed: rows.listed("keys", |(shard, row)| key(shard, row)), unloaded })
    }

    /// `GET /admin/key`.
    pub async fn key(&self, uri: &Uri) -> Answer {
        let asked: AskedKey = query(uri)?;
        let hash = self.hasher.key(self.hasher.map(&asked.map), &asked.key);
        let shard = usize::from(owner(hash, self.shards.count()));
        let inquiry = Inquiry::Key { map: asked.map.clone(), key: asked.key.clone() };
        let Finding::Key { detail, may_be_stored } = self.shards.ask(shard, inquiry).await? else {
            return Err(other());
        };
        let Some(detail) = detail else {
            return Err(match may_be_stored {
                true => conflict("its owner has the map on disk only; POST /api/read of this key loads it"),
                false => not_found("there was never anything under this key, or it is forgotten"),
            });
        };
        let parts = self.parts(&Arc::from([asked.map.clone()])).await?;
        let holds = |(shard, parts): (usize, &Vec<MapPart>)| {
            let subscribers = parts[0].subscribers;
            (subscribers > 0).then_some(Holder { shard, subscribers })
        };
        let Key { key, is_live, bytes, applied, .. } = key(shard, detail.row);
        let state = RawValue::from_string(detail.state.into()).map_err(|_| other())?;
        said(&KeyState {
            map: asked.map,
            key,
            r#type: detail.map_type.as_str(),
            shard,
            is_live,
            bytes,
            applied,
            state,
            holders: parts.iter().enumerate().filter_map(holds).collect(),
        })
    }

    /// What each shard has of each of these maps.
    async fn parts(&self, maps: &Arc<[Box<str>]>) -> Result<Vec<Vec<MapPart>>, Refusal> {
        let parts = |finding| match finding {
            Finding::MapParts(parts) if parts.len() == maps.len() => Ok(parts),
            _ => Err(other()),
        };
        let inquiry = || Inquiry::MapParts { maps: Arc::clone(maps) };
        self.shards.ask_all(inquiry).await?.into_iter().map(parts).collect()
    }
}

fn sum_of<'a>((map, home): (Box<str>, usize), parts: impl Iterator<Item = &'a MapPart>) -> Map {
    let mut sum = Map { map, r#type: None, home, keys: 0, cells: 0, bytes: 0, subscribers: 0 };
    for part in parts {
        sum.r#type = sum.r#type.or(part.map_type);
        sum.keys += part.keys;
        sum.cells += part.cells;
        sum.bytes += part.bytes;
        sum.subscribers += part.subscribers;
    }
    sum
}

fn key(shard: usize, row: KeyRow) -> Key {
    let KeyRow { key, is_live, bytes, applied, value, is_cut } = row;
    // It is canonical JSON; what is not is left out rather than said wrongly.
    let value = value.and_then(|value| RawValue::from_string(value.into()).ok());
    Key { key, shard, is_live, bytes, applied: tick(applied), value, is_cut }
}

const fn tick(at: Time) -> Tick {
    Tick { unix_ms: at.millis(), logical: at.counter() }
}
