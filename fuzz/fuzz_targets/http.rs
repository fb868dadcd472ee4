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
    for allowed_origins in [&origins[..], &[]] {
        let trusted_proxies = &["0.0.0.0/1".parse().unwrap()];
        let header_bytes_max = HEADER_BYTES_DEFAULT;
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
    assert!(whole.is_some() || data.len() < HEADER_BYTES_DEFAULT);
    if let Some((answer, used)) = &whole {
        assert!(*used <= data.len());
        if let Answer::Upgrade { response, .. } | Answer::Refuse { response } = answer {
            assert!(response.starts_with(b"HTTP/1.1 ") && response.windows(4).any(|end| end == b"\r\n\r\n"));
        }
    }
    // What is answered first, octet by octet, is what is answered to the whole.
    let first = (0..=data.len()).find_map(|len| answer(&data[..len], PEER, rules));
    assert_eq!(first.map(|(answer, _)| answer), whole.map(|(answer, _)| answer));
}
