//! Any bytes as a request: no panic, and an answer that does not depend on the split.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use annulus::config::{DialectPath, Origin};
use annulus::limits::HEADER_BYTES_DEFAULT;
use annulus::wire::http::{Answer, Rules, answer};
use libfuzzer_sys::fuzz_target;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fuzz_target!(|data: &[u8]| {
    let origins = [Origin::parse("https://app.example").unwrap()];
    let dialects = [DialectPath::NATIVE, annulus::dialect::synckit::PATH];
    // The smaller one is reached by short inputs.
    for (allowed_origins, header_bytes_max) in [(&origins[..], HEADER_BYTES_DEFAULT), (&[], 200)] {
        let trusted_proxies = &["0.0.0.0/1".parse().unwrap()];
        check(
            data,
            &Rules {
                header_bytes_max,
                allowed_origins,
                dialects: &dialects,
                test_reset: true,
                trusted_proxies,
            },
        );
    }
});

fn check(data: &[u8], rules: &Rules<'_>) {
    let whole = answer(data, PEER, rules);
    assert!(whole.is_some() || data.len() < rules.header_bytes_max);
    if let Some((answer, used)) = &whole {
        assert!(*used <= data.len());
        match answer {
            Answer::Upgrade { response, .. } => check_upgrade(data, response),
            Answer::Refuse { response } => assert!(head(response).starts_with(b"HTTP/1.1 4")),
            Answer::Page { .. } | Answer::Options | Answer::Clear => {}
        }
    }
    // What is answered first, octet by octet, is what is answered to the whole.
    let first = (0..=data.len()).find_map(|len| answer(&data[..len], PEER, rules));
    assert_eq!(first.map(|(answer, _)| answer), whole.map(|(answer, _)| answer));
}

/// That nothing gets into the 101 but what belongs there, and that of what is offered one is chosen, no token.
fn check_upgrade(data: &[u8], response: &[u8]) {
    assert_eq!(head(response), response, "nothing behind the head");
    let lines: Vec<&str> = str::from_utf8(response).expect("ASCII").split("\r\n").collect();
    assert_eq!(lines[0], "HTTP/1.1 101 Switching Protocols");
    assert!(lines.iter().all(|line| line.bytes().all(|octet| (b' '..=b'~').contains(&octet))));
    let chosen = lines.iter().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
    assert_eq!(lines.len(), 6 + usize::from(chosen.is_some()), "{lines:?}");
    if let Some(chosen) = chosen {
        assert!(!chosen.is_empty() && !chosen.starts_with("bearer."));
        assert!(data.windows(chosen.len()).any(|octets| octets == chosen.as_bytes()), "{chosen}");
    }
}

/// The response up to the end of its first empty line.
fn head(response: &[u8]) -> &[u8] {
    let end = response.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a whole head");
    &response[..end + 4]
}
