//! Where messages to the application may go.

use std::net::IpAddr;

use hyper::Uri;
use thiserror::Error;

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadUrl {
    #[error("it is no URL")]
    Syntax,
    #[error("it begins with https://")]
    Scheme,
    #[error(
        "http goes to this host only, as everybody on the way could read it; allow_http = true lets it go elsewhere"
    )]
    Http,
    #[error("it has a name or a password in it; sign with a secret_file instead")]
    Credentials,
}

/// Whether messages may go there.
///
/// # Errors
/// [`BadUrl`].
pub fn check(url: &str, allow_http: bool) -> Result<(), BadUrl> {
    let uri: Uri = url.parse().map_err(|_| BadUrl::Syntax)?;
    let (host, authority) = uri.host().zip(uri.authority()).ok_or(BadUrl::Syntax)?;
    if authority.as_str().contains('@') {
        return Err(BadUrl::Credentials);
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if allow_http || is_this_host(host) => Ok(()),
        Some("http") => Err(BadUrl::Http),
        _ => Err(BadUrl::Scheme),
    }
}

fn is_this_host(host: &str) -> bool {
    let ip: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_stays_on_this_host_unless_it_may_leave() {
        for fine in
            ["https://a.example/x?y=1", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]:2/x"]
        {
            assert_eq!(check(fine, false), Ok(()), "{fine}");
        }
        assert_eq!(check("http://a.example/", true), Ok(()));
        for (bad, why) in [
            ("http://a.example/", BadUrl::Http),
            ("http://localhost.example/", BadUrl::Http),
            ("http://10.0.0.1/", BadUrl::Http),
            ("ftp://a.example/", BadUrl::Scheme),
            ("/hook", BadUrl::Syntax),
            ("a b", BadUrl::Syntax),
            ("", BadUrl::Syntax),
            ("https://u:p@a.example/", BadUrl::Credentials),
        ] {
            assert_eq!(check(bad, false), Err(why), "{bad}");
        }
    }
}
