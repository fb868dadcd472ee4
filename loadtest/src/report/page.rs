//! The page for people: one block of lines per scenario.

use std::fmt::Write as _;

use super::figures::{Spread, Summary};
use super::file::Machine;
use super::lines::{LINES, Shown};
use super::table;

pub fn render(machine: &Machine, results: &[Summary]) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "{} · Linux {} · {} cores", machine.processor, machine.kernel, machine.cores);
    for summary in results.iter().filter(|summary| !table::is_row(summary)) {
        render_summary(&mut page, summary);
    }
    table::render(&mut page, results);
    page
}

fn render_summary(page: &mut String, summary: &Summary) {
    let runs =
        if summary.runs == 1 { String::new() } else { format!("   median of {} [min–max]", summary.runs) };
    let _ = writeln!(page, "\n{}{runs}", summary.title);
    for (caption, line) in LINES {
        let shown: Vec<String> = line.iter().filter_map(|shown| render_figure(shown, summary)).collect();
        if !shown.is_empty() {
            let _ = writeln!(page, "  {caption:<15} {}", shown.join("   "));
        }
    }
    let _ = writeln!(page, "  {:<15} {}", "checked", summary.checked);
    for warning in &summary.warnings {
        let _ = writeln!(page, "  WARNING: {warning}");
    }
}

fn render_figure(Shown(name, before, after, decimals): &Shown, summary: &Summary) -> Option<String> {
    let Some(spread) = summary.figures.get(*name) else {
        return why_absent(name, summary).map(str::to_owned);
    };
    let after = after.replace("{ops}", &plural(summary.operation)).replace("{op}", summary.operation);
    let median = grouped(spread.median, *decimals);
    if summary.runs == 1 {
        return Some(format!("{before}{median}{after}"));
    }
    let Spread { min, max, .. } = *spread;
    Some(format!("{before}{median}{after} [{}–{}]", grouped(min, *decimals), grouped(max, *decimals)))
}

/// What stands in the place of a figure that a reader expects beside the others.
fn why_absent(name: &str, summary: &Summary) -> Option<&'static str> {
    let has = |other: &str| summary.figures.contains_key(other);
    match name {
        "server_user_us_per_operation" if has("server_cpu_us_per_operation") => {
            Some("(user n/a: too few ticks of the kernel)")
        }
        "messages_per_send" if has("sends_unknown") => {
            Some("messages/send n/a: the server has no such counters")
        }
        _ => None,
    }
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// A number with its thousands apart.
fn grouped(number: f64, decimals: usize) -> String {
    let plain = format!("{:.decimals$}", number.abs());
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
    let mut text = if number < 0.0 { "-".to_owned() } else { String::new() };
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Figures, Outcome};
    use super::*;

    #[test]
    fn absent_figure_has_its_reason_where_it_is_expected_and_nowhere_else() {
        let page_with = |names: &[&str]| {
            let mut figures = Figures::default();
            names.iter().for_each(|name| figures.set(name, 1.0));
            let outcome = Outcome { title: "t".to_owned(), operation: "op", figures, checked: String::new() };
            let mut page = String::new();
            render_summary(&mut page, &Summary::of(&[&outcome]).unwrap());
            page
        };
        let page = page_with(&["server_cpu_us_per_operation"]);
        assert!(page.contains("user n/a") && !page.contains("messages/send"), "{page}");
        assert!(!page_with(&["server_rss_mib"]).contains("n/a"), "a scenario that does not measure sends");
        let page = page_with(&["server_rss_mib", "sends_unknown"]);
        assert!(page.contains("messages/send n/a"), "{page}");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(1_234_567.0, 0), "1 234 567");
        assert_eq!(grouped(-0.26, 3), "-0.260");
        assert_eq!(grouped(999.0, 0), "999");
    }
}
