//! `ops/grafana.json`, made from the panels below and held against them.
//! `BLESS=1 cargo test --test operations dashboard` writes it anew.

use std::path::Path;

use serde_json::{Value, json};

use crate::watching::{metrics_of_the_page, names_in};

/// A row of panels.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// A panel: its title, the unit of Grafana, and a legend and an expression for each line.
struct Panel {
    title: &'static str,
    unit: &'static str,
    lines: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    lines: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, unit, lines }
}

/// `$i` stands for the instances that are chosen, and `$r` for the interval of rates.
const ROWS: [Row; 6] = [
    Row {
        title: "Now",
        panels: &[
            panel(
                "Connections",
                "short",
                &[
                    ("WebSockets", "annulus_connections{$i}"),
                    ("sockets", "annulus_sockets{$i}"),
                    ("subscriptions", "annulus_subscriptions{$i}"),
                ],
            ),
            panel(
                "Messages",
                "ops",
                &[
                    ("received", "rate(annulus_messages_received_total{$i}[$r])"),
                    ("sent", "rate(annulus_messages_sent_total{$i}[$r])"),
                    ("changes", "rate(annulus_changes_total{$i}[$r])"),
                    ("deliveries", "rate(annulus_deliveries_total{$i}[$r])"),
                ],
            ),
            panel(
                "Bytes",
                "Bps",
                &[
                    ("received", "rate(annulus_bytes_received_total{$i}[$r])"),
                    ("sent", "rate(annulus_bytes_sent_total{$i}[$r])"),
                ],
            ),
            panel(
                "CPU, all threads",
                "percentunit",
                &[("{{instance}}", "rate(process_cpu_seconds_total{$i}[$r])")],
            ),
            panel(
                "Mean turn and request",
                "s",
                &[
                    (
                        "turn",
                        "rate(annulus_turn_seconds_sum{$i}[$r]) / rate(annulus_turn_seconds_count{$i}[$r])",
                    ),
                    (
                        "request",
                        "rate(annulus_op_seconds_sum{$i}[$r]) / rate(annulus_op_seconds_count{$i}[$r])",
                    ),
                    (
                        "sync",
                        "rate(annulus_sync_seconds_sum{$i}[$r]) / rate(annulus_sync_seconds_count{$i}[$r])",
                    ),
                ],
            ),
            panel(
                "p99 since the start",
                "s",
                &[
                    ("turn", "annulus_turn_seconds{$i,quantile=\"0.99\"}"),
                    ("request", "annulus_op_seconds{$i,quantile=\"0.99\"}"),
                    ("sync", "annulus_sync_seconds{$i,quantile=\"0.99\"}"),
                ],
            ),
        ],
    },
    Row {
        title: "Clients that come, go and are turned away",
        panels: &[
            panel(
                "Accepted",
                "cps",
                &[
                    ("accepted", "rate(annulus_accepts_total{$i}[$r])"),
                    ("WebSockets", "rate(annulus_handshakes_total{$i}[$r])"),
                    ("handshakes refused", "rate(annulus_handshakes_refused_total{$i}[$r])"),
                ],
            ),
            panel(
                "Refused, by reason",
                "cps",
                &[("{{reason}}", "sum by (reason) (rate(annulus_refusals_total{$i}[$r]))")],
            ),
            panel(
                "Ended, by code",
                "cps",
                &[("{{code}}", "sum by (code) (rate(annulus_closes_total{$i}[$r]))")],
            ),
            panel(
                "Over a rate, and wrong",
                "ops",
                &[
                    ("over the rate of {{of}}", "sum by (of) (rate(annulus_rate_limited_total{$i}[$r]))"),
                    ("rejected", "rate(annulus_requests_rejected_total{$i}[$r])"),
                    ("no JSON", "rate(annulus_bad_messages_total{$i}[$r])"),
                    ("credentials refused", "rate(annulus_auth_refused_total{$i}[$r])"),
                ],
            ),
        ],
    },
    Row {
        title: "Subscribers",
        panels: &[
            panel(
                "How they begin",
                "ops",
                &[
                    ("resumed", "rate(annulus_resumes_total{$i}[$r])"),
                    ("reset", "rate(annulus_resets_total{$i}[$r])"),
                    ("snapshots", "rate(annulus_snapshots_total{$i}[$r])"),
                ],
            ),
            panel(
                "Slow ones",
                "ops",
                &[
                    ("conflated", "rate(annulus_conflations_total{$i}[$r])"),
                    ("closed with 4008", "rate(annulus_slow_consumers_total{$i}[$r])"),
                ],
            ),
            panel(
                "Held for them",
                "bytes",
                &[("waiting", "annulus_outbox_bytes{$i}"), ("of memory", "annulus_outbox_held_bytes{$i}")],
            ),
        ],
    },
    Row {
        title: "Maps and memory",
        panels: &[
            panel(
                "Memory",
                "bytes",
                &[
                    ("process", "process_resident_memory_bytes{$i}"),
                    ("maps", "annulus_map_resident_bytes{$i}"),
                    ("outboxes", "annulus_outbox_held_bytes{$i}"),
                    ("sessions", "annulus_session_bytes{$i}"),
                    ("presence", "annulus_presence_bytes{$i}"),
                ],
            ),
            panel(
                "Maps and cells",
                "short",
                &[("maps", "annulus_map_names{$i}"), ("cells", "annulus_cells{$i}")],
            ),
            panel(
                "Loaded and evicted",
                "ops",
                &[
                    ("loads", "rate(annulus_map_loads_total{$i}[$r])"),
                    ("evictions", "rate(annulus_map_evictions_total{$i}[$r])"),
                    ("failed", "rate(annulus_map_loads_failed_total{$i}[$r])"),
                ],
            ),
        ],
    },
    Row {
        title: "Storage",
        panels: &[
            panel(
                "Journal",
                "bytes",
                &[
                    ("not durable", "annulus_journal_pending_bytes{$i}"),
                    ("not folded", "annulus_journal_unfolded_bytes{$i}"),
                ],
            ),
            panel(
                "Written",
                "Bps",
                &[
                    ("journal", "rate(annulus_journal_bytes_total{$i}[$r])"),
                    ("writers may", "annulus_write_rate_limit_bytes{$i}"),
                ],
            ),
            panel(
                "Disk",
                "bytes",
                &[("free", "annulus_disk_free_bytes{$i}"), ("to be freed", "annulus_disk_short_bytes{$i}")],
            ),
            panel("Read only", "bool_yes_no", &[("{{instance}}", "annulus_read_only{$i}")]),
        ],
    },
    Row {
        title: "Shards, kernel, application",
        panels: &[
            panel(
                "Shards that wait for each other",
                "ops",
                &[
                    ("stalls", "rate(annulus_mesh_stalls_total{$i}[$r])"),
                    ("ring overflows", "rate(annulus_ring_overflows_total{$i}[$r])"),
                    ("ring failures", "rate(annulus_ring_failures_total{$i}[$r])"),
                    ("buffer shortages", "rate(annulus_buffer_shortages_total{$i}[$r])"),
                ],
            ),
            panel(
                "Descriptors",
                "short",
                &[("open", "process_open_fds{$i}"), ("may be open", "process_max_fds{$i}")],
            ),
            panel("Hooks behind", "s", &[("lag", "annulus_hooks_lag_seconds{$i}")]),
            panel(
                "Events and questions",
                "ops",
                &[
                    ("delivered", "rate(annulus_hooks_delivered_total{$i}[$r])"),
                    (
                        "lost",
                        "rate(annulus_hooks_lost_total{$i}[$r]) + rate(annulus_hooks_dropped_total{$i}[$r])",
                    ),
                    ("{{outcome}}", "sum by (outcome) (rate(annulus_questions_total{$i}[$r]))"),
                ],
            ),
        ],
    },
];

const COLUMNS: u64 = 3;
const PANEL: (u64, u64) = (24 / COLUMNS, 7);

fn dashboard() -> Value {
    let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
    for row in ROWS {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
        }));
        y += 1;
        for (place, panel) in (0..).zip(row.panels) {
            id += 1;
            let at = (place % COLUMNS * PANEL.0, y + place / COLUMNS * PANEL.1);
            panels.push(panel_json(panel, id, at));
        }
        y += (row.panels.len() as u64).div_ceil(COLUMNS) * PANEL.1;
    }
    let query = |name: &str, query: &str, label: &str| {
        json!({
            "name": name, "type": "query", "label": label, "datasource": datasource(),
            "query": {"query": query, "refId": name}, "refresh": 2, "multi": true, "includeAll": true,
            "current": {"text": "All", "value": "$__all"},
        })
    };
    json!({
        "uid": "annulus", "title": "Annulus", "tags": ["annulus"], "schemaVersion": 38, "editable": true,
        "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [
            {"name": "source", "type": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}},
            query("instance", "label_values(annulus_build_info, instance)", "Server"),
        ]},
        "panels": panels,
    })
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${source}"})
}

fn panel_json(panel: &Panel, id: u64, (x, y): (u64, u64)) -> Value {
    let targets: Vec<Value> = ('A'..)
        .zip(panel.lines)
        .map(|(letter, (legend, expression))| {
            let expression = expression.replace("$i", "instance=~\"$instance\"").replace("$r", "$__rate_interval");
            json!({"refId": letter.to_string(), "expr": expression, "legendFormat": legend, "datasource": datasource()})
        })
        .collect();
    json!({
        "id": id, "type": "timeseries", "title": panel.title, "datasource": datasource(), "targets": targets,
        "gridPos": {"h": PANEL.1, "w": PANEL.0, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    })
}

#[test]
fn the_dashboard_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/grafana.json");
    let made = format!("{:#}\n", dashboard());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == made, "ops/grafana.json is behind: BLESS=1 cargo test --test operations dashboard");
}

#[test]
fn every_line_of_the_dashboard_is_a_series_that_there_is() {
    let known = metrics_of_the_page();
    let mut count = 0;
    for (panel, (_, expression)) in ROWS
        .iter()
        .flat_map(|row| row.panels)
        .flat_map(|panel| panel.lines.iter().map(move |line| (panel, line)))
    {
        let names = names_in(expression);
        assert!(!names.is_empty(), "{}: {expression}", panel.title);
        for name in names {
            assert!(known.contains(&name), "{}: {name} is not in docs/metrics.md", panel.title);
            count += 1;
        }
    }
    assert!(count > 40, "only {count} were looked at");
}
