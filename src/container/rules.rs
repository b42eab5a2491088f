//! Who may be somebody that asks for credentials, by the header alone.
//!
//! A web page can make a browser on this machine ask us anything. What it cannot do is leave out what a browser adds, or
//! name us as a program does that was told our address: its host is a name that the page's owner has made to mean this
//! machine. Owns: those rules. Refuses to know tokens. Invariant: nothing that a browser or a proxy sends is let
//! through, and no answer carries a header that would let a page read it.

use std::net::SocketAddr;

use http::header::{FORWARDED, HOST, ORIGIN, REFERER, VIA};
use http::request::Parts;
use http::{Method, StatusCode};

/// Why somebody is not even listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// Another method than the endpoint has.
    Method,
    /// It does not call us what we are called.
    Host,
    /// It came through a browser or a proxy.
    Relayed,
}

impl Stranger {
    /// What it is told.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host | Self::Relayed => StatusCode::FORBIDDEN,
        }
    }

    /// Why, for people.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Method => "no such method here",
            Self::Host => "the request names another host than this endpoint's address",
            Self::Relayed => "requests from browsers and through proxies are not answered",
        }
    }
}

/// Whether a request may be one of a program that was told of this address.
pub(super) fn check(request: &Parts, here: SocketAddr, methods: &[Method]) -> Result<(), Stranger> {
    if !methods.contains(&request.method) {
        return Err(Stranger::Method);
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    let named = hosts.next().is_some_and(|host| is_here(host.as_bytes(), here));
    // An absolute address in the first line beats the header, for those who read it.
    let absolute = request.uri.authority().is_none_or(|authority| is_here(authority.as_str().as_bytes(), here));
    if !named || !absolute || hosts.next().is_some() {
        return Err(Stranger::Host);
    }
    let relayed = request.headers.keys().any(|name| {
        [ORIGIN, REFERER, FORWARDED, VIA].contains(name)
            || ["sec-fetch-", "x-forwarded-"].iter().any(|prefix| name.as_str().starts_with(prefix))
    });
    if relayed { Err(Stranger::Relayed) } else { Ok(()) }
}

/// Whether a host is this address, written as we write it; the port that HTTP has by itself may be left out.
fn is_here(host: &[u8], here: SocketAddr) -> bool {
    let full = here.to_string();
    let short = full.strip_suffix(":80");
    host == full.as_bytes() || short.is_some_and(|short| host == short.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[Method] = &[Method::GET];

    fn judged(here: &str, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Stranger> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0, here.parse().unwrap(), GET)
    }

    #[test]
    fn a_program_that_was_told_our_address_is_heard() {
        for (here, host) in
            [("127.0.0.1:9911", "127.0.0.1:9911"), ("[::1]:9911", "[::1]:9911"), ("127.0.0.1:80", "127.0.0.1")]
        {
            assert_eq!(judged(here, "GET", "/credentials", &[("host", host)]), Ok(()), "{host}");
        }
        let absolute = [("host", "127.0.0.1:9911")];
        assert_eq!(judged("127.0.0.1:9911", "GET", "http://127.0.0.1:9911/credentials", &absolute), Ok(()));
    }

    #[test]
    fn a_name_that_was_made_to_mean_this_machine_is_not_ours() {
        for host in
            ["evil.example:9911", "localhost:9911", "127.0.0.1", "127.0.0.1:9912", "127.0.0.1:09911", "", "[::1]:9911"]
        {
            assert_eq!(judged("127.0.0.1:9911", "GET", "/", &[("host", host)]), Err(Stranger::Host), "{host}");
        }
        assert_eq!(judged("127.0.0.1:9911", "GET", "/", &[]), Err(Stranger::Host), "none");
        let two = [("host", "127.0.0.1:9911"), ("host", "127.0.0.1:9911")];
        assert_eq!(judged("127.0.0.1:9911", "GET", "/", &two), Err(Stranger::Host));
        let host = [("host", "127.0.0.1:9911")];
        assert_eq!(judged("127.0.0.1:9911", "GET", "http://evil.example/", &host), Err(Stranger::Host));
    }

    #[test]
    fn what_a_browser_or_a_proxy_adds_gives_them_away() {
        for name in [
            "Origin",
            "Referer",
            "Sec-Fetch-Site",
            "Sec-Fetch-Mode",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "Forwarded",
            "Via",
        ] {
            let headers = [("host", "127.0.0.1:9911"), (name, "null")];
            assert_eq!(judged("127.0.0.1:9911", "GET", "/", &headers), Err(Stranger::Relayed), "{name}");
        }
        assert_eq!(Stranger::Relayed.status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn no_other_method_is_known_not_even_that_of_a_browser_that_asks_first() {
        for method in ["OPTIONS", "POST", "HEAD", "PUT", "CONNECT"] {
            let headers = [("host", "127.0.0.1:9911"), ("origin", "https://evil.example")];
            let uri = if method == "CONNECT" { "127.0.0.1:9911" } else { "/credentials" };
            assert_eq!(judged("127.0.0.1:9911", method, uri, &headers), Err(Stranger::Method), "{method}");
        }
        assert_eq!(Stranger::Method.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
