//! Partitions, and the hosts of each service in them.
//!
//! Owns: which partition a region belongs to, and how a host name is made of a region. Refuses to know about custom
//! endpoints. Invariant: every region resolves; one that fits no partition is taken for a commercial one, as AWS's
//! own rules do. A host name that can be made is no proof that the service is there.

use super::Endpoint;
use crate::ids::Region;
use crate::nearest::nearest;

/// A service of AWS that requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// sso-oidc: registrations, sign-in, tokens.
    Oidc,
    /// The portal (service id `SSO`): accounts, roles, role credentials.
    Portal,
    /// Assumes the roles of profiles that have a `role_arn`.
    Sts,
    /// Exchanges role credentials for a way into the console.
    Signin,
    /// Cognito user pools.
    CognitoIdp,
    /// Cognito identity pools.
    CognitoIdentity,
}

impl Service {
    /// Its name in AWS's documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oidc => "sso-oidc",
            Self::Portal => "sso",
            Self::Sts => "sts",
            Self::Signin => "signin",
            Self::CognitoIdp => "cognito-idp",
            Self::CognitoIdentity => "cognito-identity",
        }
    }

    /// The variable that moves this service's endpoint.
    #[must_use]
    pub const fn endpoint_variable(self) -> &'static str {
        match self {
            Self::Oidc => "AWS_ENDPOINT_URL_SSO_OIDC",
            Self::Portal => "AWS_ENDPOINT_URL_SSO",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            Self::Signin => "AWS_ENDPOINT_URL_SIGNIN",
            Self::CognitoIdp => "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
            Self::CognitoIdentity => "AWS_ENDPOINT_URL_COGNITO_IDENTITY",
        }
    }

    /// Its key in a `[services]` section.
    #[must_use]
    pub const fn config_key(self) -> &'static str {
        match self {
            Self::Oidc => "sso_oidc",
            Self::Portal => "sso",
            Self::Sts => "sts",
            Self::Signin => "signin",
            Self::CognitoIdp => "cognito_identity_provider",
            Self::CognitoIdentity => "cognito_identity",
        }
    }

    const fn host(self) -> &'static str {
        match self {
            Self::Portal => "portal.sso",
            Self::Oidc => "oidc",
            Self::Sts => "sts",
            Self::Signin => "signin",
            Self::CognitoIdp => "cognito-idp",
            Self::CognitoIdentity => "cognito-identity",
        }
    }

    /// The services for people and machines that GovCloud has no further FIPS hosts for.
    const fn plain_is_fips_in_gov_cloud(self) -> bool {
        matches!(self, Self::Oidc | Self::Portal | Self::Sts)
    }

    const fn is_cognito(self) -> bool {
        matches!(self, Self::CognitoIdp | Self::CognitoIdentity)
    }
}

/// Where a service is, by AWS's rules.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "a region consists of characters that are legal in a host name")]
pub fn resolve(service: Service, region: &Region, fips: bool, dual_stack: bool) -> Endpoint {
    let partition = Partition::of(region);
    if service == Service::Signin {
        return format!("https://{}", signin_host(region)).parse().expect("a region and a suffix make a host name");
    }
    let is_commercial = partition.id == PARTITIONS[0].id;
    // The one service here that has hosts of no region.
    if service == Service::Sts && region.as_str() == PARTITIONS[0].global && !fips && !dual_stack {
        return "https://sts.amazonaws.com".parse().expect("a host name");
    }
    let fips_host = fips && (dual_stack || !(partition.is_gov_cloud && service.plain_is_fips_in_gov_cloud()));
    // In the commercial partition Cognito's ordinary hosts are its dual-stack hosts, and in some regions with FIPS too.
    let one_host_for_both = service.is_cognito() && is_commercial && (!fips || COGNITO_FIPS.contains(&region.as_str()));
    let suffix = if dual_stack && !one_host_for_both { partition.dual_stack_suffix } else { partition.suffix };
    let host = service.host();
    let kind = if fips_host { "-fips" } else { "" };
    format!("https://{host}{kind}.{region}.{suffix}").parse().expect("a region and a suffix make a host name")
}

/// The host that gives out sign-in tokens for the console.
#[must_use]
pub fn signin_host(region: &Region) -> String {
    Partition::of(region).web_host("signin", region)
}

/// The host of the console's pages.
#[must_use]
pub fn console_host(region: &Region) -> String {
    Partition::of(region).web_host("console", region)
}

/// The partition's id in AWS's documents and ARNs.
#[must_use]
pub fn partition_id(region: &Region) -> &'static str {
    Partition::of(region).id
}

/// The region that was probably meant by a text that is none AWS is known to have. Nothing for a region that there is,
/// and nothing for a name that is near no other: AWS may have opened it since.
#[must_use]
pub fn meant_region(text: &str) -> Option<&'static str> {
    let written = text.trim().to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    if is_known_region(text) { None } else { nearest(&written, regions()) }
}

/// Whether AWS is known to have a region.
#[must_use]
pub fn is_known_region(text: &str) -> bool {
    regions().any(|region| region == text)
}

fn regions() -> impl Iterator<Item = &'static str> {
    PARTITIONS.iter().flat_map(|partition| partition.regions.iter().copied())
}

/// What the hosts of AWS's services end in, in all partitions, with and without dual stack.
pub(super) fn suffixes() -> impl Iterator<Item = &'static str> {
    PARTITIONS.iter().flat_map(|partition| [partition.suffix, partition.dual_stack_suffix])
}

/// The region in the host name of a service, where AWS's rules put it.
#[must_use]
pub fn region_of_host(host: &str) -> Option<Region> {
    suffixes()
        .filter_map(|suffix| host.strip_suffix(suffix)?.strip_suffix('.'))
        .filter_map(|rest| rest.rsplit_once('.'))
        .filter(|(service, _)| {
            SERVICES.iter().any(|known| service.strip_suffix("-fips").unwrap_or(service) == known.host())
        })
        .find_map(|(_, region)| region.parse().ok())
}

/// The region that a partition's global services are in; that of the commercial one for a partition nobody knows.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "these are regions")]
pub fn implicit_global_region(partition: &str) -> Region {
    let region = match partition {
        "aws-cn" => "cn-northwest-1",
        "aws-us-gov" => "us-gov-west-1",
        "aws-iso" => "us-iso-east-1",
        "aws-iso-b" => "us-isob-east-1",
        "aws-iso-e" => "eu-isoe-west-1",
        "aws-iso-f" => "us-isof-south-1",
        "aws-eusc" => "eusc-de-east-1",
        _ => "us-east-1",
    };
    region.parse().expect("these are regions")
}

/// A part of AWS with domain names of its own.
struct Partition {
    id: &'static str,
    /// What a region starts with, before `-word-number`.
    prefixes: &'static [&'static str],
    /// The pseudo region of services that have one endpoint for the whole partition.
    global: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
    is_gov_cloud: bool,
    /// What follows `signin.` and `console.`.
    web_suffix: &'static str,
    /// Whether those hosts exist for each region only.
    web_is_regional: bool,
    /// The regions there were when this was written.
    regions: &'static [&'static str],
}

impl Partition {
    fn of(region: &Region) -> &'static Self {
        let region = region.as_str();
        PARTITIONS
            .iter()
            .find(|partition| partition.global == region)
            .or_else(|| {
                let prefix = prefix(region)?;
                PARTITIONS.iter().find(|partition| partition.prefixes.contains(&prefix))
            })
            .unwrap_or(&PARTITIONS[0])
    }

    fn web_host(&self, what: &str, region: &Region) -> String {
        if self.web_is_regional {
            format!("{region}.{what}.{}", self.web_suffix)
        } else {
            format!("{what}.{}", self.web_suffix)
        }
    }
}

/// `us-gov` of `us-gov-west-1`; nothing where the region is not of the form prefix-word-number.
fn prefix(region: &str) -> Option<&str> {
    let (rest, number) = region.rsplit_once('-')?;
    let (prefix, word) = rest.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !word.is_empty()).then_some(prefix)
}

const SERVICES: [Service; 5] =
    [Service::Oidc, Service::Portal, Service::Sts, Service::CognitoIdp, Service::CognitoIdentity];
/// Where Cognito's FIPS hosts are its dual-stack hosts as well.
const COGNITO_FIPS: [&str; 4] = ["us-east-1", "us-east-2", "us-west-1", "us-west-2"];

const PARTITIONS: [Partition; 8] = [
    Partition {
        id: "aws",
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        global: "aws-global",
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        is_gov_cloud: false,
        web_suffix: "aws.amazon.com",
        web_is_regional: false,
        regions: &[
            "af-south-1",
            "ap-east-1",
            "ap-east-2",
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-south-2",
            "ap-southeast-1",
            "ap-southeast-2",
            "ap-southeast-3",
            "ap-southeast-4",
            "ap-southeast-5",
            "ap-southeast-6",
            "ap-southeast-7",
            "ca-central-1",
            "ca-west-1",
            "eu-central-1",
            "eu-central-2",
            "eu-north-1",
            "eu-south-1",
            "eu-south-2",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "il-central-1",
            "me-central-1",
            "me-south-1",
            "mx-central-1",
            "sa-east-1",
            "us-east-1",
            "us-east-2",
            "us-west-1",
            "us-west-2",
        ],
    },
    Partition {
        id: "aws-cn",
        prefixes: &["cn"],
        global: "aws-cn-global",
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "api.amazonwebservices.com.cn",
        is_gov_cloud: false,
        web_suffix: "amazonaws.cn",
        web_is_regional: false,
        regions: &["cn-north-1", "cn-northwest-1"],
    },
    Partition {
        id: "aws-us-gov",
        prefixes: &["us-gov"],
        global: "aws-us-gov-global",
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        is_gov_cloud: true,
        web_suffix: "amazonaws-us-gov.com",
        web_is_regional: false,
        regions: &["us-gov-east-1", "us-gov-west-1"],
    },
    Partition {
        id: "aws-iso",
        prefixes: &["us-iso"],
        global: "aws-iso-global",
        suffix: "c2s.ic.gov",
        dual_stack_suffix: "api.aws.ic.gov",
        is_gov_cloud: false,
        web_suffix: "c2shome.ic.gov",
        web_is_regional: true,
        regions: &["us-iso-east-1", "us-iso-west-1"],
    },
    Partition {
        id: "aws-iso-b",
        prefixes: &["us-isob"],
        global: "aws-iso-b-global",
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "api.aws.scloud",
        is_gov_cloud: false,
        web_suffix: "sc2shome.sgov.gov",
        web_is_regional: true,
        regions: &["us-isob-east-1", "us-isob-west-1"],
    },
    Partition {
        id: "aws-iso-e",
        prefixes: &["eu-isoe"],
        global: "aws-iso-e-global",
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "api.cloud-aws.adc-e.uk",
        is_gov_cloud: false,
        web_suffix: "csphome.adc-e.uk",
        web_is_regional: true,
        regions: &["eu-isoe-west-1"],
    },
    Partition {
        id: "aws-iso-f",
        prefixes: &["us-isof"],
        global: "aws-iso-f-global",
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
        is_gov_cloud: false,
        web_suffix: "csphome.hci.ic.gov",
        web_is_regional: true,
        regions: &["us-isof-east-1", "us-isof-south-1"],
    },
    Partition {
        id: "aws-eusc",
        prefixes: &["eusc-de"],
        global: "aws-eusc-global",
        suffix: "amazonaws.eu",
        dual_stack_suffix: "api.amazonwebservices.eu",
        is_gov_cloud: false,
        web_suffix: "amazonaws-eusc.eu",
        web_is_regional: true,
        regions: &["eusc-de-east-1"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn region(text: &str) -> Region {
        text.parse().unwrap()
    }

    #[test]
    fn every_region_resolves_as_aws_own_rules_do() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/wire/vectors/endpoints.json"
        )))
        .unwrap();
        let mut checked = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let service = SERVICES.into_iter().find(|service| service.name() == case["service"]).unwrap();
            let (fips, dual_stack) = (case["fips"].as_bool().unwrap(), case["dualstack"].as_bool().unwrap());
            let endpoint = resolve(service, &region(case["region"].as_str().unwrap()), fips, dual_stack);
            assert_eq!(endpoint.as_str(), case["url"].as_str().unwrap(), "{case}");
            checked += 1;
        }
        assert_eq!(checked, 380);
    }

    #[test]
    fn the_global_region_of_a_partition_is_one_of_its_regions() {
        for partition in PARTITIONS {
            assert_eq!(partition_id(&implicit_global_region(partition.id)), partition.id);
        }
    }

    #[test]
    fn a_region_of_no_known_partition_is_taken_for_a_commercial_one() {
        for text in ["xx-unknown-1", "us-east", "local", "us--1"] {
            let endpoint = resolve(Service::Oidc, &region(text), false, false);
            assert_eq!(endpoint.as_str(), format!("https://oidc.{text}.amazonaws.com"));
            assert_eq!(partition_id(&region(text)), "aws");
        }
    }

    #[test]
    fn the_console_has_hosts_in_every_partition() {
        for (of, signin, console) in [
            ("eu-west-1", "signin.aws.amazon.com", "console.aws.amazon.com"),
            ("cn-north-1", "signin.amazonaws.cn", "console.amazonaws.cn"),
            ("us-gov-west-1", "signin.amazonaws-us-gov.com", "console.amazonaws-us-gov.com"),
            ("us-iso-east-1", "us-iso-east-1.signin.c2shome.ic.gov", "us-iso-east-1.console.c2shome.ic.gov"),
            ("us-isob-east-1", "us-isob-east-1.signin.sc2shome.sgov.gov", "us-isob-east-1.console.sc2shome.sgov.gov"),
            ("eu-isoe-west-1", "eu-isoe-west-1.signin.csphome.adc-e.uk", "eu-isoe-west-1.console.csphome.adc-e.uk"),
            ("us-isof-east-1", "us-isof-east-1.signin.csphome.hci.ic.gov", "us-isof-east-1.console.csphome.hci.ic.gov"),
            ("eusc-de-east-1", "eusc-de-east-1.signin.amazonaws-eusc.eu", "eusc-de-east-1.console.amazonaws-eusc.eu"),
        ] {
            assert_eq!((signin_host(&region(of)).as_str(), console_host(&region(of)).as_str()), (signin, console));
        }
    }

    #[test]
    fn every_region_there_is_belongs_to_the_partition_it_is_listed_in() {
        for partition in &PARTITIONS {
            for text in partition.regions {
                assert_eq!(partition_id(&region(text)), partition.id, "{text}");
                assert_eq!(meant_region(text), None, "{text}");
            }
        }
    }

    #[test]
    fn a_slip_in_a_region_is_recognised_and_a_new_region_is_left_alone() {
        for (written, meant) in [
            ("eu-wset-1", "eu-west-1"),
            ("EU-WEST-1", "eu-west-1"),
            ("us_east_1", "us-east-1"),
            ("us-east1", "us-east-1"),
        ] {
            assert_eq!(meant_region(written), Some(meant), "{written}");
        }
        assert_eq!(meant_region("xx-somewhere-else-77"), None);
    }

    #[test]
    fn the_region_is_read_back_from_every_host_that_is_made_of_one() {
        for service in SERVICES {
            for text in PARTITIONS.iter().flat_map(|partition| partition.regions) {
                for (fips, dual_stack) in [(false, false), (false, true), (true, false), (true, true)] {
                    let endpoint = resolve(service, &region(text), fips, dual_stack);
                    assert_eq!(region_of_host(endpoint.host()), Some(region(text)), "{endpoint}");
                }
            }
        }
        for host in ["oidc.example.com", "eu-west-1.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com", ""] {
            assert_eq!(region_of_host(host), None, "{host}");
        }
    }
}
