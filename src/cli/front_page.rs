//! The page of `clients/js/demo`, which `npm run page` there writes. It is in this binary, and in the repository, so that
//! building the server takes no Node.

use rust_embed::RustEmbed;

use crate::config::BuiltPage;

#[derive(RustEmbed)]
#[folder = "clients/js/demo/page"]
struct Built;

pub(super) fn front_page() -> Option<BuiltPage> {
    BuiltPage::new(Built::get("index.html")?.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_built_in_and_loads_nothing() {
        let page = front_page().expect("clients/js/demo/page/index.html is there and is text");
        let text = str::from_utf8(&page.html).expect("it is text");
        assert!(text.starts_with("<!doctype html>"), "{text:.100}");
        for source in ["src=\"", "href=\"http", "@import", "url("] {
            assert!(!text.contains(source), "it has {source}, which would be loaded");
        }
        assert_eq!(page.policy.matches("'sha256-").count(), 2, "{}", page.policy);
    }
}
