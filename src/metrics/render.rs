//! Renders the summed metrics as the answer of `GET /metrics`.

use super::exposition::{Exposition, Kind};
use super::{Latency, Metrics, OpKind, OpOutcome, RateOf, Refusal};

/// The quantiles of every summary, as labels and as fractions.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999)];

const NS_PER_SECOND: f64 = 1e9;

impl Metrics {
    /// Value of the `Content-Type` header of what [`Metrics::render`] writes.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Appends everything in the Prometheus text format. Durations are in seconds and cover the time since
    /// the start of the process; labels whose count is zero are written too, except of close codes.
    pub fn render(&self, out: &mut String) {
        let mut page = Exposition::new(out);
        page.family("annulus_build_info", Kind::Gauge, "The version that runs.");
        page.labelled(format_args!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
        for (name, help, value) in self.counters() {
            page.family(name, Kind::Counter, help);
            page.value(value);
        }
        self.render_labelled(&mut page);
        for (name, help, value) in self.gauges() {
            page.family(name, Kind::Gauge, help);
            page.value(value);
        }
        let turn_help = "Seconds from the first completion of a turn to its end.";
        summary(&mut page, "annulus_turn_seconds", turn_help, &self.turn_ns);
        let op_help = "Seconds from the receipt of a request to its answer being queued.";
        summary(&mut page, "annulus_op_seconds", op_help, &self.op_ns);
        let load_help = "Seconds from the first use of a map that is not in memory until it is.";
        summary(&mut page, "annulus_map_load_seconds", load_help, &self.load_ns);
    }

    fn render_labelled(&self, page: &mut Exposition<'_>) {
        let help =
            "WebSockets told to come back later, and connections closed for want of room even for that.";
        page.family("annulus_refusals_total", Kind::Counter, help);
        for refusal in Refusal::ALL {
            page.labelled(format_args!("reason=\"{}\"", refusal.label()), self.refusals(refusal));
        }
        page.family(
            "annulus_rate_limited_total",
            Kind::Counter,
            "Messages refused, by whose rate they were over.",
        );
        for of in RateOf::ALL {
            page.labelled(format_args!("of=\"{}\"", of.label()), self.rate_limited(of));
        }
        let help = "WebSockets ended, by close code; 1006: without a close frame; other: a code that its peer made up.";
        page.family("annulus_closes_total", Kind::Counter, help);
        self.closes.for_each(|code, count| page.labelled(format_args!("code=\"{code}\""), count));
        self.tls.render(page);
        let help = "Operations on single keys; lost: an equal or newer state was there.";
        page.family("annulus_ops_total", Kind::Counter, help);
        for kind in OpKind::ALL {
            for outcome in OpOutcome::ALL {
                let (kind_label, outcome_label) = (kind.label(), outcome.label());
                let labels = format_args!("kind=\"{kind_label}\",outcome=\"{outcome_label}\"");
                page.labelled(labels, self.ops(kind, outcome));
            }
        }
    }
}

pub(super) fn summary(page: &mut Exposition<'_>, name: &'static str, help: &str, latency: &Latency) {
    page.family(name, Kind::Summary, help);
    for (label, quantile) in QUANTILES {
        // Without a sample there is no quantile; Prometheus wants NaN then.
        let seconds = match latency.count() {
            0 => f64::NAN,
            _ => latency.quantile_ns(quantile) as f64 / NS_PER_SECOND,
        };
        page.labelled(format_args!("quantile=\"{label}\""), seconds);
    }
    page.suffixed("_sum", latency.sum_ns() as f64 / NS_PER_SECOND);
    page.suffixed("_count", latency.count());
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::tests::uniform;
    use super::super::{ProcessMetrics, StorageMetrics};
    use super::*;

    fn rendered(metrics: &Metrics) -> String {
        let mut out = String::new();
        metrics.render(&mut out);
        out
    }

    #[test]
    fn the_process_adds_a_valid_page_of_what_is_known() {
        let mut page = rendered(&uniform(1));
        let process = ProcessMetrics {
            cpu_seconds: Some(1.25),
            resident_bytes: Some(20 << 20),
            open_files: Some(12),
            open_files_max: Some(1024),
            started_seconds: Some(1_700_000_000.5),
        };
        process.render(&mut page);
        let samples = check(&page).unwrap();
        assert_eq!(samples["process_cpu_seconds_total"], 1.25);
        assert_eq!(samples["process_resident_memory_bytes"], f64::from(20 << 20));
        assert_eq!((samples["process_open_fds"], samples["process_max_fds"]), (12.0, 1024.0));
        assert_eq!(samples["process_start_time_seconds"], 1_700_000_000.5);
        let mut nothing = String::new();
        ProcessMetrics::default().render(&mut nothing);
        assert_eq!(nothing, "");
    }

    /// Checks a page against the text format and returns its samples: name with labels, and value.
    ///
    /// # Errors
    /// The first line that breaks a rule, and which.
    fn check(page: &str) -> Result<BTreeMap<String, f64>, String> {
        let legal = |name: &str| {
            ["annulus_", "process_"].iter().any(|prefix| name.starts_with(prefix))
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
        let mut samples = BTreeMap::new();
        if !page.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        for line in page.lines() {
            let fail = |rule: &str| Err(format!("{rule}: {line}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let Some((name, text)) = rest.split_once(' ') else { return fail("HELP without text") };
                if !legal(name) || text.trim().is_empty() || !helps.insert(name) {
                    return fail("illegal, empty or duplicate HELP");
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = rest.split_once(' ') else { return fail("TYPE without kind") };
                if !["counter", "gauge", "summary"].contains(&kind) || types.insert(name, kind).is_some() {
                    return fail("unknown kind or duplicate TYPE");
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return fail("only counters end in _total");
                }
            } else {
                let Some((series, value)) = line.rsplit_once(' ') else { return fail("no value") };
                let Ok(value) = value.parse::<f64>() else { return fail("not a number") };
                let name = series.split('{').next().unwrap_or_default();
                let family = name.strip_suffix("_sum").or(name.strip_suffix("_count"));
                let family = family.filter(|family| types.get(family) == Some(&"summary")).unwrap_or(name);
                if !legal(name) || !helps.contains(family) || !types.contains_key(family) {
                    return fail("sample without HELP or TYPE");
                }
                let labels = series.strip_prefix(name).unwrap_or_default();
                let braced = labels.starts_with("{") && labels.ends_with("\"}");
                if !labels.is_empty() && !braced {
                    return fail("labels are not in braces");
                }
                if samples.insert(series.to_owned(), value).is_some() {
                    return fail("duplicate sample");
                }
            }
        }
        Ok(samples)
    }

    #[test]
    fn the_page_is_valid_and_complete() {
        let metrics = uniform(7);
        let samples = check(&rendered(&metrics)).unwrap();
        assert_eq!(samples["annulus_accepts_total"], 7.0);
        assert_eq!(samples["annulus_cells"], 7.0);
        assert_eq!(samples["annulus_refusals_total{reason=\"per_ip\"}"], 7.0);
        assert_eq!(samples["annulus_closes_total{code=\"1000\"}"], 7.0);
        assert_eq!(samples["annulus_ops_total{kind=\"increment\",outcome=\"lost\"}"], 7.0);
        assert_eq!(samples["annulus_op_seconds_count"], 7.0);
        assert_eq!(samples["annulus_op_seconds_sum"], 14_000.0 / 1e9);
    }

    #[test]
    fn an_idle_server_has_a_valid_page() {
        let samples = check(&rendered(&Metrics::default())).unwrap();
        assert!(samples["annulus_turn_seconds{quantile=\"0.5\"}"].is_nan());
        assert_eq!(samples["annulus_turn_seconds_count"], 0.0);
    }

    #[test]
    fn the_storage_adds_a_valid_page() {
        let storage = StorageMetrics::default();
        storage.groups.add(3);
        storage.checkpoint_unix_ms.set(1_000);
        (0..7).for_each(|_| storage.record_sync(2_000_000));
        let mut page = rendered(&uniform(1));
        storage.render(3_500, true, &mut page);
        let samples = check(&page).unwrap();
        assert_eq!(samples["annulus_journal_groups_total"], 3.0);
        assert_eq!(samples["annulus_checkpoint_age_seconds"], 2.5);
        assert_eq!(samples["annulus_read_only"], 1.0);
        assert_eq!(samples["annulus_sync_seconds_count"], 7.0);
        assert!((0.0019..0.0021).contains(&samples["annulus_sync_seconds{quantile=\"0.99\"}"]));
    }

    #[test]
    fn every_plain_number_reaches_the_page() {
        let metrics = Metrics::default();
        let samples = check(&rendered(&metrics)).unwrap();
        for (name, _, _) in metrics.counters().chain(metrics.gauges()) {
            assert!(samples.contains_key(name), "{name}");
        }
    }

    #[test]
    fn rendered_quantiles_are_monotone() {
        let mut metrics = Metrics::default();
        (1..=5_000).for_each(|n| metrics.turn_ns.record(n * n));
        let samples = check(&rendered(&metrics)).unwrap();
        let found =
            QUANTILES.map(|(label, _)| samples[&format!("annulus_turn_seconds{{quantile=\"{label}\"}}")]);
        assert!(found.is_sorted() && found[0] < found[3], "{found:?}");
    }

    #[test]
    fn the_checker_refuses_broken_pages() {
        let head = "# HELP annulus_a_total A.\n# TYPE annulus_a_total counter\n";
        assert!(check(&format!("{head}annulus_a_total 1\n")).is_ok());
        assert!(check("annulus_a_total 1\n").is_err(), "no HELP");
        assert!(check(&format!("{head}annulus_a_total 1\nannulus_a_total 1\n")).is_err(), "duplicate");
        assert!(check(&format!("{head}annulus_a_total x\n")).is_err(), "no number");
        assert!(check(&format!("{head}annulus_a_total 1")).is_err(), "no line end");
        assert!(check(&format!("{head}annulus_b_total 1\n")).is_err(), "another family");
        assert!(check(&head.replace("_total", "")).is_err(), "counter without _total");
    }
}
