//! UTF-8 that arrives in pieces, refused at the first octet that makes it impossible.

/// Whether a message that is here as a whole is UTF-8.
pub(super) fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// What has been seen of a text so far is UTF-8 up to a sequence whose end has not arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// The octets of that sequence. Its fourth octet would complete it.
    begun: [u8; 3],
    begun_len: u8,
}

/// The text can not become UTF-8 any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

impl Utf8 {
    /// Goes on with the next octets of the text.
    ///
    /// # Errors
    /// [`InvalidUtf8`] as soon as no continuation could make the text valid, be it in the middle of a
    /// sequence (`F4 90`, `ED A0`).
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let bytes = self.complete_begun(bytes)?;
        let Err(error) = simdutf8::compat::from_utf8(bytes) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        self.begin(&bytes[error.valid_up_to()..]);
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) const fn is_complete(self) -> bool {
        self.begun_len == 0
    }

    /// Feeds the sequence begun earlier, octet by octet, and returns what follows it.
    fn complete_begun<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        while !self.is_complete() {
            let Some((&octet, rest)) = bytes.split_first() else { break };
            bytes = rest;
            let mut sequence = [0; 4];
            let len = usize::from(self.begun_len) + 1;
            sequence[..len - 1].copy_from_slice(&self.begun[..len - 1]);
            sequence[len - 1] = octet;
            match str::from_utf8(&sequence[..len]) {
                Ok(_) => self.begun_len = 0,
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => self.begin(&sequence[..len]),
            }
        }
        Ok(bytes)
    }

    fn begin(&mut self, sequence: &[u8]) {
        self.begun[..sequence.len()].copy_from_slice(sequence);
        self.begun_len = sequence.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many octets were taken before the text was refused; `None`: it never was.
    fn refused_after(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        (0..text.len()).find(|&i| utf8.push(&text[i..=i]).is_err()).map(|i| i + 1)
    }

    #[test]
    fn impossible_sequences_are_refused_at_the_octet_that_makes_them_so() {
        for (text, octets) in [
            (&b"\xC0"[..], 1),
            (b"\xC1", 1),
            (b"\xF5", 1),
            (b"\xFF", 1),
            (b"\x80", 1),
            (b"ab\xE0\x9F", 4),
            (b"\xED\xA0", 2),
            (b"\xF0\x8F", 2),
            (b"\xF4\x90", 2),
            (b"\xF4\x8F\xBF\xC0", 4),
            (b"\xCE\xBA\xE2\x82 ", 5),
        ] {
            assert_eq!(refused_after(text), Some(octets), "{text:02X?}");
            let mut whole = text.to_vec();
            whole.resize(100, b'-');
            assert_eq!(Utf8::default().push(&whole), Err(InvalidUtf8), "{text:02X?} in one piece");
            assert!(!is_utf8(&whole));
        }
    }

    // Every character that is the first or last of its kind, cut in two at each place.
    #[test]
    fn a_character_may_arrive_in_any_two_pieces() {
        let text = "\0\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF} κόσμε".as_bytes();
        assert_eq!(refused_after(text), None);
        for cut in 0..=text.len() {
            let mut utf8 = Utf8::default();
            assert_eq!(utf8.push(&text[..cut]), Ok(()));
            assert_eq!(utf8.is_complete(), str::from_utf8(&text[..cut]).is_ok(), "cut at {cut}");
            assert_eq!(utf8.push(&text[cut..]), Ok(()));
            assert!(utf8.is_complete());
        }
    }

    // All sequences of up to three octets that could matter, against the standard library.
    #[test]
    fn octets_one_by_one_are_judged_as_the_standard_library_judges_them_together() {
        let octets = [
            0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED,
            0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
        ];
        for a in octets {
            for b in octets {
                for c in octets {
                    for d in octets {
                        let text = [a, b, c, d];
                        let mut utf8 = Utf8::default();
                        let accepted = text.iter().all(|&octet| utf8.push(&[octet]).is_ok());
                        let valid = str::from_utf8(&text);
                        let possible =
                            valid.is_ok_and(|_| true) || valid.is_err_and(|e| e.error_len().is_none());
                        assert_eq!(accepted, possible, "{text:02X?}");
                        assert_eq!(accepted && utf8.is_complete(), valid.is_ok(), "{text:02X?}");
                    }
                }
            }
        }
    }
}
