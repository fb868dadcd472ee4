//! The page that browsers get of `/`.

use std::borrow::Cow;
use std::fmt;

/// One HTML document with all it needs inside, and what it may do.
#[derive(Clone)]
pub struct FrontPage {
    pub html: Cow<'static, [u8]>,
    /// The value of `Content-Security-Policy`.
    pub policy: String,
}

impl fmt::Debug for FrontPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrontPage({} bytes, {})", self.html.len(), self.policy)
    }
}
