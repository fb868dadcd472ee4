//! The Prometheus text format, version 0.0.4: a family's HELP and TYPE, then its samples.
//!
//! Invariant: samples belong to the family opened last, so no name is ever written without its TYPE.

use std::fmt::{self, Write};

/// What a family of samples is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Summary,
}

/// Appends families to a text.
pub(super) struct Exposition<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Exposition<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out, name: "" }
    }

    /// Opens the family `name`. `help` has no line break and no backslash, being a docstring of ours.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        self.name = name;
        self.line(format_args!("# HELP {name} {}", help.trim()));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample without labels.
    pub(super) fn value(&mut self, value: impl fmt::Display) {
        let name = self.name;
        self.line(format_args!("{name} {value}"));
    }

    /// One sample with `labels`, written as `key="value",key="value"`.
    pub(super) fn labelled(&mut self, labels: fmt::Arguments<'_>, value: impl fmt::Display) {
        let name = self.name;
        self.line(format_args!("{name}{{{labels}}} {value}"));
    }

    /// One sample whose name is the family's with `suffix`: `_sum` or `_count` of a summary.
    pub(super) fn suffixed(&mut self, suffix: &str, value: impl fmt::Display) {
        let name = self.name;
        self.line(format_args!("{name}{suffix} {value}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.out, "{line}");
    }
}
