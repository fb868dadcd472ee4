//! What is counted of TLS, by kind.

use super::exposition::{Exposition, Kind};
use super::ops::Table;

/// A version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

impl TlsVersion {
    /// Every version, in the order of its discriminant.
    pub const ALL: [Self; 2] = [Self::V1_2, Self::V1_3];

    /// The value of the label `version`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// Why TLS did not come about, or has ended in another way than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The handshake failed: nothing in common, no certificate where one is asked for, a bad one, or no TLS at all.
    Handshake,
    /// The client left, or took too long, before the handshake was over.
    Abandoned,
    /// A record was bad after it.
    Record,
    /// The transport has ended and TLS had not said so.
    Truncated,
    /// It was plain.
    Plain,
}

impl TlsFailure {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 5] = [Self::Handshake, Self::Abandoned, Self::Record, Self::Truncated, Self::Plain];

    /// The value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Abandoned => "abandoned",
            Self::Record => "record",
            Self::Truncated => "truncated",
            Self::Plain => "plain",
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// By version, and whether an earlier session goes on.
    handshakes: Table<{ TlsVersion::ALL.len() }, 2>,
    failures: Table<{ TlsFailure::ALL.len() }, 1>,
}

impl Tls {
    pub(super) fn count_handshake(&mut self, version: TlsVersion, is_resumed: bool) {
        self.handshakes.add_one(version as usize, usize::from(is_resumed));
    }

    pub(super) fn count_failure(&mut self, failure: TlsFailure) {
        self.failures.add_one(failure as usize, 0);
    }

    pub(super) fn handshakes(&self, version: TlsVersion, is_resumed: bool) -> u64 {
        self.handshakes.count(version as usize, usize::from(is_resumed))
    }

    pub(super) fn failures(&self, failure: TlsFailure) -> u64 {
        self.failures.count(failure as usize, 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.handshakes.add(&other.handshakes);
        self.failures.add(&other.failures);
    }

    pub(super) fn render(&self, page: &mut Exposition<'_>) {
        let help =
            "Handshakes of TLS that came to their end, by version; resumed: an earlier session went on.";
        page.family("annulus_tls_handshakes_total", Kind::Counter, help);
        for version in TlsVersion::ALL {
            for is_resumed in [false, true] {
                let labels = format_args!("version=\"{}\",resumed=\"{is_resumed}\"", version.label());
                page.labelled(labels, self.handshakes(version, is_resumed));
            }
        }
        let help = "Connections with TLS that came to nothing, or ended in another way than they should.";
        page.family("annulus_tls_failures_total", Kind::Counter, help);
        for failure in TlsFailure::ALL {
            page.labelled(format_args!("reason=\"{}\"", failure.label()), self.failures(failure));
        }
    }
}

/// Appends how often certificates were read again that counted from then on, and how often such that could not be used.
pub fn render_tls_reloads((reloads, refused): (u64, u64), out: &mut String) {
    let mut page = Exposition::new(out);
    let help = "Times that certificates were read again and counted from then on.";
    page.family("annulus_tls_reloads_total", Kind::Counter, help);
    page.value(reloads);
    let help = "Times that certificates were read again and could not be used; what was in force stayed.";
    page.family("annulus_tls_reloads_refused_total", Kind::Counter, help);
    page.value(refused);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_their_discriminants() {
        assert!(TlsVersion::ALL.iter().enumerate().all(|(index, &version)| version as usize == index));
        assert!(TlsFailure::ALL.iter().enumerate().all(|(index, &failure)| failure as usize == index));
    }
}
