//! Looking things up in a header block, with the rules of RFC 9110 that hold for any request.

use httparse::Header;

use super::refusal::Refusal;

/// The header lines of one request.
#[derive(Clone, Copy)]
pub(super) struct Headers<'a> {
    lines: &'a [Header<'a>],
}

impl<'a> Headers<'a> {
    pub(super) const fn new(lines: &'a [Header<'a>]) -> Self {
        Self { lines }
    }

    /// The values of every line with this name.
    pub(super) fn all(self, name: &'static str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let named = move |line: &&Header<'a>| line.name.eq_ignore_ascii_case(name);
        self.lines.iter().filter(named).map(|line| line.value.trim_ascii())
    }

    /// The value of a line that may be there once.
    ///
    /// # Errors
    /// `repeated` if it is there twice, even with the same value: who would be believed is open to attack.
    pub(super) fn single(self, name: &'static str, repeated: Refusal) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() { Err(repeated) } else { Ok(value) }
    }

    /// The members of a comma-separated list, over all its lines.
    pub(super) fn list(self, name: &'static str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let members = self.all(name).flat_map(|value| value.split(|&octet| octet == b','));
        members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
    }

    /// Whether a list has this member, in any case.
    pub(super) fn lists(self, name: &'static str, member: &str) -> bool {
        self.list(name).any(|listed| listed.eq_ignore_ascii_case(member.as_bytes()))
    }

    /// Whether HTML is named as something its sender takes, as browsers do. `*/*` names nothing.
    pub(super) fn accepts_html(self) -> bool {
        self.list("Accept").any(|range| {
            let mut parts = range.split(|&octet| octet == b';').map(<[u8]>::trim_ascii);
            let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"));
            let is_unwanted = |part: &[u8]| {
                let weight = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
                weight.is_some_and(|weight| weight.iter().all(|octet| b"0.".contains(octet)))
            };
            is_html && !parts.any(is_unwanted)
        })
    }

    /// One `Host`, which HTTP/1.1 requires (RFC 9112 section 3.2).
    pub(super) fn check_host(self, is_required: bool) -> Result<(), Refusal> {
        const WRONG: Refusal = Refusal::bad_request("send one Host header with the name of this server");
        match self.single("Host", WRONG)? {
            Some(host) if is_host(host) => Ok(()),
            // A check in HTTP/1.0 names no host, or an empty one.
            None | Some(b"") if !is_required => Ok(()),
            _ => Err(WRONG),
        }
    }

    /// At most a body of `bytes_max`, whose length is said once and before it.
    pub(super) fn check_body(self, bytes_max: usize) -> Result<(), Refusal> {
        const WRONG: Refusal =
            Refusal::bad_request("send no body, or one of up to 1 KiB with its Content-Length");
        let length = self.single("Content-Length", WRONG)?.unwrap_or(b"0");
        let length = str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok());
        let has_coding = self.all("Transfer-Encoding").next().is_some();
        match length {
            Some(bytes) if bytes <= bytes_max && !has_coding => Ok(()),
            _ => Err(WRONG),
        }
    }

    /// No body: it would have to be read before anything else, and no request here means one.
    pub(super) fn check_bodiless(self) -> Result<(), Refusal> {
        let has_length = self.all("Content-Length").any(|length| length != b"0");
        if has_length || self.all("Transfer-Encoding").next().is_some() {
            return Err(Refusal::bad_request("send this request without a body"));
        }
        Ok(())
    }
}

/// Letters a host and port may be made of (RFC 3986 section 3.2.2), in any order.
fn is_host(value: &[u8]) -> bool {
    let allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(octet);
    !value.is_empty() && value.iter().all(allowed)
}
