//! The part of the page that is a table: a row for each behaviour beside which an ordinary client was measured.

use std::fmt::Write as _;

use super::figures::Summary;

/// What an operation is called in results that are rows of this table.
pub const OPERATION: &str = "request beside a neighbour";

/// A column: its figure, the figures it takes to be shown in the unit of the column, its width and its decimals.
struct Column(&'static str, f64, usize, usize);

const COLUMNS: [Column; 11] = [
    Column("alone_p50_us", 1e3, 7, 2),
    Column("alone_p99_us", 1e3, 7, 2),
    Column("alone_max_us", 1e3, 8, 2),
    Column("beside_p50_us", 1e3, 9, 2),
    Column("beside_p99_us", 1e3, 9, 2),
    Column("beside_max_us", 1e3, 9, 2),
    Column("p99_later_us", 1e3, 9, 2),
    Column("stored_mib", 1.0, 8, 0),
    Column("grown_mib", 1.0, 7, 0),
    Column("peak_mib", 1.0, 7, 0),
    Column("above_mib", 1.0, 7, 0),
];
const NAME_WIDTH: usize = 20;

const HEAD: &str = concat!(
    "                        victim alone, ms          beside it, ms                        server's memory, MiB\n",
    "behaviour                p50    p99     max      p50      p99      max    later  stored  grown   peak  above"
);

pub fn is_row(summary: &Summary) -> bool {
    summary.operation == OPERATION
}

/// Renders those of `results` that are rows; nothing if none is.
pub fn render(page: &mut String, results: &[Summary]) {
    let rows: Vec<&Summary> = results.iter().filter(|summary| is_row(summary)).collect();
    let Some(first) = rows.first() else { return };
    let runs = if first.runs == 1 { String::new() } else { format!(", medians of {}", first.runs) };
    let _ = writeln!(page, "\nneighbours   a ping each 10 ms, a write each 50 ms{runs}\n{HEAD}");
    for row in &rows {
        let _ = writeln!(page, "{}", render_row(row));
    }
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    let _ = writeln!(
        page,
        "{missed} of {} rows miss the target: p99 later by at most 5 ms, memory above what is stored at most 64 MiB",
        rows.len()
    );
    for row in rows {
        let mark = if row.is_missed() { "MISSED " } else { "" };
        let _ = writeln!(page, "  {:<NAME_WIDTH$} {mark}{}", row.title, row.checked);
    }
}

fn render_row(row: &Summary) -> String {
    let mut line = format!("{:<NAME_WIDTH$} ", row.title);
    for Column(name, unit, width, decimals) in COLUMNS {
        match row.median(name) {
            Some(number) => {
                let _ = write!(line, "{:>width$.decimals$}", number / unit);
            }
            None => {
                let _ = write!(line, "{:>width$}", "–");
            }
        }
    }
    if row.is_missed() {
        line.push_str("  MISSED");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Figures, Outcome};
    use super::*;

    fn row(name: &str, missed: f64) -> Summary {
        let mut figures = Figures::default();
        figures.set("beside_p99_us", 12_340.0);
        figures.set("missed", missed);
        let outcome =
            Outcome { title: name.to_owned(), operation: OPERATION, figures, checked: "p99".to_owned() };
        Summary::of(&[&outcome]).unwrap()
    }

    #[test]
    fn rows_that_miss_the_target_are_marked_and_counted() {
        let mut page = String::new();
        render(&mut page, &[row("importer", 1.0), row("paused", 0.0)]);
        assert!(page.contains("12.34") && page.contains("1 of 2 rows"), "{page}");
        let marked =
            |name: &str| page.lines().filter(|line| line.contains(name) && line.contains("MISSED")).count();
        assert_eq!((marked("importer"), marked("paused")), (2, 0), "{page}");
    }

    #[test]
    fn page_without_rows_has_no_table() {
        let mut page = String::new();
        render(&mut page, &[]);
        assert_eq!(page, "");
    }
}
