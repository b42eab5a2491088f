//! What a start URL leads to.
//!
//! Owns: which hosts are AWS's access portals, the region in such a host, and what a redirect of a company's own address
//! (a "vanity" URL) is worth. Refuses to know how a request travels. Invariant: only an https URL of an access portal is
//! ever sent to the service in the place of the configured one.

use std::fmt;

use super::Endpoint;
use super::endpoint::is_loopback_host;
use super::link::{Link, Scheme, has_labels_before};
use crate::ids::Region;
use crate::untrusted::Untrusted;

/// What a configured start URL is, by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An access portal of AWS: used as it is.
    Portal,
    /// On this machine: used as it is.
    ThisMachine,
    /// Somebody else's https address, which may lead to a portal.
    Vanity,
    /// No https URL that every reader of URLs understands the same.
    Unusable,
}

/// What a start URL is.
#[must_use]
pub fn kind(start_url: &str) -> Kind {
    match Link::parse(start_url) {
        Some(link) if is_loopback_host(&link.host) => Kind::ThisMachine,
        Some(Link { scheme: Scheme::Https, host }) if is_portal(&host) => Kind::Portal,
        Some(Link { scheme: Scheme::Https, .. }) => Kind::Vanity,
        _ => Kind::Unusable,
    }
}

/// Whether a sign-in has to ask where the start URL leads. A service on this machine is an emulator, which knows start
/// URLs of any kind, and its start URLs need not exist.
#[must_use]
pub fn needs_resolution(start_url: &str, oidc: &Endpoint) -> bool {
    !oidc.is_loopback() && kind(start_url) == Kind::Vanity
}

/// Where a start URL led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The portal's own URL, to be sent to the service; cache keys keep the configured one.
    pub url: String,
    /// The region in the portal's host, where it has one.
    pub region: Option<Region>,
}

/// What the host of a vanity URL answered: a status, and where it redirects to.
///
/// # Errors
/// It leads to no access portal.
pub fn judge(start_url: &str, status: u16, location: Option<&str>) -> Result<Resolved, Misled> {
    let asked = Link::parse(start_url).map(|link| link.host).unwrap_or_default();
    let Some(location) = location.filter(|_| REDIRECTS.contains(&status)) else {
        return Err(Misled::NoRedirect { host: asked, status });
    };
    let url = match location.strip_prefix("//") {
        Some(rest) => format!("https://{rest}"),
        None if location.starts_with('/') => return Err(Misled::Elsewhere { host: Untrusted::new(asked) }),
        None => location.to_owned(),
    };
    match Link::parse(&url) {
        Some(Link { scheme: Scheme::Https, host }) if is_portal(&host) => {
            Ok(Resolved { url, region: region_of_portal(&host) })
        }
        Some(Link { scheme: Scheme::Http, host }) if is_portal(&host) => Err(Misled::PlainHttp { host }),
        Some(link) => Err(Misled::Elsewhere { host: Untrusted::new(link.host) }),
        None => Err(Misled::NotAUrl { location: Untrusted::new(location) }),
    }
}

/// The region of the Identity Center instance behind a start URL, where the portal's host names it.
#[must_use]
pub fn region_of(start_url: &str) -> Option<Region> {
    Link::parse(start_url).and_then(|link| region_of_portal(&link.host))
}

/// Whether access portals are at this host, and nobody else's pages.
#[must_use]
pub fn is_portal(host: &str) -> bool {
    PORTALS.contains(&host) || PORTAL_SUFFIXES.iter().any(|suffix| has_labels_before(host, suffix))
}

/// `{id}.portal.{region}.app.aws`, `{id}.{region}.portal.amazonaws.com`, and their like in other partitions.
fn region_of_portal(host: &str) -> Option<Region> {
    let behind = REGION_BEFORE.iter().find_map(|suffix| {
        let (id, region) = host.strip_suffix(suffix)?.split_once('.')?;
        (!id.is_empty()).then_some(region)
    });
    let inside = || {
        REGION_AFTER_PORTAL.iter().find_map(|suffix| {
            let (id, region) = host.strip_suffix(suffix)?.split_once(".portal.")?;
            (!id.is_empty() && !id.contains('.')).then_some(region)
        })
    };
    behind.or_else(inside)?.parse().ok()
}

/// Why a vanity URL is no way to a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misled {
    /// The host answered, but sent nobody on.
    NoRedirect {
        /// The start URL's host.
        host: String,
        /// What it answered.
        status: u16,
    },
    /// It leads to a host that is not AWS's.
    Elsewhere {
        /// That host.
        host: Untrusted,
    },
    /// It leads to a portal, but not by https.
    PlainHttp {
        /// That portal.
        host: String,
    },
    /// It leads to what is no URL.
    NotAUrl {
        /// What it said.
        location: Untrusted,
    },
}

impl fmt::Display for Misled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRedirect { host, status: status @ (404 | 410) } => {
                write!(formatter, "{host} has no such page (HTTP {status}): is the start URL typed correctly?")
            }
            Self::NoRedirect { host, status } => write!(
                formatter,
                "{host} is not an access portal of AWS, and does not lead to one: it answered HTTP {status}"
            ),
            Self::Elsewhere { host } => {
                write!(formatter, "it leads to {}, which is not an access portal of AWS", host.shown())
            }
            Self::PlainHttp { host } => write!(formatter, "it leads to {host} by plain http: it has to be https"),
            Self::NotAUrl { location } => write!(formatter, "it leads to {:?}, which is no URL", Quoted(location)),
        }
    }
}

impl std::error::Error for Misled {}

/// A foreign text in quotation marks.
struct Quoted<'a>(&'a Untrusted);

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0.shown())
    }
}

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// Where access portals are.
const PORTALS: [&str; 4] = [
    "identitycenter.amazonaws.com",
    "identitycenter.amazonaws.com.cn",
    "identitycenter.amazonaws.eu",
    "identitycenter.us-gov.amazonaws.com",
];
const PORTAL_SUFFIXES: [&str; 8] = [
    ".app.aws",
    ".portal.amazonaws.com",
    ".portal.amazonaws.com.cn",
    ".app.amazonwebservices.com.cn",
    ".portal.amazonaws.eu",
    ".api.amazonwebservices.eu",
    ".awsapps.com",
    ".awsapps.cn",
];
/// `{id}.{region}` is before these.
const REGION_BEFORE: [&str; 3] = [".portal.amazonaws.com", ".portal.amazonaws.com.cn", ".portal.amazonaws.eu"];
/// `{id}.portal.{region}` is before these.
const REGION_AFTER_PORTAL: [&str; 3] = [".app.aws", ".app.amazonwebservices.com.cn", ".api.amazonwebservices.eu"];

#[cfg(test)]
mod tests {
    use super::*;

    const VANITY: &str = "https://sso.example.com/start";

    #[test]
    fn a_start_url_is_a_portal_or_on_this_machine_or_leads_there_or_is_none() {
        for (url, expected) in [
            ("https://d-1234567890.awsapps.com/start", Kind::Portal),
            ("https://D-1234567890.AWSAPPS.COM/start#/", Kind::Portal),
            ("https://ssoins-1.portal.eu-west-1.app.aws", Kind::Portal),
            ("https://identitycenter.amazonaws.com/ssoins-1", Kind::Portal),
            ("https://start.us-gov-west-1.us-gov-home.awsapps.com/directory/x", Kind::Portal),
            ("https://x.awsapps.cn/start", Kind::Portal),
            (VANITY, Kind::Vanity),
            ("https://evilawsapps.com/start", Kind::Vanity),
            ("https://d-1.awsapps.com.evil.example.com/start", Kind::Vanity),
            ("https://oidc.eu-west-1.amazonaws.com/", Kind::Vanity),
            ("http://127.0.0.1:4566/start", Kind::ThisMachine),
            ("https://localhost/start", Kind::ThisMachine),
            ("http://[::1]:1/start", Kind::ThisMachine),
            ("http://d-1.awsapps.com/start", Kind::Unusable),
            ("http://sso.example.com/start", Kind::Unusable),
            ("https://user@d-1.awsapps.com/", Kind::Unusable),
            ("sso.example.com", Kind::Unusable),
            ("", Kind::Unusable),
        ] {
            assert_eq!(kind(url), expected, "{url}");
        }
    }

    #[test]
    fn only_a_vanity_url_has_to_be_followed_and_none_for_an_emulator() {
        let aws: Endpoint = "https://oidc.eu-west-1.amazonaws.com".parse().unwrap();
        let here: Endpoint = "http://127.0.0.1:4566".parse().unwrap();
        assert!(needs_resolution(VANITY, &aws) && !needs_resolution(VANITY, &here));
        assert!(!needs_resolution("https://d-1.awsapps.com/start", &aws));
    }

    #[test]
    fn the_region_is_read_from_the_portals_host_in_every_partition() {
        for (host, region) in [
            ("ssoins-1.portal.eu-west-1.app.aws", "eu-west-1"),
            ("ssoins-1.us-east-1.portal.amazonaws.com", "us-east-1"),
            ("ssoins-1.cn-north-1.portal.amazonaws.com.cn", "cn-north-1"),
            ("ssoins-1.portal.cn-northwest-1.app.amazonwebservices.com.cn", "cn-northwest-1"),
            ("ssoins-1.eusc-de-east-1.portal.amazonaws.eu", "eusc-de-east-1"),
            ("ssoins-1.portal.eusc-de-east-1.api.amazonwebservices.eu", "eusc-de-east-1"),
        ] {
            assert_eq!(region_of(&format!("https://{host}/start")).unwrap().as_str(), region);
            assert!(is_portal(host), "{host}");
        }
        for host in ["d-1.awsapps.com", "identitycenter.amazonaws.com", "a.b.portal.eu-west-1.app.aws", "x.app.aws"] {
            assert_eq!(region_of(&format!("https://{host}/start")), None, "{host}");
        }
    }

    #[test]
    fn a_redirect_to_a_portal_is_followed_and_brings_the_region_along() {
        for status in REDIRECTS {
            let resolved = judge(VANITY, status, Some("https://ssoins-1.portal.eu-west-1.app.aws/")).unwrap();
            assert_eq!(resolved.url, "https://ssoins-1.portal.eu-west-1.app.aws/");
            assert_eq!(resolved.region.unwrap().as_str(), "eu-west-1");
        }
        let resolved = judge(VANITY, 302, Some("//d-1.awsapps.com/start")).unwrap();
        assert_eq!(resolved, Resolved { url: "https://d-1.awsapps.com/start".into(), region: None });
    }

    #[test]
    fn whatever_leads_elsewhere_is_named_and_not_followed() {
        let says = |status, location| judge(VANITY, status, location).unwrap_err().to_string();
        assert!(says(404, None).starts_with("sso.example.com has no such page (HTTP 404)"));
        assert!(says(200, None).contains("does not lead to one: it answered HTTP 200"));
        assert!(says(200, Some("https://d-1.awsapps.com/start")).contains("HTTP 200"));
        assert!(says(302, Some("/login")).contains("leads to sso.example.com, which is not"));
        assert!(says(302, Some("https://www.example.com/start")).contains("leads to www.example.com, which is not"));
        assert!(says(302, Some("https://d-1.awsapps.com.evil.example/")).contains("d-1.awsapps.com.evil.example,"));
        assert!(says(302, Some("http://d-1.awsapps.com/start")).contains("by plain http"));
        assert!(says(302, Some("https://x@d-1.awsapps.com/")).contains("which is no URL"));
        assert!(!says(302, Some("https://\x1b]52;c;eA==\x07/")).contains('\x1b'));
    }
}
