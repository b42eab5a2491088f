//! Partitions, and the hosts of sso-oidc and the portal in each.
//!
//! Owns: which partition a region belongs to, and how a host name is made of a region. Refuses to know about custom
//! endpoints. Invariant: every region resolves; one that fits no partition is taken for a commercial one, as AWS's
//! own rules do. A host name that can be made is no proof that the service is there.

use super::Endpoint;
use crate::ids::Region;

/// A service of IAM Identity Center that a session talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// sso-oidc: registrations, sign-in, tokens.
    Oidc,
    /// The portal (service id `SSO`): accounts, roles, role credentials.
    Portal,
}

impl Service {
    /// Its name in AWS's documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oidc => "sso-oidc",
            Self::Portal => "sso",
        }
    }
}

/// Where a service is, by AWS's rules.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "a region consists of characters that are legal in a host name")]
pub fn resolve(service: Service, region: &Region, fips: bool, dual_stack: bool) -> Endpoint {
    let partition = Partition::of(region);
    let host = match (service, fips && (dual_stack || !partition.plain_is_fips)) {
        (Service::Oidc, false) => "oidc",
        (Service::Oidc, true) => "oidc-fips",
        (Service::Portal, false) => "portal.sso",
        (Service::Portal, true) => "portal.sso-fips",
    };
    let suffix = if dual_stack { partition.dual_stack_suffix } else { partition.suffix };
    format!("https://{host}.{region}.{suffix}").parse().expect("a region and a suffix make a host name")
}

/// A part of AWS with domain names of its own.
struct Partition {
    /// What a region starts with, before `-word-number`.
    prefixes: &'static [&'static str],
    /// The pseudo region of services that have one endpoint for the whole partition.
    global: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
    /// GovCloud's ordinary hosts are its FIPS hosts; its dual-stack hosts are not.
    plain_is_fips: bool,
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
}

/// `us-gov` of `us-gov-west-1`; nothing where the region is not of the form prefix-word-number.
fn prefix(region: &str) -> Option<&str> {
    let (rest, number) = region.rsplit_once('-')?;
    let (prefix, word) = rest.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !word.is_empty()).then_some(prefix)
}

const PARTITIONS: [Partition; 8] = [
    Partition {
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        global: "aws-global",
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        plain_is_fips: false,
    },
    Partition {
        prefixes: &["cn"],
        global: "aws-cn-global",
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "api.amazonwebservices.com.cn",
        plain_is_fips: false,
    },
    Partition {
        prefixes: &["us-gov"],
        global: "aws-us-gov-global",
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        plain_is_fips: true,
    },
    Partition {
        prefixes: &["us-iso"],
        global: "aws-iso-global",
        suffix: "c2s.ic.gov",
        dual_stack_suffix: "api.aws.ic.gov",
        plain_is_fips: false,
    },
    Partition {
        prefixes: &["us-isob"],
        global: "aws-iso-b-global",
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "api.aws.scloud",
        plain_is_fips: false,
    },
    Partition {
        prefixes: &["eu-isoe"],
        global: "aws-iso-e-global",
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "api.cloud-aws.adc-e.uk",
        plain_is_fips: false,
    },
    Partition {
        prefixes: &["us-isof"],
        global: "aws-iso-f-global",
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
        plain_is_fips: false,
    },
    Partition {
        prefixes: &["eusc-de"],
        global: "aws-eusc-global",
        suffix: "amazonaws.eu",
        dual_stack_suffix: "api.amazonwebservices.eu",
        plain_is_fips: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_resolves_as_aws_own_rules_do() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/wire/vectors/endpoints.json"
        )))
        .unwrap();
        let mut checked = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let service = match case["service"].as_str().unwrap() {
                "sso-oidc" => Service::Oidc,
                "sso" => Service::Portal,
                _ => continue,
            };
            let region = case["region"].as_str().unwrap().parse().unwrap();
            let (fips, dual_stack) = (case["fips"].as_bool().unwrap(), case["dualstack"].as_bool().unwrap());
            let endpoint = resolve(service, &region, fips, dual_stack);
            assert_eq!(endpoint.as_str(), case["url"].as_str().unwrap(), "{case}");
            checked += 1;
        }
        assert_eq!(checked, 2 * 19 * 4);
    }

    #[test]
    fn a_region_of_no_known_partition_is_taken_for_a_commercial_one() {
        for region in ["xx-unknown-1", "us-east", "local", "us--1"] {
            let endpoint = resolve(Service::Oidc, &region.parse().unwrap(), false, false);
            assert_eq!(endpoint.as_str(), format!("https://oidc.{region}.amazonaws.com"));
        }
    }
}
