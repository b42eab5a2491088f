//! Which URLs of the service a person may be sent to.
//!
//! Owns: the rule for opening a URL or printing it as a link. Refuses to know browsers. Invariant: such a URL leads to
//! the service that was asked, to the start URL's host or to a host of AWS's own, and means the same to every reader of
//! URLs: no userinfo, no backslash, nothing but printable ASCII.

use super::Endpoint;
use super::endpoint::is_loopback_host;
use super::partition::suffixes;
use super::start_url::is_portal;

/// Whether a URL may be opened or printed as a link: https (http only on a loopback-bound origin, to this machine), no
/// userinfo, at most 4 KiB of printable ASCII, and the host of sso-oidc, of the start URL, or one of AWS's own.
#[must_use]
pub fn is_presentable(url: &str, oidc: &Endpoint, start_url: &str) -> bool {
    let Some(link) = Link::parse(url) else { return false };
    let secure = match link.scheme {
        Scheme::Https => true,
        Scheme::Http => oidc.is_loopback() && is_loopback_host(&link.host),
    };
    let known = || {
        link.host == oidc.host()
            || Link::parse(start_url).is_some_and(|start| start.host == link.host)
            || is_aws_owned(&link.host)
    };
    secure && known()
}

/// Whether a host belongs to AWS and serves sign-ins: the access portals, and the services in each partition. Not all
/// of `amazonaws.com`: customers run machines and buckets there.
#[must_use]
pub fn is_aws_owned(host: &str) -> bool {
    is_portal(host)
        || SERVICES.iter().any(|service| {
            host.strip_prefix(service).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| {
                rest.split_once('.')
                    .is_some_and(|(region, suffix)| is_label(region) && suffixes().any(|known| known == suffix))
            })
        })
}

pub(super) enum Scheme {
    Https,
    Http,
}

/// A URL that means the same to every reader of URLs.
pub(super) struct Link {
    pub(super) scheme: Scheme,
    /// In lower case, without brackets.
    pub(super) host: String,
}

impl Link {
    // By hand: a browser and a library disagree on backslashes, tabs and half-open brackets; this reads none of them.
    pub(super) fn parse(url: &str) -> Option<Self> {
        if url.len() > LONGEST || !url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte)) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let (host, port) = match authority.strip_prefix('[') {
            Some(literal) => {
                let (address, port) = literal.split_once(']')?;
                (address.parse::<std::net::Ipv6Addr>().ok()?.to_string(), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (host, port) = authority.split_at(end);
                if !host.split('.').all(is_label) {
                    return None;
                }
                (host.to_owned(), port)
            }
        };
        let legal_port = port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| {
                !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
            });
        legal_port.then_some(Self { scheme, host })
    }
}

pub(super) fn has_labels_before(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|labels| labels.split('.').all(is_label))
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

const LONGEST: usize = 4096;

/// `{service}.{region}.{suffix}`.
const SERVICES: [&str; 6] = ["device.sso", "device.sso-fips", "oidc", "oidc-fips", "portal.sso", "portal.sso-fips"];

#[cfg(test)]
mod tests {
    use super::*;

    fn aws() -> Endpoint {
        "https://oidc.eu-west-1.amazonaws.com".parse().unwrap()
    }

    fn here() -> Endpoint {
        "http://127.0.0.1:4566".parse().unwrap()
    }

    #[test]
    fn the_services_own_pages_are_presentable() {
        for url in [
            "https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH",
            "https://DEVICE.sso.cn-north-1.amazonaws.com.cn/",
            "https://d-1234567890.awsapps.com/start/#/device?user_code=ABCD-EFGH",
            "https://ssoins-1.portal.eu-west-1.app.aws/device?x=y",
            "https://identitycenter.us-gov.amazonaws.com/ssoins-1",
            "https://oidc.eu-west-1.amazonaws.com:443/authorize",
            "https://login.example.com/device",
        ] {
            assert!(is_presentable(url, &aws(), "https://login.example.com/start"), "{url}");
        }
    }

    #[test]
    fn a_page_of_somebody_else_is_not() {
        for url in [
            "https://evil.example.com/",
            "https://device.sso.eu-west-1.amazonaws.com.evil.example.com/",
            "https://evil.s3.amazonaws.com/",
            "https://device.sso.bucket.s3.amazonaws.com/",
            "https://evilawsapps.com/",
            "https://.awsapps.com/",
            "https://awsapps.com/",
            "https://d-1.awsapps.com./",
            "https://device.sso.eu-west-1.amazonaws.com@evil.example.com/",
            "https://user@d-1.awsapps.com/",
            "https://evil.example.com\\@d-1.awsapps.com/",
            "https://evil.example.com#@d-1.awsapps.com/",
            "https://evil.example.com?.awsapps.com",
            "https://d-1.awsapps.com:99999/",
            "https://d-1.awsapps.com:/",
            "https://d-1.awsapps.com:80:80/",
            "https://[::1/",
            "http://d-1.awsapps.com/",
            "http://127.0.0.1:4566/",
            "javascript://d-1.awsapps.com/%0aalert(1)",
            "file:///etc/passwd",
            "https:d-1.awsapps.com/",
            "//d-1.awsapps.com/",
            "https://",
            "",
            "https://d-1.awsapps.com/ x",
            "https://d-1.awsapps.com/\x1b]52;c;eA==\x07",
            "https://d-1.awsapps.com/\"x",
            "https://d-1.awsapps.com/ä",
            "-x https://d-1.awsapps.com/",
        ] {
            assert!(!is_presentable(url, &aws(), "https://d-1.awsapps.com/start"), "{url}");
        }
        let long = format!("https://d-1.awsapps.com/{}", "a".repeat(4096));
        assert!(!is_presentable(&long, &aws(), ""));
    }

    #[test]
    fn plain_http_is_for_an_origin_on_this_machine_and_leads_there() {
        let start_url = "http://evil.example.com/start";
        assert!(is_presentable("http://127.0.0.1:4566/device?user_code=A", &here(), start_url));
        assert!(is_presentable("https://device.sso.eu-west-1.amazonaws.com/", &here(), start_url));
        assert!(!is_presentable("http://evil.example.com/device", &here(), start_url));
        assert!(!is_presentable("http://device.sso.eu-west-1.amazonaws.com/", &here(), start_url));
        let ipv6: Endpoint = "http://[::1]:1".parse().unwrap();
        assert!(is_presentable("http://[::1]:2/device", &ipv6, start_url));
        assert!(is_presentable("http://localhost/device", &ipv6, "http://localhost/start"));
    }
}
