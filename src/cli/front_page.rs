//! The page of `clients/js/demo`, which `npm run build` there writes. It is in this binary, and in the repository, so that
//! building the server takes no Node.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use rust_embed::RustEmbed;

use crate::config::FrontPage;

#[derive(RustEmbed)]
#[folder = "clients/js/demo/page"]
struct Built;

/// The page, and a policy by which it runs its own script and style, talks to its own server, and no more.
pub(super) fn front_page() -> Option<FrontPage> {
    let html = Built::get("index.html")?.data;
    let mut policy =
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'"
            .to_owned();
    let text = str::from_utf8(&html).ok()?;
    for (directive, element) in [("script-src", "script"), ("style-src", "style")] {
        write!(policy, "; {directive}").ok()?;
        for content in contents(text, element) {
            let sum = BASE64.encode(digest(&SHA256, content.as_bytes()).as_ref());
            write!(policy, " 'sha256-{sum}'").ok()?;
        }
    }
    Some(FrontPage { html, policy })
}

/// What is between the tags of each element of this name.
fn contents<'a>(html: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let (start, end) = (format!("<{element}"), format!("</{element}>"));
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, behind) = rest.split_once(&start)?;
        let (_, behind) = behind.split_once('>')?;
        let (content, behind) = behind.split_once(&end)?;
        rest = behind;
        Some(content)
    })
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

    #[test]
    fn the_content_of_an_element_is_found_to_the_letter() {
        let html =
            "<head><style>a</style><style media=\"print\"> b\n</style></head><script type=module></script>";
        assert_eq!(contents(html, "style").collect::<Vec<_>>(), ["a", " b\n"]);
        assert_eq!(contents(html, "script").collect::<Vec<_>>(), [""]);
        assert_eq!(contents("<style>no end", "style").count(), 0);
    }
}
