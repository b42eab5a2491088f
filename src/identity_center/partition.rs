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
    /// STS: roles that are assumed with other credentials.
    Sts,
}

impl Service {
    /// Its name in AWS's documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oidc => "sso-oidc",
            Self::Portal => "sso",
            Self::Sts => "sts",
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
        (Service::Sts, false) => "sts",
        (Service::Sts, true) => "sts-fips",
    };
    let suffix = if dual_stack { partition.dual_stack_suffix } else { partition.suffix };
    format!("https://{host}.{region}.{suffix}").parse().expect("a region and a suffix make a host name")
}

/// The region that a partition's global services are in; that of the commercial one for a partition nobody knows.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the table holds regions")]
pub fn implicit_global_region(partition: &str) -> Region {
    let known = PARTITIONS.iter().find(|known| known.id == partition).unwrap_or(&PARTITIONS[0]);
    known.implicit_global.parse().expect("the table holds regions")
}

/// A part of AWS with domain names of its own.
struct Partition {
    /// Its name in an ARN.
    id: &'static str,
    implicit_global: &'static str,
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
        id: "aws",
        implicit_global: "us-east-1",
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        global: "aws-global",
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        plain_is_fips: false,
    },
    Partition {
        id: "aws-cn",
        implicit_global: "cn-northwest-1",
        prefixes: &["cn"],
        global: "aws-cn-global",
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "api.amazonwebservices.com.cn",
        plain_is_fips: false,
    },
    Partition {
        id: "aws-us-gov",
        implicit_global: "us-gov-west-1",
        prefixes: &["us-gov"],
        global: "aws-us-gov-global",
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        plain_is_fips: true,
    },
    Partition {
        id: "aws-iso",
        implicit_global: "us-iso-east-1",
        prefixes: &["us-iso"],
        global: "aws-iso-global",
        suffix: "c2s.ic.gov",
        dual_stack_suffix: "api.aws.ic.gov",
        plain_is_fips: false,
    },
    Partition {
        id: "aws-iso-b",
        implicit_global: "us-isob-east-1",
        prefixes: &["us-isob"],
        global: "aws-iso-b-global",
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "api.aws.scloud",
        plain_is_fips: false,
    },
    Partition {
        id: "aws-iso-e",
        implicit_global: "eu-isoe-west-1",
        prefixes: &["eu-isoe"],
        global: "aws-iso-e-global",
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "api.cloud-aws.adc-e.uk",
        plain_is_fips: false,
    },
    Partition {
        id: "aws-iso-f",
        implicit_global: "us-isof-south-1",
        prefixes: &["us-isof"],
        global: "aws-iso-f-global",
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
        plain_is_fips: false,
    },
    Partition {
        id: "aws-eusc",
        implicit_global: "eusc-de-east-1",
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
                "sts" => Service::Sts,
                _ => continue,
            };
            let region = case["region"].as_str().unwrap().parse().unwrap();
            let (fips, dual_stack) = (case["fips"].as_bool().unwrap(), case["dualstack"].as_bool().unwrap());
            let endpoint = resolve(service, &region, fips, dual_stack);
            assert_eq!(endpoint.as_str(), case["url"].as_str().unwrap(), "{case}");
            checked += 1;
        }
        assert_eq!(checked, 3 * 19 * 4);
    }

    #[test]
    fn a_region_of_no_known_partition_is_taken_for_a_commercial_one() {
        for region in ["xx-unknown-1", "us-east", "local", "us--1"] {
            let endpoint = resolve(Service::Oidc, &region.parse().unwrap(), false, false);
            assert_eq!(endpoint.as_str(), format!("https://oidc.{region}.amazonaws.com"));
        }
    }
}
