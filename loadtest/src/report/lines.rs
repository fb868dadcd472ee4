//! The lines of a scenario's block on the page, in their order.

/// What a caption on the page shows: the figure's name, the text around it, and its decimals.
pub struct Shown(pub &'static str, pub &'static str, pub &'static str, pub usize);

/// A line of the page is left out when the run has none of its figures. `{op}` and `{ops}` stand for the operation.
pub const LINES: &[(&str, &[Shown])] = &[
    (
        "throughput",
        &[
            Shown("throughput_per_second", "", " {ops}/s", 0),
            Shown("operations_per_cpu_second", "", " per server CPU second", 0),
        ],
    ),
    (
        "latency",
        &[
            Shown("latency_p50_us", "p50 ", " µs", 1),
            Shown("latency_p90_us", "p90 ", "", 1),
            Shown("latency_p99_us", "p99 ", "", 1),
            Shown("latency_p99_9_us", "p99.9 ", "", 1),
            Shown("latency_max_us", "max ", "", 1),
        ],
    ),
    (
        "of memory",
        &[
            Shown("throughput_per_second_percent_of_memory", "", " % of the throughput", 1),
            Shown("operations_per_cpu_second_percent_of_memory", "", " % in {ops} per CPU second", 1),
        ],
    ),
    (
        "of native",
        &[
            Shown("operations_per_cpu_second_percent_of_native", "", " % in {ops} per CPU second", 1),
            Shown("throughput_per_second_percent_of_native", "", " % of the throughput", 1),
        ],
    ),
    (
        "of maps",
        &[
            Shown("operations_per_cpu_second_percent_of_map", "", " % in {ops} per CPU second", 1),
            Shown("throughput_per_second_percent_of_map", "", " % of the throughput", 1),
        ],
    ),
    (
        "of ws",
        &[
            Shown("operations_per_cpu_second_percent_of_ws", "", " % in {ops} per CPU second", 1),
            Shown("throughput_per_second_percent_of_ws", "", " % of the throughput", 1),
        ],
    ),
    (
        "of Socket.IO",
        &[
            Shown("operations_per_cpu_second_percent_of_socket_io", "", " % in {ops} per CPU second", 1),
            Shown("throughput_per_second_percent_of_socket_io", "", " % of the throughput", 1),
        ],
    ),
    (
        "of Redis",
        &[
            Shown("throughput_per_second_percent_of_redis", "", " % of the throughput", 1),
            Shown("operations_per_cpu_second_percent_of_redis", "", " % in {ops} per CPU second", 1),
        ],
    ),
    (
        "disk alone",
        &[
            Shown("disk_fdatasync_p50_us", "fdatasync p50 ", " µs", 1),
            Shown("disk_fdatasync_p99_us", "p99 ", "", 1),
            Shown("disk_fdatasync_max_us", "max ", "", 1),
            Shown("disk_fdatasync_4k_p99_us", "p99 of 4 KiB ", "", 1),
            Shown("disk_fdatasync_256k_p99_us", "of 256 KiB ", "", 1),
        ],
    ),
    (
        "of the disk",
        &[
            Shown("ack_p50_over_disk_p50", "ack p50 is ", " × the disk's", 2),
            Shown("ack_p99_over_disk_p99", "ack p99 is ", " × the disk's", 2),
        ],
    ),
    (
        "delivery",
        &[
            Shown("deliveries_per_second", "", " deliveries/s", 0),
            Shown("delivery_p50_us", "p50 ", " µs", 1),
            Shown("delivery_p99_us", "p99 ", "", 1),
            Shown("delivery_max_us", "max ", "", 1),
        ],
    ),
    (
        "last screen",
        &[
            Shown("everywhere_p50_us", "reached after p50 ", " µs", 1),
            Shown("everywhere_p99_us", "p99 ", "", 1),
            Shown("everywhere_max_us", "max ", "", 1),
        ],
    ),
    (
        "writes",
        &[
            Shown("client_writes_per_second", "", " writes/s", 0),
            Shown("late_p50_us", "sent late by p50 ", " µs", 1),
            Shown("late_p99_us", "p99 ", "", 1),
            Shown("late_max_us", "max ", "", 1),
        ],
    ),
    ("steps", &[Shown("steps_per_second", "", " steps of lists a second", 0)]),
    (
        "messages",
        &[
            Shown("states_per_message", "", " states each", 2),
            Shown("server_cpu_us_per_message", "", " µs of server CPU each", 3),
            Shown("states_passed_over", "", " states that a later one stood for", 0),
        ],
    ),
    (
        "counts",
        &[
            Shown("joins_per_second", "", " joins/s", 0),
            Shown("right_count_ms", "right for all ", " ms after the last", 1),
            Shown("counts_told", "", " counts told", 0),
        ],
    ),
    (
        "queueing",
        &[
            Shown("queued_per_second", "", " {ops}/s", 0),
            Shown("queueing_cpu_us_per_message", "", " µs of server CPU each", 3),
        ],
    ),
    (
        "returning",
        &[
            Shown("returned_all_ms", "all have theirs after ", " ms", 1),
            Shown("returned_p50_ms", "half of them after ", " ms", 1),
        ],
    ),
    (
        "pings joining",
        &[
            Shown("ping_joining_p50_us", "p50 ", " µs", 1),
            Shown("ping_joining_p99_us", "p99 ", "", 1),
            Shown("ping_joining_max_us", "max ", "", 1),
        ],
    ),
    (
        "drop",
        &[
            Shown("gone_ms", "the watcher sees 0 after ", " ms", 1),
            Shown("dropping_ms", "of which to drop ", " ms", 1),
            Shown("news_of_the_drop", "it was told ", " times", 0),
        ],
    ),
    (
        "pings dropping",
        &[
            Shown("ping_dropping_p50_us", "p50 ", " µs", 1),
            Shown("ping_dropping_p99_us", "p99 ", "", 1),
            Shown("ping_dropping_max_us", "max ", "", 1),
        ],
    ),
    (
        "RSS",
        &[
            Shown("rss_empty_mib", "empty ", " MiB", 1),
            Shown("rss_opened_mib", "connected ", "", 1),
            Shown("rss_joined_mib", "joined ", "", 1),
            Shown("rss_gone_mib", "gone ", "", 1),
        ],
    ),
    (
        "ping alone",
        &[
            Shown("ping_alone_p50_us", "p50 ", " µs", 1),
            Shown("ping_alone_p99_us", "p99 ", "", 1),
            Shown("ping_alone_max_us", "max ", "", 1),
        ],
    ),
    (
        "ping beside",
        &[
            Shown("ping_beside_p50_us", "p50 ", " µs", 1),
            Shown("ping_beside_p99_us", "p99 ", "", 1),
            Shown("ping_beside_max_us", "max ", "", 1),
            Shown("ping_p99_delay_us", "p99 later by ", " µs", 1),
        ],
    ),
    (
        "snapshots",
        &[
            Shown("snapshots", "", " whole", 0),
            Shown("snapshot_ms", "each ", " ms", 1),
            Shown("snapshot_mib_per_second", "", " MiB/s", 0),
        ],
    ),
    (
        "filled",
        &[
            Shown("fill_per_second", "", " durable {ops}/s", 0),
            Shown("data_mib", "data directory ", " MiB", 0),
            Shown("filled_overhead_bytes_per_cell", "", " B of memory per cell beyond key and value", 0),
        ],
    ),
    (
        "after a kill",
        &[
            Shown("killed_listening_ms", "listens after ", " ms", 1),
            Shown("killed_first_read_ms", "first read after ", " ms", 1),
            Shown("killed_whole_map_ms", "all of its map after ", " ms", 1),
            Shown("killed_overhead_bytes_per_cell", "", " B per cell beyond key and value", 0),
        ],
    ),
    (
        "  lazy map",
        &[
            Shown("killed_lazy_first_chunk_ms", "first chunk after ", " ms", 1),
            Shown("killed_lazy_snapshot_ms", "whole after ", " ms", 1),
        ],
    ),
    (
        "after a stop",
        &[
            Shown("stopped_listening_ms", "listens after ", " ms", 1),
            Shown("stopped_first_read_ms", "first read after ", " ms", 1),
            Shown("stopped_whole_map_ms", "all of its map after ", " ms", 1),
            Shown("stopped_overhead_bytes_per_cell", "", " B per cell beyond key and value", 0),
        ],
    ),
    (
        "  lazy map",
        &[
            Shown("stopped_lazy_first_chunk_ms", "first chunk after ", " ms", 1),
            Shown("stopped_lazy_snapshot_ms", "whole after ", " ms", 1),
        ],
    ),
    (
        "data set",
        &[
            Shown("data_set_mib", "", " MiB of keys and values", 0),
            Shown("times_the_limit", "", " × the memory limit", 1),
            Shown("maps", "", " maps", 0),
        ],
    ),
    (
        "pace",
        &[
            Shown("writes_per_second", "", " writes/s", 0),
            Shown("reads_per_second", "", " reads/s", 0),
            Shown("overloaded", "", " requests had to be repeated", 0),
        ],
    ),
    ("peak", &[Shown("server_rss_peak_mib", "RSS ", " MiB", 1)]),
    (
        "resync",
        &[
            Shown("resync_all_ms", "all after ", " ms", 1),
            Shown("resync_p50_ms", "p50 ", "", 1),
            Shown("resync_p99_ms", "p99 ", "", 1),
            Shown("resumed", "", " resumed", 0),
            Shown("reset", "", " reset", 0),
            Shown("resent_entries", "", " entries resent", 0),
            Shown("recovered", "", " recovered", 0),
            Shown("recovered_messages", "", " messages they had missed", 0),
        ],
    ),
    (
        "memory",
        &[
            Shown("server_bytes_per_connection", "", " B of server memory per connection", 0),
            Shown("connections", "", " connections", 0),
            Shown("opened_per_second", "opened ", "/s", 0),
        ],
    ),
    (
        "server",
        &[
            Shown("server_cpu_percent", "CPU ", " %", 1),
            Shown("server_cpu_us_per_operation", "", " µs/{op}", 3),
            Shown("server_user_us_per_operation", "(user ", " µs)", 3),
            Shown("server_children_cpu_percent", "CPU of children ", " %", 1),
            Shown("server_rss_mib", "RSS ", " MiB", 1),
            Shown("messages_per_send", "", " messages/send", 2),
            Shown("deliveries_per_send", "", " deliveries/send", 2),
        ],
    ),
    ("load", &[Shown("load_cpu_percent", "CPU ", " %", 1)]),
    ("warm memory", &[Shown("warm_memory_gb_per_second", "first touch at ", " GB/s", 2)]),
    (
        "floor",
        &[
            Shown("floor_throughput_per_second", "", " {ops}/s", 0),
            Shown("floor_cpu_us_per_operation", "", " µs/{op}", 3),
            Shown("floor_cpu_percent", "CPU ", " %", 1),
            Shown("floor_p50_us", "p50 ", " µs", 1),
            Shown("floor_load_cpu_percent", "load CPU ", " %", 1),
        ],
    ),
    (
        "of the floor",
        &[
            Shown("percent_of_floor", "", " % in {ops} per CPU second", 1),
            Shown("p50_over_floor_percent", "p50 later by ", " %", 1),
        ],
    ),
    ("errors", &[Shown("errors", "", "", 0)]),
];
