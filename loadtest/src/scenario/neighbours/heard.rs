//! What a connection of the load has been told: counted where it passes, and not kept. A load must cost next to nothing,
//! as it shares its core with whoever is measured.
//!
//! Invariant: of a message no more than its first and last bytes are held, however large it is.

/// Bytes kept of the beginning and of the end of a message: enough to tell what it is, and whether more follows.
const HEAD_BYTES: usize = 48;
const TAIL_BYTES: usize = 192;
/// An answer to an upgrade longer than this is none.
const UPGRADE_BYTES_MAX: usize = 16 << 10;

const SYNCKIT_DELTA: u8 = 0x20;
const SYNCKIT_AWARENESS_UPDATE: u8 = 0x40;
const SYNCKIT_DELTA_BATCH: u8 = 0x50;
const SYNCKIT_ERROR: u8 = 0xff;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Native,
    SyncKit,
    /// One request and its answer, up to the end of the connection.
    Http,
    /// Nothing is ever said.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Upgrading,
    /// Waiting for the `hello`.
    Greeting,
    Frames,
    /// Bytes that mean nothing here.
    Raw,
}

/// Counts what comes in on one connection.
#[derive(Debug)]
pub struct Heard {
    stage: Stage,
    speaks: Speaks,
    /// The answer to the upgrade, until it is whole.
    upgrade: Vec<u8>,
    header: Vec<u8>,
    opcode: u8,
    /// Bytes of the frame under way that have not come yet; `None` between frames.
    missing: Option<u64>,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Final answers to requests, those that refuse included.
    pub answers: u64,
    pub refusals: u64,
    pub is_open: bool,
    /// Whether the upgrade was refused, or what came was no protocol.
    pub is_refused: bool,
    pub close_code: Option<u16>,
    /// Pings of the server that nobody has answered yet.
    pub pings: u32,
}

impl Heard {
    pub fn new(speaks: Speaks) -> Self {
        let stage = match speaks {
            Speaks::Native | Speaks::SyncKit => Stage::Upgrading,
            Speaks::Http | Speaks::Nothing => Stage::Raw,
        };
        Self {
            stage,
            speaks,
            upgrade: Vec::new(),
            header: Vec::new(),
            opcode: 0,
            missing: None,
            head: Vec::new(),
            tail: Vec::new(),
            answers: 0,
            refusals: 0,
            is_open: stage == Stage::Raw,
            is_refused: false,
            close_code: None,
            pings: 0,
        }
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_refused {
            bytes = match self.stage {
                Stage::Raw => return,
                Stage::Upgrading => self.feed_upgrade(bytes),
                Stage::Greeting | Stage::Frames => self.feed_frame(bytes),
            };
        }
    }

    fn feed_upgrade<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let had = self.upgrade.len();
        self.upgrade.extend_from_slice(bytes);
        let Some(end) = self.upgrade.windows(4).position(|window| window == b"\r\n\r\n") else {
            self.is_refused = self.upgrade.len() > UPGRADE_BYTES_MAX;
            return b"";
        };
        self.is_refused = !self.upgrade.starts_with(b"HTTP/1.1 101");
        self.stage = if self.speaks == Speaks::Native { Stage::Greeting } else { Stage::Frames };
        self.is_open = !self.is_refused && self.stage == Stage::Frames;
        self.upgrade = Vec::new();
        &bytes[end + 4 - had..]
    }

    fn feed_frame<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(missing) = self.missing else { return self.feed_header(bytes) };
        let here = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(here);
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(here);
        self.head.extend_from_slice(&payload[..room]);
        self.tail.extend_from_slice(&payload[here - here.min(TAIL_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.missing = Some(missing - here as u64).filter(|&missing| missing > 0);
        if self.missing.is_none() {
            self.frame_done();
        }
        rest
    }

    fn feed_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((&byte, rest)) = bytes.split_first() else { return bytes };
        self.header.push(byte);
        let length = match &self.header[..] {
            [_, length @ 0..=125] => Some(u64::from(*length)),
            [_, 126, high, low] => Some(u64::from(u16::from_be_bytes([*high, *low]))),
            [_, 127, length @ ..] => length.first_chunk().map(|length| u64::from_be_bytes(*length)),
            _ => None,
        };
        if let Some(length) = length {
            self.opcode = self.header[0] & 15;
            self.header.clear();
            self.head.clear();
            self.tail.clear();
            self.missing = Some(length).filter(|&length| length > 0);
            if length == 0 {
                self.frame_done();
            }
        }
        rest
    }

    fn frame_done(&mut self) {
        match self.opcode {
            1 | 2 if self.stage == Stage::Greeting => {
                self.stage = Stage::Frames;
                self.is_open = true;
            }
            1 | 2 => self.message_done(),
            8 => {
                self.close_code = self.head.first_chunk().map(|code| u16::from_be_bytes(*code)).or(Some(1005))
            }
            9 => self.pings += 1,
            _ => {}
        }
    }

    fn message_done(&mut self) {
        let (is_refusal, is_answer) = if self.speaks == Speaks::SyncKit {
            let told = [SYNCKIT_DELTA, SYNCKIT_DELTA_BATCH, SYNCKIT_AWARENESS_UPDATE];
            let code = self.head.first().copied().unwrap_or_default();
            (code == SYNCKIT_ERROR, !told.contains(&code))
        } else {
            let begins = |kind: &[u8]| self.head.starts_with(kind);
            let goes_on = begins(br#"{"type":"snapshot""#) && !contains(&self.tail, br#""more":false"#);
            (begins(br#"{"type":"error""#), !begins(br#"{"type":"change""#) && !goes_on)
        };
        self.answers += u64::from(is_answer);
        self.refusals += u64::from(is_refusal);
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(len as u8),
            len => bytes.extend([126, (len >> 8) as u8, len as u8]),
        }
        [bytes, payload.to_vec()].concat()
    }

    fn native() -> Vec<u8> {
        let long = format!(r#"{{"type":"snapshot","entries":["{}"],"more":true}}"#, "x".repeat(500));
        [
            b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n".to_vec(),
            frame(0x81, br#"{"type":"hello"}"#),
            frame(0x81, long.as_bytes()),
            frame(0x81, br#"{"type":"snapshot","entries":[],"more":false,"cursor":"c"}"#),
            frame(0x81, br#"{"type":"change","entries":[]}"#),
            frame(0x81, br#"{"type":"error","code":"too_large"}"#),
            frame(0x89, b""),
            frame(0x88, &[0x0f, 0xa8, b'x']),
        ]
        .concat()
    }

    /// Goal: what is counted does not depend on how the stream is cut. Method: every cut in two, and byte by byte.
    #[test]
    fn answers_and_refusals_are_counted_however_they_come() {
        let stream = native();
        let cuts: Vec<Vec<&[u8]>> = (0..stream.len())
            .map(|cut| vec![&stream[..cut], &stream[cut..]])
            .chain([stream.chunks(1).collect()])
            .collect();
        for pieces in cuts {
            let mut heard = Heard::new(Speaks::Native);
            pieces.iter().for_each(|piece| heard.feed(piece));
            assert!(heard.is_open && !heard.is_refused);
            assert_eq!((heard.answers, heard.refusals, heard.pings), (2, 1, 1));
            assert_eq!(heard.close_code, Some(4008));
        }
    }

    #[test]
    fn answers_of_synckit_are_told_from_changes() {
        let mut heard = Heard::new(Speaks::SyncKit);
        heard.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        assert!(heard.is_open);
        for code in [0x13, 0x20, 0x21, 0x40, 0xff] {
            heard.feed(&frame(0x82, &[code, 0, 0]));
        }
        assert_eq!((heard.answers, heard.refusals), (3, 1));
    }

    #[test]
    fn refused_upgrade_is_told() {
        let mut heard = Heard::new(Speaks::Native);
        heard.feed(b"HTTP/1.1 503 Busy\r\n\r\n");
        assert!(heard.is_refused && !heard.is_open);
    }
}
