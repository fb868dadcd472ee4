//! What is wrong with a message, and where.

use crate::limits::JSON_DEPTH_MAX;

/// Something wrong at a byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    pub what: What,
    /// From the front of the message.
    pub byte: u32,
}

/// See [`Fault`]. The first three are JSON that no value here can hold; the others are no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    HalfSurrogatePair,
    NumberTooLarge,
    TooDeep,
    NotUtf8,
    NotAnObject,
    Unfinished,
    UnfinishedString,
    AfterEnd,
    ControlCharacter,
    Escape,
    Number,
    NoValue,
    NoName,
    NoColon,
    NoComma,
    /// The parser takes it for wrong, and nothing wrong was found.
    Unclear,
}

impl Fault {
    /// For the developer who reads it; the byte is told beside it.
    pub const fn text(self) -> &'static str {
        const _: () = assert!(JSON_DEPTH_MAX == 64);
        match self.what {
            What::HalfSurrogatePair => "half a surrogate pair is no text",
            What::NumberTooLarge => "the number is beyond a double",
            What::TooDeep => "this nests more than 64 deep",
            What::NotUtf8 => "this is not UTF-8",
            What::NotAnObject => "a message is one JSON object",
            What::Unfinished => "the JSON object does not end",
            What::UnfinishedString => "the string does not end",
            What::AfterEnd => "something follows the JSON object",
            What::ControlCharacter => "a control character in a string is written as an escape",
            What::Escape => "JSON has no such escape",
            What::Number => "JSON has no such number",
            What::NoValue => "a value is expected",
            What::NoName => "a name in double quotes is expected",
            What::NoColon => "a colon is expected",
            What::NoComma => "a comma or an end is expected",
            What::Unclear => "this can not be read as JSON",
        }
    }
}
