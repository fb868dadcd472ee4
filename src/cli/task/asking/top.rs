//! `annulus top`: the last second, drawn once a second. One drawing serves the terminal and `--once`, which prints it as text.

use std::io::{self, IsTerminal};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::print;
use super::socket::Server;
use crate::cli::task::TaskError;

const EVERY: Duration = Duration::from_secs(1);
/// Of the text of `--once`.
const WIDTH: u16 = 100;
/// Seconds that are drawn.
const SECONDS: &str = "90";

/// What is drawn.
struct Frame {
    server: Value,
    now: Value,
    history: Value,
}

impl Frame {
    fn ask(server: &Server) -> Result<Self, TaskError> {
        Ok(Self {
            server: server.get("server", &[])?,
            now: server.get("now", &[])?,
            history: server.get("history", &[("limit", Some(SECONDS))])?,
        })
    }

    fn height(&self) -> u16 {
        let shards = self.now["shards"].as_array().map_or(0, Vec::len);
        u16::try_from(shards).unwrap_or(u16::MAX).saturating_add(HEAD_LINES + 4)
    }
}

const HEAD_LINES: u16 = 7;

pub(super) fn run(server: &Server, once: bool) -> Result<(), TaskError> {
    if once || !io::stdout().is_terminal() {
        let frame = Frame::ask(server)?;
        return print(&text_of(&frame));
    }
    let mut terminal = ratatui::init();
    let ended = draw_on(&mut terminal, server);
    ratatui::restore();
    ended
}

fn draw_on(terminal: &mut ratatui::DefaultTerminal, server: &Server) -> Result<(), TaskError> {
    loop {
        let frame = Frame::ask(server)?;
        terminal.draw(|drawn| draw(&frame, drawn.area(), drawn.buffer_mut())).map_err(TaskError::Stdout)?;
        if event::poll(EVERY).map_err(TaskError::Stdout)?
            && let Event::Key(key) = event::read().map_err(TaskError::Stdout)?
        {
            let is_interrupt =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(());
            }
        }
    }
}

/// A frame as lines of text.
fn text_of(frame: &Frame) -> String {
    let backend = TestBackend::new(WIDTH, frame.height());
    // Nothing of a backend in memory can fail.
    let Ok(mut terminal) = Terminal::new(backend);
    let Ok(_) = terminal.draw(|drawn| draw(frame, drawn.area(), drawn.buffer_mut()));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    format!("{}\n", text.trim_end())
}

fn draw(frame: &Frame, area: Rect, buffer: &mut Buffer) {
    use ratatui::widgets::Widget;
    let [head, chart, shards] =
        Layout::vertical([Constraint::Length(HEAD_LINES), Constraint::Length(2), Constraint::Min(2)])
            .areas(area);
    Paragraph::new(head_of(frame)).render(head, buffer);
    let column = frame.history["sum"]["messages_received_per_second"].as_array();
    let seconds: Vec<u64> =
        column.into_iter().flatten().map(|value| value.as_f64().unwrap_or(0.0) as u64).collect();
    Sparkline::default().data(&seconds).render(chart, buffer);
    table_of(frame).render(shards, buffer);
}

fn head_of(frame: &Frame) -> Vec<Line<'static>> {
    let sum = &frame.now["sum"];
    let of = |name: &str| figure(&sum[name]);
    let server = &frame.server;
    let text = |name: &str| super::lists::shown(&server[name]);
    let draining = if server["is_draining"] == true { ", draining" } else { "" };
    let title = format!(
        "annulus {}  node {}  {} shards, {}{draining}",
        text("version"),
        text("node"),
        text("shards"),
        text("storage")
    );
    let quantiles = |of_what: &str| {
        let of = |quantile: &str| figure(&sum[format!("{of_what}_{quantile}_us")]);
        format!("{} / {} / {}", of("p50"), of("p99"), of("p999"))
    };
    vec![
        Line::styled(title, Style::new().add_modifier(Modifier::BOLD)),
        Line::raw(format!(
            "connections {}   users {}   subscriptions {}   maps {}   rooms {}   channels {}",
            of("connections"),
            of("users"),
            of("subscriptions"),
            of("maps"),
            of("rooms"),
            of("channels")
        )),
        Line::raw(format!(
            "each second: messages in {}, out {}   deliveries {}   ops {}   bytes in {}, out {}",
            of("messages_received_per_second"),
            of("messages_sent_per_second"),
            of("deliveries_per_second"),
            of("ops_per_second"),
            of("received_bytes_per_second"),
            of("sent_bytes_per_second")
        )),
        Line::raw(format!(
            "p50/p99/p999 in us: turns {}   acks {}   syncs {}",
            quantiles("turn"),
            quantiles("ack"),
            quantiles("sync")
        )),
        Line::raw(format!(
            "cores {}   memory {}   maps {}   outboxes {}   journal pending {}   lag {} us",
            of("cpu_cores"),
            of("resident_bytes"),
            of("map_bytes"),
            of("outbox_bytes"),
            of("journal_pending_bytes"),
            of("lag_us")
        )),
        Line::raw(""),
        Line::raw("messages in, each second:"),
    ]
}

const COLUMNS: [(&str, &str); 8] = [
    ("connections", "connections"),
    ("messages in/s", "messages_received_per_second"),
    ("ops/s", "ops_per_second"),
    ("deliveries/s", "deliveries_per_second"),
    ("turns/s", "turns_per_second"),
    ("turn p99 us", "turn_p99_us"),
    ("lag us", "lag_us"),
    ("map bytes", "map_bytes"),
];

fn table_of(frame: &Frame) -> Table<'static> {
    let shards = frame.now["shards"].as_array().cloned().unwrap_or_default();
    let row = |(shard, figures): (usize, &Value)| {
        let cells = COLUMNS.iter().map(|(_, name)| figure(&figures[*name]));
        Row::new(std::iter::once(shard.to_string()).chain(cells).collect::<Vec<_>>())
    };
    let head = std::iter::once("shard").chain(COLUMNS.iter().map(|(title, _)| *title));
    let head = Row::new(head.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = std::iter::once(5).chain(COLUMNS.iter().map(|(title, _)| title.len().max(9) as u16));
    Table::new(shards.iter().enumerate().map(row).collect::<Vec<_>>(), widths.map(Constraint::Length))
        .header(head)
}

/// A number that people read: three digits and a unit.
fn figure(value: &Value) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e4, "k")];
    let Some(number) = value.as_f64() else { return "-".to_owned() };
    match UNITS.iter().find(|(at_least, _)| number >= *at_least) {
        Some((_, "k")) => format!("{:.1}k", number / 1e3),
        Some((scale, unit)) => format!("{:.1}{unit}", number / scale),
        None if number.fract() == 0.0 => format!("{number:.0}"),
        None => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_is_the_same_as_text_and_has_a_line_for_each_shard() {
        let shard = json!({"connections": 3, "turn_p99_us": null, "map_bytes": 12_345_678});
        let frame = Frame {
            server: json!({"version": "1", "node": "n", "shards": 2, "storage": "disk", "is_draining": true}),
            now: json!({"sum": {"connections": 1_200, "ack_p99_us": 90_000, "cpu_cores": 1.5}, "shards": [shard, shard]}),
            history: json!({"sum": {"messages_received_per_second": [1, 5, null]}}),
        };
        let text = text_of(&frame);
        assert!(text.starts_with("annulus 1  node n  2 shards, disk, draining\nconnections 1200 "), "{text}");
        assert!(text.contains("acks - / 90.0k / -") && text.contains("cores 1.50"), "{text}");
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!((last[0], last[1], last.last()), ("1", "3", Some(&"12.3M")), "{text}");
    }
}
