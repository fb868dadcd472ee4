//! One key at rest: images read, records merged into them, images written.
//!
//! **Forgetting comes first.** A record of the journal is a change that its owner accepted. If something removed
//! before it wins against it here, then the owner had forgotten that removal (`crdt/prune.rs`), and so it
//! is forgotten here, too, before the record is merged: otherwise an acknowledged write would be lost to a
//! tombstone that nobody remembers. Imported cells were accepted by somebody else and tell nothing of the kind.
//! Of more tags than a key may have the owner had forgotten the oldest removals: they go in bulk, as each costs a pass.

use crate::crdt::{Cell, Delta, MapType, Refused, State, Time};
use crate::handover::{Image, ImageError};

/// Who says what is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The owner of the key has accepted it.
    Journal,
    Import,
}

/// What became of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Whether there is a new image.
    pub is_changed: bool,
    /// The latest removal that turned out to be forgotten.
    pub forgotten: Option<Time>,
    /// Deltas that are not of the map's type, or over a limit.
    pub refused: u64,
}

/// Merges deltas, in the order in which they were applied, into an image, if there is one. What comes out is
/// appended to `out` if it is new.
///
/// # Errors
/// [`ImageError`]; nothing was appended then.
pub(super) fn merge<'a>(
    map_type: MapType,
    image: Option<&'a [u8]>,
    deltas: impl Iterator<Item = (Delta<'a>, Time)> + Clone,
    source: Source,
    out: &mut Vec<u8>,
) -> Result<Merged, ImageError> {
    if map_type == MapType::Lww
        && let Some(merged) = merge_by_stamp(image, deltas.clone(), source, out)
    {
        return Ok(merged);
    }
    let mut merged = Merged::default();
    let mut cell = match image {
        Some(image) => StoredCell::read(map_type, image)?,
        None => StoredCell::vacant(map_type),
    };
    for (delta, applied) in deltas {
        match cell.join(&delta, applied, source, &mut merged.forgotten) {
            Ok(is_changed) => merged.is_changed |= is_changed,
            Err(_) => merged.refused += 1,
        }
    }
    merged.forgotten = merged.forgotten.max(cell.cell.forget_beyond_limit());
    merged.is_changed |= merged.forgotten.is_some();
    if merged.is_changed {
        cell.write(out);
    }
    Ok(merged)
}

/// The usual case: values of one key with different stamps, of which the latest is copied. `None` if it takes
/// more than stamps to tell.
fn merge_by_stamp<'a>(
    image: Option<&'a [u8]>,
    deltas: impl Iterator<Item = (Delta<'a>, Time)>,
    source: Source,
    out: &mut Vec<u8>,
) -> Option<Merged> {
    let mut merged = Merged::default();
    let mut latest = match image {
        Some(image) => Some(only_part(image)?),
        None => None,
    };
    for (delta, applied) in deltas {
        let Delta::Lww { at, .. } = &delta else { return None };
        match &latest {
            Some((Delta::Lww { at: latest_at, value, .. }, latest_applied)) => {
                let is_forgotten = source == Source::Journal && value.is_none() && *latest_applied < applied;
                if at > latest_at {
                    latest = Some((delta, applied.max(*latest_applied)));
                } else if at == latest_at {
                    match &latest {
                        Some((same, _)) if *same == delta && source == Source::Import => continue,
                        _ => return None,
                    }
                } else if is_forgotten {
                    merged.forgotten = merged.forgotten.max(Some(*latest_applied));
                    latest = Some((delta, applied));
                } else {
                    continue;
                }
            }
            Some(_) => return None,
            None => latest = Some((delta, applied)),
        }
        merged.is_changed = true;
    }
    if let Some((delta, applied)) = latest.filter(|_| merged.is_changed) {
        Image::begin(out, applied).push(&delta, applied);
    }
    Some(merged)
}

/// The delta of an image that has one.
fn only_part(image: &[u8]) -> Option<(Delta<'_>, Time)> {
    let (applied, mut parts) = Image::parts(image).ok()?;
    let part = parts.next()?.ok()?;
    parts.next().is_none().then_some((part.delta, applied))
}

/// A cell taken out of the base.
#[derive(Debug)]
pub(super) struct StoredCell {
    cell: Cell,
    applied: Time,
}

impl StoredCell {
    pub fn vacant(map_type: MapType) -> Self {
        Self { cell: Cell::detached(map_type), applied: Time::ZERO }
    }

    /// # Errors
    /// [`ImageError`], also if it is the image of another type of cell.
    pub fn read(map_type: MapType, image: &[u8]) -> Result<Self, ImageError> {
        let (applied, parts) = Image::parts(image)?;
        let mut cell = Cell::detached(map_type);
        for part in parts {
            let part = part?;
            cell.join(&part.delta, part.applied).map_err(|_| ImageError)?;
        }
        // What holds nothing is not kept.
        if cell.is_vacant() { Err(ImageError) } else { Ok(Self { cell, applied }) }
    }

    /// Whether there is nothing to keep.
    pub fn is_vacant(&self) -> bool {
        self.cell.is_vacant()
    }

    /// Appends the image.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut image = Image::begin(out, self.applied);
        self.cell.parts(|delta, applied| image.push(&delta, applied));
    }

    /// Forgets removals applied before the given tick; when the latest of them was.
    pub fn forget_removals(&mut self, applied_before: Time) -> Option<Time> {
        self.cell.forget_removals(applied_before)
    }

    /// Joins a delta; whether that changed the cell. What had to be forgotten for it raises `forgotten`.
    fn join(
        &mut self,
        delta: &Delta<'_>,
        applied: Time,
        source: Source,
        forgotten: &mut Option<Time>,
    ) -> Result<bool, Refused> {
        loop {
            let joined = self.cell.join(delta, applied);
            let through = match joined {
                // The owner had room, so it had forgotten at least the oldest removals beyond the limit.
                Err(Refused::Crowded(_)) => self.cell.forget_beyond_limit(),
                Ok(false) if source == Source::Journal => {
                    let removal = self.removal_against(delta).filter(|&removal| removal < applied);
                    removal.and_then(|removal| self.cell.forget_removals(removal.next()))
                }
                Ok(_) | Err(_) => None,
            };
            match through {
                Some(through) => *forgotten = (*forgotten).max(Some(through)),
                None => {
                    if let Ok(true) = joined {
                        self.applied = self.applied.max(applied);
                    }
                    return joined;
                }
            }
        }
    }

    /// When that was removed which `delta` would bring back, or remove again.
    fn removal_against(&self, delta: &Delta<'_>) -> Option<Time> {
        match (self.cell.state(), delta) {
            (State::Lww(lww), Delta::Lww { value: Some(_), .. }) => {
                lww.value().is_none().then(|| self.cell.applied())
            }
            (State::OrSet(set), Delta::OrAdd { tag, .. } | Delta::OrRemove { tag }) => set.removed_when(tag),
            _ => None,
        }
    }
}

/// What a look at an image tells without taking it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    pub applied: Time,
    /// When the oldest of its removals was applied.
    pub oldest_removal: Option<Time>,
    /// When its value ends, in unix milliseconds; 0: never.
    pub expires_ms: u64,
    /// Whether a reader sees a value, if time has not ended it.
    pub is_live: bool,
}

/// Looks at every delta of an image. `map_type`, if it is known, is that of its map.
///
/// # Errors
/// [`ImageError`], also if it is the image of another type of cell.
pub(super) fn glance(map_type: Option<MapType>, image: &[u8]) -> Result<Glance, ImageError> {
    let (applied, parts) = Image::parts(image)?;
    let mut parts = parts.peekable();
    // What holds nothing is not kept.
    parts.peek().ok_or(ImageError)?;
    let mut glance = Glance { applied, oldest_removal: None, expires_ms: 0, is_live: false };
    for part in parts {
        let part = part?;
        if map_type.is_some_and(|map_type| part.delta.map_type() != map_type) {
            return Err(ImageError);
        }
        let removal = match part.delta {
            Delta::Lww { value: None, .. } => applied,
            Delta::OrRemove { .. } => part.applied,
            Delta::Lww { expires_ms, .. } => {
                glance.expires_ms = expires_ms;
                glance.is_live = true;
                continue;
            }
            Delta::OrAdd { .. } | Delta::Counter { .. } | Delta::CounterAbsorbed { .. } => {
                glance.is_live = true;
                continue;
            }
        };
        glance.oldest_removal = Some(glance.oldest_removal.map_or(removal, |oldest| oldest.min(removal)));
    }
    Ok(glance)
}

/// The map type whose image this is, which is that of its first delta.
pub(super) fn type_of(image: &[u8]) -> Option<MapType> {
    Image::parts(image).ok()?.1.next()?.ok().map(|part| part.delta.map_type())
}
