//! Where a subscriber is in the history of a map: `"<epoch>.<tick>.<scope>"`.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::crdt::Time;

/// Everything within `scope` of data set `epoch` that was applied up to `time` has been seen. To clients it is opaque
/// text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Cursor {
    /// Names the data set: ticks of another one mean nothing here.
    pub epoch: u64,
    pub time: Time,
    /// Where nothing has been missed: what passes another filter, or lies in another map, may have been.
    pub scope: Scope,
}

/// A map, or what of it passes a filter, as a hash that no secret is part of: the same on every shard and after every
/// start. Two are alike by chance once in 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Scope(u64);

impl Scope {
    /// That of cursors which name none, as earlier builds wrote them.
    pub const UNKNOWN: Self = Self(0);

    /// All keys of a map.
    pub fn of_map(name: &str) -> Self {
        Self::known(xxh3_64(name.as_bytes()))
    }

    /// Of these, the keys that begin so.
    pub fn prefix(self, prefix: &str) -> Self {
        self.part(b"prefix").part(prefix.as_bytes())
    }

    /// Of these, the keys named here, which are in ascending order and each there once.
    pub fn keys<'a>(self, keys: impl Iterator<Item = &'a str>) -> Self {
        keys.fold(self.part(b"keys"), |scope, key| scope.part(key.as_bytes()))
    }

    /// Of these, what a view shows that has this digest.
    pub fn view(self, digest: u64) -> Self {
        self.part(b"view").part(&digest.to_le_bytes())
    }

    /// Of these, what a query shows that has this digest.
    pub fn query(self, digest: &[u8]) -> Self {
        self.part(b"query").part(digest)
    }

    /// For tables of what has a scope.
    pub const fn hash(self) -> u64 {
        self.0
    }

    fn part(self, part: &[u8]) -> Self {
        Self::known(xxh3_64_with_seed(part, self.0))
    }

    /// None that is computed is [`Scope::UNKNOWN`].
    const fn known(hash: u64) -> Self {
        Self(if hash == 0 { 1 } else { hash })
    }
}

impl Cursor {
    /// Reads exactly what [`Cursor::write_to`] writes, and that without its last part, as earlier builds wrote it, which
    /// is then of [`Scope::UNKNOWN`]; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (epoch, ticks) = (read_hex(parts.next()?)?, parts.next()?);
        let scope = parts.next().map_or(Some(Scope::UNKNOWN), |scope| read_hex(scope).map(Scope))?;
        let is_canonical = ticks == "0" || !ticks.starts_with('0');
        if !ticks.bytes().all(|byte| byte.is_ascii_digit()) || !is_canonical {
            return None;
        }
        let ticks: u64 = ticks.parse().ok()?;
        Some(Self { epoch, time: Time::new(ticks >> 16, ticks as u16), scope })
    }

    /// Appends sixteen hexadecimal digits, the ticks in decimal, and sixteen hexadecimal digits, with points between: at
    /// most 54 bytes.
    #[inline]
    pub fn write_to(self, out: &mut Vec<u8>) {
        write_hex(out, self.epoch);
        out.push(b'.');
        let ticks = self.time.millis() << 16 | u64::from(self.time.counter());
        out.extend_from_slice(itoa::Buffer::new().format(ticks).as_bytes());
        out.push(b'.');
        write_hex(out, self.scope.0);
    }
}

/// Reads exactly what [`write_hex`] writes.
pub fn read_hex(text: &str) -> Option<u64> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_written = text.len() == 16 && text.bytes().all(is_hex);
    if is_written { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Appends all sixteen hexadecimal digits of `value`, lower case.
pub fn write_hex(out: &mut Vec<u8>, value: u64) {
    /// The same in each byte.
    const EACH: u128 = u128::from_ne_bytes([1; 16]);
    // All digits at once, each in a byte of its own.
    let mut digits = u128::from(value);
    digits = (digits | digits << 32) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f;
    let is_letter = (digits + 6 * EACH) >> 4 & EACH;
    let text = digits + u128::from(b'0') * EACH + u128::from(b'a' - b'0' - 10) * is_letter;
    out.extend_from_slice(&text.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cursor: Cursor) -> String {
        let mut out = Vec::new();
        cursor.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        for (epoch, millis, counter, scope) in [
            (0, 0, 0, 0),
            (0x0123_4567_89ab_cdef, 1_700_000_000_000, 7, 1),
            (u64::MAX, (1 << 48) - 1, u16::MAX, u64::MAX),
        ] {
            let cursor = Cursor { epoch, time: Time::new(millis, counter), scope: Scope(scope) };
            assert_eq!(Cursor::parse(&written(cursor)), Some(cursor));
            assert!(written(cursor).len() <= 54);
        }
        let cursor = Cursor { epoch: 0xff, time: Time::new(1, 2), scope: Scope(0xe) };
        assert_eq!(written(cursor), "00000000000000ff.65538.000000000000000e");
    }

    #[test]
    fn cursors_of_earlier_builds_are_of_no_scope() {
        let cursor = Cursor::parse("00000000000000ff.65538").unwrap();
        assert_eq!(cursor, Cursor { epoch: 0xff, time: Time::new(1, 2), scope: Scope::UNKNOWN });
    }

    #[test]
    fn what_is_not_the_same_has_another_scope() {
        let of = Scope::of_map;
        let keys = |map: &str, keys: &[&str]| of(map).keys(keys.iter().copied());
        let scopes = [
            Scope::UNKNOWN,
            of("m"),
            of("ma"),
            of("m").prefix("a"),
            of("m").prefix("ab"),
            of("n").prefix("a"),
            of("m").prefix("keys"),
            keys("m", &[]),
            keys("m", &["a"]),
            keys("m", &["ab"]),
            keys("m", &["a", "b"]),
            keys("m", &["a", "c"]),
            keys("n", &["a", "b"]),
        ];
        let distinct: std::collections::HashSet<_> = scopes.iter().collect();
        assert_eq!(distinct.len(), scopes.len(), "{scopes:?}");
    }

    /// Clients keep cursors for longer than a process lives: these never change.
    #[test]
    fn scopes_are_the_same_after_every_start() {
        assert_eq!(Scope::of_map("todos"), Scope(0xb0ef_f882_7aa2_340c));
        assert_eq!(Scope::of_map("todos").prefix("t"), Scope(0x0cd2_0d24_ec7a_173c));
        assert_eq!(Scope::of_map("todos").keys(["t1", "t2"].into_iter()), Scope(0x4329_3e6d_f1f8_9277));
    }

    #[test]
    fn text_we_did_not_write_is_no_cursor() {
        for text in [
            "",
            ".",
            "00000000000000ff",
            "00000000000000ff.",
            "00000000000000FF.1",
            "0000000000000ff.1",
            "+0000000000000ff.1",
            "00000000000000ff.+1",
            "00000000000000ff.01",
            "00000000000000ff.1.1",
            "00000000000000ff.1.",
            "00000000000000ff..000000000000000e",
            "00000000000000ff.1.000000000000000E",
            "00000000000000ff.1.000000000000000e.",
            "00000000000000ff.1.0000000000000000e",
            "00000000000000ff.1 ",
            "00000000000000ff.18446744073709551616",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
    }
}
