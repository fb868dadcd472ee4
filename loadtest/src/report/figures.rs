//! Named numbers of one run, and of several runs together.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The numbers of one run, each under a name that ends in its unit.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    numbers: BTreeMap<String, f64>,
}

impl Figures {
    pub fn set(&mut self, name: &str, number: f64) {
        self.numbers.insert(name.to_owned(), number);
    }

    /// Sets `<name>_p50_us` and so on, from a histogram of nanoseconds; nothing if it is empty.
    pub fn set_latency(&mut self, name: &str, latency_ns: &Histogram<u64>) {
        if latency_ns.is_empty() {
            return;
        }
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];
        for (suffix, quantile) in quantiles {
            self.set(&format!("{name}_{suffix}_us"), latency_ns.value_at_quantile(quantile) as f64 / 1e3);
        }
        self.set(&format!("{name}_max_us"), latency_ns.max() as f64 / 1e3);
    }

    /// Sets what this is of `other`, whose figures have the same names, in percent.
    pub fn set_ratios(&mut self, other_name: &str, other: &Self) {
        for name in ["throughput_per_second", "operations_per_cpu_second"] {
            if let Some((own, other)) = self.number(name).zip(other.number(name)) {
                self.set(&format!("{name}_percent_of_{other_name}"), 100.0 * own / other);
            }
        }
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers.get(name).copied()
    }
}

/// One scenario run once: what it is called, what it counts, what it found.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub title: String,
    /// What one operation is, in the singular.
    pub operation: &'static str,
    pub figures: Figures,
    /// What was verified, in one sentence.
    pub checked: String,
}

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// One scenario over all its runs.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub title: String,
    pub operation: &'static str,
    pub runs: usize,
    pub figures: BTreeMap<String, Spread>,
    pub checked: String,
    pub warnings: Vec<String>,
}

/// A server below this was waiting for somebody; the load above its own limit is who it waited for.
const SERVER_BUSY_PERCENT: f64 = 95.0;
const LOAD_BUSY_PERCENT: f64 = 97.0;

impl Summary {
    /// `runs`: the same scenario, at least once.
    pub fn of(runs: &[&Outcome]) -> Option<Self> {
        let first = runs.first()?;
        let mut figures = BTreeMap::new();
        for name in first.figures.numbers.keys() {
            let numbers = runs.iter().filter_map(|run| run.figures.number(name)).collect();
            figures.insert(name.clone(), spread(numbers));
        }
        let mut summary = Self {
            title: first.title.clone(),
            operation: first.operation,
            runs: runs.len(),
            figures,
            checked: first.checked.clone(),
            warnings: Vec::new(),
        };
        // Of runs that miss a target and others that do not, the majority speaks.
        let verdict = summary.median("missed");
        if let Some(run) =
            runs.iter().find(|run| verdict.is_some() && run.figures.number("missed") == verdict)
        {
            summary.checked.clone_from(&run.checked);
        }
        summary.warn_if_the_client_was_measured();
        summary.warn_if_there_was_no_disk();
        Some(summary)
    }

    pub fn median(&self, name: &str) -> Option<f64> {
        self.figures.get(name).map(|spread| spread.median)
    }

    /// Whether at least half of the runs missed the target, where there is one.
    pub fn is_missed(&self) -> bool {
        self.median("missed").is_some_and(|missed| missed >= 0.5)
    }

    fn warn_if_there_was_no_disk(&mut self) {
        if self.median("disk_is_memory").is_some() {
            self.warnings.push(
                "the data directory is in memory: what is durable there costs nothing and survives nothing; name \
                 a folder on a disk with --data-parent or --disk-probe"
                    .to_owned(),
            );
        }
    }

    fn warn_if_the_client_was_measured(&mut self) {
        let (Some(server), Some(load)) = (self.median("server_cpu_percent"), self.median("load_cpu_percent"))
        else {
            return;
        };
        if server < SERVER_BUSY_PERCENT && load > LOAD_BUSY_PERCENT {
            self.warnings.push(format!(
                "the load generator was the bottleneck (load {load:.0} % of its core, server {server:.0} %): \
                 throughput and latency are the client's; only the figures per operation are the server's"
            ));
        }
    }
}

fn spread(mut numbers: Vec<f64>) -> Spread {
    numbers.sort_by(f64::total_cmp);
    let (min, max) = (numbers[0], numbers[numbers.len() - 1]);
    let middle = numbers.len() / 2;
    let median =
        if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 };
    Spread { median, min, max }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(server: f64, load: f64) -> Outcome {
        let mut figures = Figures::default();
        figures.set("server_cpu_percent", server);
        figures.set("load_cpu_percent", load);
        Outcome { title: "t".to_owned(), operation: "op", figures, checked: String::new() }
    }

    #[test]
    fn median_of_an_odd_and_an_even_number_of_runs() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(vec![4.0, 1.0]).median, 2.5);
    }

    #[test]
    fn ratio_needs_the_figure_on_both_sides() {
        let (mut own, mut other) = (Figures::default(), Figures::default());
        own.set("throughput_per_second", 30.0);
        own.set("operations_per_cpu_second", 1.0);
        other.set("throughput_per_second", 50.0);
        own.set_ratios("memory", &other);
        assert_eq!(own.number("throughput_per_second_percent_of_memory"), Some(60.0));
        assert_eq!(own.number("operations_per_cpu_second_percent_of_memory"), None);
    }

    #[test]
    fn majority_of_the_runs_says_whether_a_target_is_missed_and_why() {
        let run = |missed: f64, checked: &str| {
            let mut run = Outcome { checked: checked.to_owned(), ..outcome(0.0, 0.0) };
            run.figures.set("missed", missed);
            run
        };
        let (good, bad) = (run(0.0, "all well"), run(1.0, "p99"));
        let of =
            |runs: [&Outcome; 3]| Summary::of(&runs).map(|summary| (summary.is_missed(), summary.checked));
        assert_eq!(of([&good, &bad, &bad]), Some((true, "p99".to_owned())));
        assert_eq!(of([&bad, &good, &good]), Some((false, "all well".to_owned())));
        assert!(!Summary::of(&[&outcome(1.0, 1.0)]).unwrap().is_missed());
    }

    #[test]
    fn folder_in_memory_is_warned_of() {
        let mut outcome = outcome(99.0, 50.0);
        outcome.figures.set("disk_is_memory", 1.0);
        assert_eq!(Summary::of(&[&outcome]).unwrap().warnings.len(), 1);
    }

    #[test]
    fn busy_load_beside_an_idle_server_is_called_the_bottleneck() {
        assert_eq!(Summary::of(&[&outcome(60.0, 99.0)]).unwrap().warnings.len(), 1);
        for (server, load) in [(99.0, 99.0), (60.0, 50.0)] {
            assert!(Summary::of(&[&outcome(server, load)]).unwrap().warnings.is_empty(), "{server} {load}");
        }
    }
}
