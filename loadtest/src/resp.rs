//! RESP2, as far as `SET`, `GET` and `DBSIZE` need it: commands are lists of byte strings, replies begin with a letter
//! for their kind. No sockets.

use crate::failure::{Failure, excerpt};
use crate::value::write_number;

/// A longer reply than this is none of ours: far above every value we write.
const REPLY_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(u64),
    /// `None`: there is no such key.
    Bulk(Option<&'a [u8]>),
}

/// Appends one command.
pub fn encode(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.push(b'*');
    write_number(out, words.len() as u64);
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        write_number(out, word.len() as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads the reply at the front of `bytes` and how many bytes it takes; `None` until it is complete.
///
/// # Errors
/// [`Failure::Wrong`] for what no command of ours is answered with.
pub fn decode(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Failure> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() > REPLY_BYTES_MAX { Err(wrong(bytes)) } else { Ok(None) };
    };
    let (line, used) = (&bytes[1.min(end)..end], end + 2);
    let reply = match bytes[0] {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(number(line).ok_or_else(|| wrong(bytes))?),
        b'$' if line == b"-1" => Reply::Bulk(None),
        b'$' => {
            let length = number(line).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|&length| length <= REPLY_BYTES_MAX).ok_or_else(|| wrong(bytes))?;
            let Some(whole) = bytes.get(used..used + length + 2) else { return Ok(None) };
            let Some(text) = whole.strip_suffix(b"\r\n") else { return Err(wrong(bytes)) };
            return Ok(Some((Reply::Bulk(Some(text)), used + length + 2)));
        }
        _ => return Err(wrong(bytes)),
    };
    Ok(Some((reply, used)))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn wrong(bytes: &[u8]) -> Failure {
    Failure::Wrong(format!("no reply of RESP2: {}", excerpt(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_possible_cut_of_a_reply_waits_for_the_rest() {
        let replies: [(&[u8], Reply<'_>); 5] = [
            (b"+OK\r\n", Reply::Simple(b"OK")),
            (b"-ERR no\r\n", Reply::Error(b"ERR no")),
            (b":1234\r\n", Reply::Integer(1234)),
            (b"$-1\r\n", Reply::Bulk(None)),
            (b"$4\r\na\r\nb\r\n", Reply::Bulk(Some(b"a\r\nb"))),
        ];
        for (text, reply) in replies {
            for cut in 0..text.len() {
                assert_eq!(decode(&text[..cut]).unwrap(), None, "cut at {cut}");
            }
            let more = [text, b"+next"].concat();
            assert_eq!(decode(&more).unwrap(), Some((reply, text.len())));
        }
    }

    #[test]
    fn what_is_no_reply_is_wrong() {
        for text in [&b"HTTP/1.1 200\r\n"[..], b"\r\n", b":x\r\n", b"$99999999999\r\n", b"$1\r\nab\r\n"] {
            assert!(matches!(decode(text), Err(Failure::Wrong(_))), "{}", excerpt(text));
        }
    }

    #[test]
    fn command_is_a_list_of_strings_with_their_lengths() {
        let mut out = Vec::new();
        encode(&mut out, &[b"GET", b"c1-20"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$5\r\nc1-20\r\n");
    }
}
