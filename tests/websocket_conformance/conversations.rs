//! What clients say, right and wrong, and what a server must make of it (RFC 6455).

use crate::client::{BINARY, CLOSE, CONTINUATION, Frame, Heard, LengthForm, PING, PONG, TEXT};

pub const MESSAGE_BYTES_MAX: usize = 1000;

/// What a client sends, and what must be heard of it.
pub struct Conversation {
    pub name: &'static str,
    pub sent: Vec<u8>,
    pub heard: Vec<Heard>,
    /// The code with which the connection fails.
    pub failed: Option<u16>,
}

fn good(name: &'static str, frames: &[Frame<'_>], heard: &[Heard]) -> Conversation {
    let sent = frames.iter().flat_map(|frame| frame.bytes()).collect();
    Conversation { name, sent, heard: heard.to_vec(), failed: None }
}

/// `frames`, then things that would be heard if the failure went unnoticed.
fn bad(name: &'static str, frames: &[Frame<'_>], heard: &[Heard], code: u16) -> Conversation {
    let after = [Frame::new(PING, b"after"), Frame::new(TEXT, b"after"), close(b"\x03\xE8")];
    let sent = frames.iter().chain(&after).flat_map(|frame| frame.bytes()).collect();
    Conversation { name, sent, heard: heard.to_vec(), failed: Some(code) }
}

const fn close(payload: &[u8]) -> Frame<'_> {
    Frame::new(CLOSE, payload)
}

pub fn text(text: impl AsRef<[u8]>) -> Heard {
    Heard::Text(text.as_ref().to_vec())
}

pub fn binary(bytes: impl AsRef<[u8]>) -> Heard {
    Heard::Binary(bytes.as_ref().to_vec())
}

fn ping(bytes: &[u8]) -> Heard {
    Heard::Ping(bytes.to_vec())
}

pub fn all() -> Vec<Conversation> {
    [messages(), control_frames(), closes(), wrong_headers(), wrong_order(), wrong_text(), too_big()]
        .into_iter()
        .flatten()
        .collect()
}

fn messages() -> Vec<Conversation> {
    let long: Vec<u8> = (0..MESSAGE_BYTES_MAX).map(|i| (i % 251) as u8).collect();
    let greek = "κόσμε 😀".as_bytes();
    vec![
        good("one text", &[Frame::new(TEXT, b"hello")], &[text("hello")]),
        good("empty messages", &[Frame::new(TEXT, b""), Frame::new(BINARY, b"")], &[text(""), binary("")]),
        good(
            "every length around the length forms",
            &[0, 1, 124, 125, 126, 127, 999, 1000].map(|len| Frame::new(BINARY, &long[..len])),
            &[0, 1, 124, 125, 126, 127, 999, 1000].map(|len| binary(&long[..len])),
        ),
        good(
            "masks of all kinds",
            &[[0; 4], [0xFF; 4], [1, 2, 3, 4], [0, 0, 0, 9]]
                .map(|mask| Frame { mask: Some(mask), ..Frame::new(BINARY, &long[..77]) }),
            &[0; 4].map(|_| binary(&long[..77])),
        ),
        good(
            "text in fragments that cut a character",
            &[
                Frame::fragment(TEXT, &greek[..3]),
                Frame::fragment(CONTINUATION, &greek[3..4]),
                Frame::fragment(CONTINUATION, b""),
                Frame::fragment(CONTINUATION, &greek[4..13]),
                Frame::new(CONTINUATION, &greek[13..]),
            ],
            &[text(greek)],
        ),
        good(
            "empty fragments around the text",
            &[
                Frame::fragment(TEXT, b""),
                Frame::fragment(CONTINUATION, b""),
                Frame::new(CONTINUATION, b"all of it"),
            ],
            &[text("all of it")],
        ),
        good(
            "nothing but empty fragments",
            &[Frame::fragment(TEXT, b""), Frame::fragment(CONTINUATION, b""), Frame::new(CONTINUATION, b"")],
            &[text("")],
        ),
        good(
            "binary fragments that are not UTF-8, then text",
            &[
                Frame::fragment(BINARY, b"\xFF\xE2"),
                Frame::new(CONTINUATION, b"\x82"),
                Frame::new(BINARY, b"\xE2\x82"),
                Frame::new(TEXT, greek),
            ],
            &[binary(b"\xFF\xE2\x82"), binary(b"\xE2\x82"), text(greek)],
        ),
        good(
            "fragments up to the limit, twice",
            &[
                Frame::fragment(BINARY, &long[..600]),
                Frame::new(CONTINUATION, &long[600..]),
                Frame::fragment(BINARY, &long[..600]),
                Frame::new(CONTINUATION, &long[600..]),
            ],
            &[binary(&long), binary(&long)],
        ),
    ]
}

fn control_frames() -> Vec<Conversation> {
    vec![
        good(
            "pings and pongs of all sizes",
            &[Frame::new(PING, b""), Frame::new(PONG, b"unasked"), Frame::new(PING, &[0xFE; 125])],
            &[ping(b""), Heard::Pong(b"unasked".to_vec()), ping(&[0xFE; 125])],
        ),
        good(
            "pings between the halves of a character",
            &[
                Frame::fragment(TEXT, b"\xE2"),
                Frame::new(PING, b"\xFF\xFE"),
                Frame::fragment(CONTINUATION, b"\x82"),
                Frame::new(PONG, b""),
                Frame::new(PING, b"again"),
                Frame::new(CONTINUATION, b"\xAC"),
            ],
            &[ping(b"\xFF\xFE"), Heard::Pong(Vec::new()), ping(b"again"), text("€")],
        ),
        good(
            "ping before the first octet of a fragmented text",
            &[Frame::fragment(TEXT, b""), Frame::new(PING, b"early"), Frame::new(CONTINUATION, b"late")],
            &[ping(b"early"), text("late")],
        ),
        bad("ping over 125 bytes", &[Frame::new(PING, &[0; 126])], &[], 1002),
        bad("ping in fragments", &[Frame::fragment(PING, b"a"), Frame::new(CONTINUATION, b"b")], &[], 1002),
        bad("pong in fragments", &[Frame::fragment(PONG, b"a"), Frame::new(CONTINUATION, b"b")], &[], 1002),
        bad("close in fragments", &[Frame::fragment(CLOSE, b"\x03\xE8")], &[], 1002),
    ]
}

fn closes() -> Vec<Conversation> {
    let longest = [b"\x03\xE8".to_vec(), vec![b'*'; 123]].concat();
    let too_long = [b"\x03\xE8".to_vec(), vec![b'*'; 124]].concat();
    let mut closes = vec![
        good("close without a code", &[close(b"")], &[Heard::Close(None)]),
        good("close with a reason", &[close(b"\x03\xE8enough")], &[Heard::Close(Some(1000))]),
        good("close with the longest reason", &[close(&longest)], &[Heard::Close(Some(1000))]),
        good(
            "everything after a close is dropped",
            &[
                Frame::new(TEXT, b"before"),
                close(b"\x03\xE9"),
                Frame::new(PING, b"after"),
                close(b""),
                Frame { reserved_bits: 7, ..Frame::new(15, b"no frame at all") },
            ],
            &[text("before"), Heard::Close(Some(1001))],
        ),
        good(
            "close inside a message",
            &[Frame::fragment(TEXT, b"cut o"), close(b"\x0F\xA0"), Frame::new(CONTINUATION, b"ff")],
            &[Heard::Close(Some(4000))],
        ),
        bad("half a close code", &[close(b"\x03")], &[], 1002),
        bad("close reason over 123 bytes", &[close(&too_long)], &[], 1002),
        bad("close reason that is not UTF-8", &[close(b"\x03\xE8\xCE\xBA\xED\xA0\x80")], &[], 1007),
    ];
    for code in [1000, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999u16] {
        closes.push(good("valid close code", &[close(&code.to_be_bytes())], &[Heard::Close(Some(code))]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535u16] {
        closes.push(bad("invalid close code", &[close(&code.to_be_bytes())], &[], 1002));
    }
    closes
}

fn wrong_headers() -> Vec<Conversation> {
    let hello = Frame::new(TEXT, b"hello");
    let mut headers = vec![
        bad("unmasked text", &[Frame { mask: None, ..hello }], &[], 1002),
        bad("unmasked empty text", &[Frame { mask: None, ..Frame::new(TEXT, b"") }], &[], 1002),
        bad("unmasked ping", &[Frame { mask: None, ..Frame::new(PING, b"hi") }], &[], 1002),
        bad("unmasked close", &[Frame { mask: None, ..close(b"\x03\xE8") }], &[], 1002),
        bad(
            "unmasked second fragment",
            &[Frame::fragment(TEXT, b"one"), Frame { mask: None, ..Frame::new(CONTINUATION, b"two") }],
            &[],
            1002,
        ),
        bad("16 bits for 5", &[Frame { form: LengthForm::Bits16, ..hello }], &[], 1002),
        bad("64 bits for 5", &[Frame { form: LengthForm::Bits64, ..hello }], &[], 1002),
        bad(
            "64 bits for 200",
            &[Frame { form: LengthForm::Bits64, ..Frame::new(TEXT, &[b'x'; 200]) }],
            &[],
            1002,
        ),
        bad("ping with 16 bits", &[Frame { form: LengthForm::Bits16, ..Frame::new(PING, b"hi") }], &[], 1002),
        bad("top bit of the length", &[Frame { announced: Some(1 << 63 | 5), ..hello }], &[], 1002),
        bad("all bits of the length", &[Frame { announced: Some(u64::MAX), ..hello }], &[], 1002),
    ];
    for reserved_bits in 1..=7 {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let frame = Frame { reserved_bits, ..Frame::new(opcode, b"\x03\xE8") };
            headers.push(bad("reserved bits", &[hello, frame], &[text("hello")], 1002));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        headers.push(bad("reserved opcode", &[hello, Frame::new(opcode, b"")], &[text("hello")], 1002));
        headers.push(bad("reserved opcode with payload", &[Frame::new(opcode, b"payload")], &[], 1002));
    }
    headers
}

fn wrong_order() -> Vec<Conversation> {
    let (one, two) = (Frame::fragment(TEXT, b"one"), Frame::new(CONTINUATION, b"two"));
    vec![
        bad("continuation of nothing", &[two], &[], 1002),
        bad("open continuation of nothing", &[Frame::fragment(CONTINUATION, b"stray")], &[], 1002),
        bad("empty continuation of nothing", &[Frame::new(CONTINUATION, b"")], &[], 1002),
        bad("continuation after the last one", &[one, two, two], &[text("onetwo")], 1002),
        bad("text inside a text", &[one, Frame::new(TEXT, b"two")], &[], 1002),
        bad("binary inside a text", &[one, Frame::new(BINARY, b"two")], &[], 1002),
        bad("text inside a text without octets yet", &[Frame::fragment(TEXT, b""), one], &[], 1002),
        bad("binary inside a binary", &[Frame::fragment(BINARY, b"1"), Frame::new(BINARY, b"2")], &[], 1002),
    ]
}

fn wrong_text() -> Vec<Conversation> {
    let mut texts = vec![
        bad("character cut at the end", &[Frame::new(TEXT, b"ab\xE2\x82")], &[], 1007),
        bad(
            "character cut at the end of the last fragment",
            &[Frame::fragment(TEXT, b"ab\xE2"), Frame::new(CONTINUATION, b"\x82")],
            &[],
            1007,
        ),
        bad(
            "empty last fragment after a cut character",
            &[Frame::fragment(TEXT, b"ab\xE2"), Frame::new(CONTINUATION, b"")],
            &[],
            1007,
        ),
        bad(
            "no character spans two messages",
            &[Frame::new(TEXT, b"ab\xE2\x82"), Frame::new(TEXT, b"\xAC")],
            &[],
            1007,
        ),
    ];
    for wrong in impossible_texts() {
        let long = [&[b'a'; 100], wrong, &[b'z'; 100]].concat();
        texts.push(bad("impossible text", &[Frame::new(TEXT, wrong)], &[], 1007));
        texts.push(bad("impossible octets in a long text", &[Frame::new(TEXT, &long)], &[], 1007));
        let (head, tail) = wrong.split_at(1);
        let fragments = [Frame::fragment(TEXT, head), Frame::new(CONTINUATION, tail)];
        texts.push(bad("impossible text in fragments", &fragments, &[], 1007));
    }
    texts
}

/// Texts whose last octet is the one that makes them impossible.
pub fn impossible_texts() -> Vec<&'static [u8]> {
    vec![
        b"\x80",
        b"\xBF",
        b"\xC0",
        b"\xC1",
        b"\xF5",
        b"\xF8",
        b"\xFC",
        b"\xFE",
        b"\xFF",
        b"\xC2\x20",
        b"\xE0\x80",
        b"\xE0\x9F",
        b"\xED\xA0",
        b"\xED\xBF",
        b"\xF0\x80",
        b"\xF0\x8F",
        b"\xF4\x90",
        b"\xE2\x82\x20",
        b"\xF0\x90\x80\x20",
        b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0",
    ]
}

fn too_big() -> Vec<Conversation> {
    let long = [b'x'; MESSAGE_BYTES_MAX + 1];
    vec![
        bad("message over the limit", &[Frame::new(BINARY, &long)], &[], 1009),
        bad("2^62", &[Frame { announced: Some(1 << 62), ..Frame::new(BINARY, b"little") }], &[], 1009),
        bad(
            "fragments over the limit together",
            &[Frame::fragment(TEXT, &long[..600]), Frame::new(CONTINUATION, &long[..401])],
            &[],
            1009,
        ),
        bad(
            "2^63-1 after a fragment",
            &[
                Frame::fragment(TEXT, &long[..600]),
                Frame { announced: Some((1 << 63) - 1), ..Frame::new(CONTINUATION, b"little") },
            ],
            &[],
            1009,
        ),
    ]
}
