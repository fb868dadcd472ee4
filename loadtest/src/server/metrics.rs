//! The server's own counters, from `GET /metrics` (Prometheus text). A server without them is no error.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fleet::Target;

/// A scrape that takes longer than this is given up; it is for the report only.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the page at most.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// How much left in how many sends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sends {
    pub sends: f64,
    pub messages: f64,
    /// Changes to subscribers; several may share a message. 0 from a server that does not count them.
    pub deliveries: f64,
}

impl Sends {
    pub fn since(self, earlier: Self) -> Self {
        Self {
            sends: self.sends - earlier.sends,
            messages: self.messages - earlier.messages,
            deliveries: self.deliveries - earlier.deliveries,
        }
    }
}

/// `None` when the server has no such page or counters.
pub fn scrape(target: &Target) -> Option<Sends> {
    let page = fetch(target).ok()?;
    Some(Sends {
        sends: counter(&page, "annulus_sends_total")?,
        messages: counter(&page, "annulus_messages_sent_total")?,
        deliveries: counter(&page, "annulus_deliveries_total").unwrap_or(0.0),
    })
}

/// Bytes that maps take in memory; `None` when it does not say, or not in time.
pub fn map_resident_bytes(target: &Target) -> Option<f64> {
    gauge(target, "annulus_map_resident_bytes")
}

/// What the server says is there now, over all its shards; `None` when it does not say, or not in time.
pub fn gauge(target: &Target, name: &str) -> Option<f64> {
    counter(&fetch(target).ok()?, name)
}

fn fetch(target: &Target) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target.address, SCRAPE_TIMEOUT)?;
    stream.set_read_timeout(Some(SCRAPE_TIMEOUT))?;
    let host = &target.host;
    stream.write_all(
        format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut page = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
    Ok(page)
}

/// The sum of a counter over its labels.
fn counter(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split_whitespace().next()?.parse::<f64>().ok()
    });
    let (mut count, mut sum) = (0, 0.0);
    for value in values {
        count += 1;
        sum += value;
    }
    (count > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_is_summed_over_its_labels_and_not_mistaken_for_another() {
        let page = "# HELP a_total x\na_total{shard=\"0\"} 3\na_total{shard=\"1\"} 4\na_total_more 9\nb 1\n";
        assert_eq!(counter(page, "a_total"), Some(7.0));
        assert_eq!(counter(page, "b"), Some(1.0));
        assert_eq!(counter(page, "c"), None);
    }
}
