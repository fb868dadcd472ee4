//! Where a subscriber is in the history of a data set: `"<epoch>.<tick>"`.

use crate::crdt::Time;

/// Everything of data set `epoch` that was applied up to `time` has been seen. To clients it is opaque text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Cursor {
    /// Names the data set: ticks of another one mean nothing here.
    pub epoch: u64,
    pub time: Time,
}

impl Cursor {
    /// Reads exactly what [`Cursor::write_to`] writes; `None` for anything else, which is then a cursor of
    /// no data set of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, ticks) = text.split_once('.')?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_canonical = ticks == "0" || !ticks.starts_with('0');
        if epoch.len() != 16
            || !epoch.bytes().all(is_hex)
            || !ticks.bytes().all(|byte| byte.is_ascii_digit())
            || !is_canonical
        {
            return None;
        }
        let ticks: u64 = ticks.parse().ok()?;
        let time = Time::new(ticks >> 16, ticks as u16);
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, time })
    }

    /// Appends sixteen hexadecimal digits, a point, and the ticks in decimal: at most 37 bytes.
    pub fn write_to(self, out: &mut Vec<u8>) {
        write_hex(out, self.epoch);
        out.push(b'.');
        let ticks = self.time.millis() << 16 | u64::from(self.time.counter());
        out.extend_from_slice(itoa::Buffer::new().format(ticks).as_bytes());
    }
}

/// Appends all sixteen hexadecimal digits of `value`, lower case.
pub fn write_hex(out: &mut Vec<u8>, value: u64) {
    let digits: [u8; 16] = std::array::from_fn(|index| {
        let digit = (value >> (60 - 4 * index)) as u8 & 15;
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    });
    out.extend_from_slice(&digits);
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
        for (epoch, millis, counter) in
            [(0, 0, 0), (0x0123_4567_89ab_cdef, 1_700_000_000_000, 7), (u64::MAX, (1 << 48) - 1, u16::MAX)]
        {
            let cursor = Cursor { epoch, time: Time::new(millis, counter) };
            assert_eq!(Cursor::parse(&written(cursor)), Some(cursor));
        }
        let cursor = Cursor { epoch: 0xff, time: Time::new(1, 2) };
        assert_eq!(written(cursor), "00000000000000ff.65538");
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
            "00000000000000ff.1 ",
            "00000000000000ff.18446744073709551616",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
    }
}
