//! Pages for browsers that are in the binary.

use std::borrow::Cow;
use std::fmt::{self, Write};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;

/// One HTML document with all it needs inside, and what it may do.
#[derive(Clone)]
pub struct BuiltPage {
    pub html: Cow<'static, [u8]>,
    /// The value of `Content-Security-Policy`.
    pub policy: String,
}

impl BuiltPage {
    /// A document with a policy by which it runs its own script and style, talks to its own server, and no more; `None` of what
    /// is no text.
    pub fn new(html: Cow<'static, [u8]>) -> Option<Self> {
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
        Some(Self { html, policy })
    }
}

impl fmt::Debug for BuiltPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuiltPage({} bytes, {})", self.html.len(), self.policy)
    }
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
    fn the_content_of_an_element_is_found_to_the_letter() {
        let html =
            "<head><style>a</style><style media=\"print\"> b\n</style></head><script type=module></script>";
        assert_eq!(contents(html, "style").collect::<Vec<_>>(), ["a", " b\n"]);
        assert_eq!(contents(html, "script").collect::<Vec<_>>(), [""]);
        assert_eq!(contents("<style>no end", "style").count(), 0);
    }
}
