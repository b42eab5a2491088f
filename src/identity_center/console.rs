//! The AWS console: where its pages are, and where role credentials may be exchanged for a way in.
//!
//! Owns: what may be opened after the sign-in, the address that signs in, and the rule for the host that gets role
//! credentials. Refuses to know how they are exchanged. Invariants: a [`Destination`] is a page of the console of one
//! partition; credentials of AWS's own portal go to AWS's own sign-in host, all others to the host they came from.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Endpoint;
use super::partition::{self, Service};
use crate::ids::Region;
use crate::secret::Secret;

/// A page of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination(String);

impl Destination {
    /// The page that was asked for: an address of this partition's console, a service such as `s3`, or the first page.
    ///
    /// `home` is the region of the session, `wanted` the one to arrive in, which counts if it is in the same partition.
    ///
    /// # Errors
    /// It is neither.
    pub fn of(asked: Option<&str>, home: &Region, wanted: Option<&Region>) -> Result<Self, NoDestination> {
        let same = |region: &&Region| partition::partition_id(region) == partition::partition_id(home);
        let region = wanted.filter(same).unwrap_or(home);
        let host = partition::console_host(region);
        match asked {
            None => Ok(Self(format!("https://{host}/console/home?region={region}"))),
            Some(service) if is_service(service) => Ok(Self(format!("https://{host}/{service}/home?region={region}"))),
            Some(address) if is_on(address, &partition::console_host(home)) || is_on(address, &host) => {
                Ok(Self(address.to_owned()))
            }
            Some(_) => Err(NoDestination { host }),
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was asked for is no page of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDestination {
    host: String,
}

impl fmt::Display for NoDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected a service such as s3, or a page of https://{}/", self.host)
    }
}

impl std::error::Error for NoDestination {}

/// What issued role credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The portal, or STS.
    pub service: Service,
    /// Of which region.
    pub region: Region,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// Where role credentials are exchanged for a sign-in token.
///
/// # Errors
/// `configured` is another host than the one that has these credentials anyway.
pub fn signin_endpoint(
    issuer: &Issuer,
    home: &Region,
    configured: Option<&Endpoint>,
) -> Result<Endpoint, SigninElsewhere> {
    let Issuer { service, region, endpoint } = issuer;
    let own = partition::resolve(Service::Signin, home, false, false);
    let from_aws = [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .any(|(fips, dual_stack)| partition::resolve(*service, region, fips, dual_stack) == *endpoint);
    match configured {
        None => Ok(own),
        Some(configured) if *configured == own => Ok(own),
        Some(configured) if !from_aws && configured.host() == endpoint.host() => Ok(configured.clone()),
        Some(configured) => Err(SigninElsewhere { issuer: endpoint.clone(), configured: configured.clone() }),
    }
}

/// Role credentials would be sent to a host that neither issued them nor is AWS's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigninElsewhere {
    /// What issued them.
    pub issuer: Endpoint,
    /// What is configured.
    pub configured: Endpoint,
}

impl fmt::Display for SigninElsewhere {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, configured } = self;
        write!(formatter, "credentials of {issuer} go to AWS's own sign-in host or stay on theirs, not to {configured}")
    }
}

impl std::error::Error for SigninElsewhere {}

/// The address that signs a browser in: who has it is in.
///
/// `issuer` is the page that people are sent to when the console session is over.
#[must_use]
pub fn login_url(signin: &Endpoint, issuer: &str, destination: &Destination, token: &Secret) -> Secret {
    let token = token.expose();
    // Large enough for every character to be escaped: an outgrown buffer would be a copy that nobody wipes.
    let most = 3 * (issuer.len() + destination.0.len() + token.len()) + signin.as_str().len() + 128;
    let mut url = String::with_capacity(most);
    url.push_str(signin.as_str());
    url.push_str("/federation?Action=login");
    for (name, value) in [("Issuer", issuer), ("Destination", destination.as_str()), ("SigninToken", token)] {
        url.push('&');
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, RESERVED));
    }
    Secret::new(url)
}

/// A service as it is written in the console's addresses.
fn is_service(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether an address is https, on this host or one below it, and made of the characters of a URL.
fn is_on(address: &str, host: &str) -> bool {
    let in_a_url = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if address.len() > LONGEST || !address.bytes().all(in_a_url) {
        return false;
    }
    let Some(rest) = address.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let labels = match authority.strip_suffix(host) {
        Some("") => return true,
        Some(labels) => labels.strip_suffix('.'),
        None => None,
    };
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    labels.is_some_and(|labels| labels.split('.').all(is_label))
}

const LONGEST: usize = 2048;
/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    fn region(text: &str) -> Region {
        text.parse().unwrap()
    }

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    fn portal(home: &str, url: &str) -> Issuer {
        Issuer { service: Service::Portal, region: region(home), endpoint: endpoint(url) }
    }

    fn destination(asked: Option<&str>, home: &str, wanted: Option<&str>) -> Result<String, String> {
        let wanted = wanted.map(region);
        Destination::of(asked, &region(home), wanted.as_ref())
            .map(|destination| destination.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_partition_has_its_own_console_and_sign_in_host() {
        for (home, console, signin) in [
            ("eu-west-1", "console.aws.amazon.com", "signin.aws.amazon.com"),
            ("cn-north-1", "console.amazonaws.cn", "signin.amazonaws.cn"),
            ("us-gov-west-1", "console.amazonaws-us-gov.com", "signin.amazonaws-us-gov.com"),
            ("us-iso-east-1", "us-iso-east-1.console.c2shome.ic.gov", "us-iso-east-1.signin.c2shome.ic.gov"),
            ("us-isob-east-1", "us-isob-east-1.console.sc2shome.sgov.gov", "us-isob-east-1.signin.sc2shome.sgov.gov"),
            ("eu-isoe-west-1", "eu-isoe-west-1.console.csphome.adc-e.uk", "eu-isoe-west-1.signin.csphome.adc-e.uk"),
            (
                "us-isof-south-1",
                "us-isof-south-1.console.csphome.hci.ic.gov",
                "us-isof-south-1.signin.csphome.hci.ic.gov",
            ),
            ("eusc-de-east-1", "eusc-de-east-1.console.amazonaws-eusc.eu", "eusc-de-east-1.signin.amazonaws-eusc.eu"),
        ] {
            let page = format!("https://{console}/s3/home?region={home}");
            assert_eq!(destination(Some("s3"), home, None).unwrap(), page);
            assert_eq!(destination(Some(&page), home, None).unwrap(), page);
            let issuer = portal(home, partition::resolve(Service::Portal, &region(home), false, false).as_str());
            assert_eq!(signin_endpoint(&issuer, &region(home), None), Ok(endpoint(&format!("https://{signin}"))));
        }
    }

    #[test]
    fn the_first_page_is_in_the_region_of_the_profile_if_that_is_in_the_same_partition() {
        let home = |wanted| destination(None, "eu-west-1", wanted).unwrap();
        assert_eq!(home(None), "https://console.aws.amazon.com/console/home?region=eu-west-1");
        assert_eq!(home(Some("us-east-2")), "https://console.aws.amazon.com/console/home?region=us-east-2");
        assert_eq!(home(Some("cn-north-1")), "https://console.aws.amazon.com/console/home?region=eu-west-1");
    }

    #[test]
    fn nothing_but_a_page_of_the_partitions_console_is_a_destination() {
        for good in [
            "https://console.aws.amazon.com/ec2/home?region=us-east-1#Instances:",
            "https://us-east-1.console.aws.amazon.com/cloudwatch/home",
            "https://console.aws.amazon.com",
        ] {
            assert_eq!(destination(Some(good), "eu-west-1", None).unwrap(), good);
        }
        for wrong in [
            "",
            "S3",
            "s3/../x",
            "s3?x",
            "http://console.aws.amazon.com/",
            "https://console.aws.amazon.com.evil.example/",
            "https://evilconsole.aws.amazon.com/",
            "https://.console.aws.amazon.com/",
            "https://evil.example/?.console.aws.amazon.com",
            "https://evil.example#.console.aws.amazon.com",
            "https://user@console.aws.amazon.com/",
            "https://evil.example\\@console.aws.amazon.com/",
            "https://console.aws.amazon.com:8443/",
            "https://console.amazonaws.cn/",
            "https://console.aws.amazon.com/\r\nX: y",
            "https://console.aws.amazon.com/ x",
            "https://console.aws.amazon.com/\u{202e}",
            "javascript:alert(1)",
            "//console.aws.amazon.com/",
        ] {
            assert!(destination(Some(wrong), "eu-west-1", None).is_err(), "{wrong}");
        }
        let long = format!("https://console.aws.amazon.com/{}", "a".repeat(LONGEST));
        assert!(destination(Some(&long), "eu-west-1", None).unwrap_err().contains("console.aws.amazon.com"));
    }

    #[test]
    fn credentials_of_awss_own_portal_go_to_awss_own_sign_in_host_only() {
        let home = region("eu-west-1");
        let own = endpoint("https://signin.aws.amazon.com");
        for issuer in ["https://portal.sso.eu-west-1.amazonaws.com", "https://portal.sso-fips.eu-west-1.api.aws"] {
            let issuer = portal("eu-west-1", issuer);
            assert_eq!(signin_endpoint(&issuer, &home, None), Ok(own.clone()));
            assert_eq!(signin_endpoint(&issuer, &home, Some(&own)), Ok(own.clone()));
            for evil in ["https://evil.example", "http://127.0.0.1:4566", "https://portal.sso.eu-west-1.amazonaws.com"]
            {
                assert!(signin_endpoint(&issuer, &home, Some(&endpoint(evil))).is_err(), "{evil}");
            }
        }
        let sts = endpoint("https://sts.us-east-1.amazonaws.com");
        let sts = Issuer { service: Service::Sts, region: region("us-east-1"), endpoint: sts };
        assert_eq!(signin_endpoint(&sts, &home, None), Ok(own));
        assert!(signin_endpoint(&sts, &home, Some(&endpoint("https://evil.example"))).is_err());
    }

    #[test]
    fn credentials_of_another_portal_stay_on_its_host_or_go_to_aws() {
        let (home, here) = (region("eu-west-1"), portal("eu-west-1", "http://127.0.0.1:4566"));
        let other_port = endpoint("http://127.0.0.1:4567/signin");
        assert_eq!(signin_endpoint(&here, &home, Some(&other_port)), Ok(other_port));
        assert_eq!(signin_endpoint(&here, &home, None), Ok(endpoint("https://signin.aws.amazon.com")));
        assert!(signin_endpoint(&here, &home, Some(&endpoint("https://evil.example"))).is_err());
    }

    #[test]
    fn the_address_that_signs_in_escapes_all_it_is_made_of() {
        let page = Destination::of(Some("https://console.aws.amazon.com/a?b=c&d"), &region("eu-west-1"), None).unwrap();
        let token = Secret::new("t+/=&SigninToken=x".to_owned());
        let url = login_url(&endpoint("https://signin.aws.amazon.com"), "https://c.awsapps.com/start#/", &page, &token);
        assert_eq!(
            url.expose(),
            "https://signin.aws.amazon.com/federation?Action=login&Issuer=https%3A%2F%2Fc.awsapps.com%2Fstart%23%2F\
             &Destination=https%3A%2F%2Fconsole.aws.amazon.com%2Fa%3Fb%3Dc%26d&SigninToken=t%2B%2F%3D%26SigninToken%3Dx"
        );
    }
}
