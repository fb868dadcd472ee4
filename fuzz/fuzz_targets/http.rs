//! Any bytes as a request: no panic, and an answer that does not depend on the split.

#![no_main]

use annulus::config::DialectPath;
use annulus::limits::HTTP_HEADER_BYTES_MAX;
use annulus::wire::http::{Answer, Rules, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let origins = ["https://app.example".to_owned()];
    let dialects = [DialectPath::NATIVE, DialectPath::SYNCKIT];
    for allowed_origins in [&origins[..], &[]] {
        check(data, &Rules { allowed_origins, dialects: &dialects, echo: true });
    }
});

fn check(data: &[u8], rules: &Rules<'_>) {
    let whole = answer(data, rules);
    assert!(whole.is_some() || data.len() < HTTP_HEADER_BYTES_MAX);
    if let Some((answer, used)) = &whole {
        assert!(*used <= data.len());
        if let Answer::Upgrade { response, .. } | Answer::Refuse { response } = answer {
            assert!(response.starts_with(b"HTTP/1.1 ") && response.windows(4).any(|end| end == b"\r\n\r\n"));
        }
    }
    // What is answered first, octet by octet, is what is answered to the whole.
    let first = (0..=data.len()).find_map(|len| answer(&data[..len], rules));
    assert_eq!(first.map(|(answer, _)| answer), whole.map(|(answer, _)| answer));
}
