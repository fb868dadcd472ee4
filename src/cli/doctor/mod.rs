//! `annulus doctor`: looks at the host the way the server will, and says what to raise and how.
//!
//! Invariant: it leaves nothing behind. `FAIL` means the server does not start or cannot do what the flags promise;
//! `warn` means it runs worse than it could.

mod kernel;
mod network;
mod resources;
mod storage;

use std::fmt;
use std::io;

use super::{Serve, stdout};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug)]
struct Check {
    verdict: Verdict,
    what: &'static str,
    /// What there is.
    found: String,
    /// What to do, with the command to type; a remark if the verdict is `Ok`. Empty: nothing.
    advice: String,
}

impl Check {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what, found: found.into(), advice: String::new() }
    }

    fn warn(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, what, found: found.into(), advice: advice.into() }
    }

    fn fail(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, what, found: found.into(), advice: advice.into() }
    }

    /// Adds a remark to a check that came out well.
    fn remark(self, remark: impl Into<String>) -> Self {
        Self { advice: remark.into(), ..self }
    }
}

/// Runs every check and prints the report to stdout; whether none has failed.
///
/// # Errors
/// If the report cannot be printed.
pub fn run(serve: &Serve) -> io::Result<bool> {
    let remarks = serve.remarks.iter().map(|remark| {
        let (found, advice) = remark.split_once("; ").unwrap_or((remark, ""));
        Check::warn("environment", found, advice)
    });
    let checks = [
        remarks.collect(),
        kernel::checks(serve),
        resources::checks(serve),
        network::checks(serve),
        storage::checks(serve),
    ];
    let report = Report { checks: checks.concat() };
    stdout::print(&report.to_string())?;
    Ok(report.count(Verdict::Fail) == 0)
}

struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what_width = self.checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
        for Check { verdict, what, found, advice } in &self.checks {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            let arrow = if advice.is_empty() { "" } else { "  → " };
            writeln!(f, "{verdict:<4}  {what:<what_width$}  {found}{arrow}{advice}")?;
        }
        match (self.count(Verdict::Fail), self.count(Verdict::Warn)) {
            (0, 0) => writeln!(f, "\nready to serve"),
            (0, warnings) => writeln!(f, "\nready to serve; {warnings} to improve"),
            (failures, _) => writeln!(f, "\nnot ready: {failures} failed"),
        }
    }
}

/// The first whole number of a file of the kernel; `None` where the file or the number is missing.
fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_one_line_and_failures_decide() {
        let mut report =
            Report { checks: vec![Check::ok("kernel", "6.1"), Check::warn("open files", "9", "raise")] };
        let expected =
            "ok    kernel      6.1\nwarn  open files  9  → raise\n\nready to serve; 1 to improve\n";
        assert_eq!(report.to_string(), expected);
        report.checks.push(Check::fail("io_uring", "none", "upgrade"));
        assert!(report.to_string().ends_with("FAIL  io_uring    none  → upgrade\n\nnot ready: 1 failed\n"));
    }
}
