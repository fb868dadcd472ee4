//! `ops/annulus.toml`, made from the definitions of the flags and held against them by its test.
//! `BLESS=1 cargo test --lib config_page` writes it anew.

use super::sample;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/annulus.toml");

#[test]
fn the_sample_of_a_file_is_up_to_date() {
    let sample = sample();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PATH, &sample).unwrap();
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(written == sample, "ops/annulus.toml is behind: BLESS=1 cargo test --lib config_page");
}
