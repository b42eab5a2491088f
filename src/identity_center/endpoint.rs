//! The address of a service: where requests go and what an origin is made of.
//!
//! Owns: what is an acceptable endpoint. Invariant: an [`Endpoint`] is https, or http to loopback; it has a
//! host, no userinfo, no query, and no trailing slash, so equal endpoints are equal text.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::StsAddress;

/// Scheme, host, port and an optional path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Box<str>);

impl Endpoint {
    /// The endpoint as text, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without brackets and port.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or(rest);
        match authority.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or(literal),
            None => authority.split(':').next().unwrap_or(authority),
        }
    }

    /// Whether it is on this machine: `localhost` or a loopback address, without asking DNS.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.host())
    }
}

/// Whether a host name means this machine without asking DNS.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl From<&Endpoint> for StsAddress {
    fn from(endpoint: &Endpoint) -> Self {
        Self::of_endpoint(endpoint.as_str())
    }
}

impl From<&StsAddress> for Endpoint {
    fn from(address: &StsAddress) -> Self {
        Self(address.as_str().into())
    }
}

/// The two services a session talks to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// sso-oidc.
    pub oidc: Endpoint,
    /// The portal (service id `SSO`).
    pub portal: Endpoint,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        // The parser lets other characters pass in a path, and an endpoint is shown in messages as it is.
        if !text.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidEndpoint::NotAUrl);
        }
        let uri: Uri = text.trim().parse().map_err(|_| InvalidEndpoint::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(InvalidEndpoint::NotAUrl);
        };
        if authority.as_str().contains('@') {
            return Err(InvalidEndpoint::Userinfo);
        }
        if uri.query().is_some() || authority.host().is_empty() || text.contains('#') {
            return Err(InvalidEndpoint::NotAUrl);
        }
        let (host, port) = authority.as_str().split_at(authority.host().len());
        if !is_host(host) || !is_port(port) {
            return Err(InvalidEndpoint::NotAUrl);
        }
        let authority = authority.as_str().to_ascii_lowercase();
        let endpoint = Self(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')).into());
        match scheme {
            "https" => Ok(endpoint),
            "http" if endpoint.is_loopback() => Ok(endpoint),
            "http" => Err(InvalidEndpoint::PlainHttp),
            _ => Err(InvalidEndpoint::NotAUrl),
        }
    }
}

/// The parser takes anything between brackets for an address.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

/// Nothing, or a colon and a port: where the number is none, the HTTP client would go to another one.
fn is_port(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| digits(port) && port.parse::<u16>().is_ok())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that cannot be an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidEndpoint {
    /// Not `https://host[:port][/path]`.
    NotAUrl,
    /// `http` to another machine: tokens would travel in the clear.
    PlainHttp,
    /// It carries a user name or password.
    Userinfo,
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAUrl => "not an endpoint: expected https://host[:port][/path]",
            Self::PlainHttp => "plain http is accepted for loopback endpoints only",
            Self::Userinfo => "an endpoint must not contain a user name or password",
        })
    }
}

impl std::error::Error for InvalidEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_or_on_this_machine() {
        for good in
            ["https://oidc.eu-west-1.amazonaws.com", "http://127.0.0.1:4566", "http://localhost:1/x/", "http://[::1]:8"]
        {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        assert_eq!("http://example.com".parse::<Endpoint>(), Err(InvalidEndpoint::PlainHttp));
        assert_eq!("http://localhost.example.com".parse::<Endpoint>(), Err(InvalidEndpoint::PlainHttp));
        assert_eq!("https://user:pw@example.com".parse::<Endpoint>(), Err(InvalidEndpoint::Userinfo));
        for wrong in ["", "example.com", "ftp://example.com", "https://", "https://h/?q", "https://h/#f", "file:///etc"]
        {
            assert_eq!(wrong.parse::<Endpoint>(), Err(InvalidEndpoint::NotAUrl), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_has_no_character_that_could_deceive_who_reads_it() {
        for wrong in ["https://h/\u{202e}x", "https://h/é", "https://é/", "https://h/\u{200b}", "https://h/a b"] {
            assert_eq!(wrong.parse::<Endpoint>(), Err(InvalidEndpoint::NotAUrl), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_names_a_host_and_a_port_that_there_can_be() {
        for good in ["https://h:443", "https://a_b-c.d:1/x", "https://[2001:db8::1]", "https://192.0.2.1:65535"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for wrong in
            ["https://h:99999", "https://h:", "https://h:+1", "https://[::1", "https://[x:%]/", "https://a%41/"]
        {
            assert_eq!(wrong.parse::<Endpoint>(), Err(InvalidEndpoint::NotAUrl), "{wrong}");
        }
    }

    #[test]
    fn equal_endpoints_are_equal_text() {
        assert_eq!("https://Example.com/".parse::<Endpoint>().unwrap().as_str(), "https://example.com");
        assert_eq!("http://[::1]:8/".parse::<Endpoint>().unwrap().host(), "::1");
    }
}
