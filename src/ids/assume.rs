//! What it takes to assume a role with other credentials: STS `AssumeRole` as the AWS configuration asks for it.
//!
//! Owns: what a legal role ARN, external id, role session name and duration are. Refuses to know what STS is and how it
//! is reached: a [`StsPlace`] is only named here. Invariant: two assumptions that differ in anything are two targets.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AccountId, Grant, InvalidName, Region, RoleName};

/// `arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn {
    text: Box<str>,
    account: AccountId,
    role: RoleName,
}

impl RoleArn {
    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The account the role is in.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// The role's name, without its path.
    #[must_use]
    pub const fn role(&self) -> &RoleName {
        &self.role
    }

    /// `aws`, `aws-cn`, …
    #[must_use]
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }
}

impl FromStr for RoleArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { kind: "role ARN", expected: "arn:aws:iam::ACCOUNT:role/NAME" };
        if text.len() > LONGEST_ARN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid());
        }
        let rest = text.strip_prefix("arn:").ok_or_else(invalid)?;
        let (partition, rest) = rest.split_once(":iam::").ok_or_else(invalid)?;
        let (account, resource) = rest.split_once(":role/").ok_or_else(invalid)?;
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if partition.is_empty() || !partition.bytes().all(legal) {
            return Err(invalid());
        }
        let name = resource.rsplit('/').next().unwrap_or_default();
        Ok(Self {
            text: text.into(),
            account: account.parse().map_err(|_| invalid())?,
            role: name.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

name!(
    /// What the owner of a role asks for besides the right credentials.
    ExternalId,
    "external id",
    "2 to 1224 of A-Z a-z 0-9 _ + = , . @ : / -",
    |text| (2..=1224).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte))
);

name!(
    /// What AWS's logs call the holder of the assumed role.
    RoleSessionName,
    "role session name",
    "2 to 64 of A-Z a-z 0-9 _ + = , . @ -",
    |text| (2..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
);

/// Where STS is, as `identity_center::Endpoint` writes it; that type makes these and takes them back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StsAddress(Box<str>);

impl StsAddress {
    #[cfg(feature = "agent")]
    pub(crate) fn of_endpoint(text: &str) -> Self {
        Self(text.into())
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long the assumed role is asked for: 900 to 43200 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssumedFor(Duration);

impl AssumedFor {
    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whether it is more than AWS grants to a role that is assumed with the credentials of another role, which is what
    /// everything that comes from IAM Identity Center is.
    #[must_use]
    pub fn is_more_than_chained_roles_get(self) -> bool {
        self.0 > MOST_FOR_CHAINED
    }
}

impl FromStr for AssumedFor {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let seconds = text.parse().ok().filter(|seconds| (900..=43_200).contains(seconds));
        let invalid = InvalidName { kind: "duration", expected: "900 to 43200, in seconds" };
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or(invalid)
    }
}

/// Which STS is asked, and what it is trusted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StsPlace {
    /// The region the request is signed for.
    pub region: Region,
    /// Where it goes.
    pub address: StsAddress,
    /// A PEM bundle in place of the session's.
    pub ca_bundle: Option<PathBuf>,
}

/// A role that is assumed with the credentials of another grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assumption {
    /// Whose credentials sign the request.
    pub source: Grant,
    /// `RoleArn`.
    pub role: RoleArn,
    /// `RoleSessionName`.
    pub session_name: RoleSessionName,
    /// `ExternalId`.
    pub external_id: Option<ExternalId>,
    /// `DurationSeconds`; AWS's own default where there is none.
    pub duration: Option<AssumedFor>,
    /// Who is asked.
    pub sts: StsPlace,
}

const LONGEST_ARN: usize = 2048;
const MOST_FOR_CHAINED: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_arn_names_a_partition_an_account_and_a_role_perhaps_below_a_path() {
        for (text, partition, role) in [
            ("arn:aws:iam::111122223333:role/Admin", "aws", "Admin"),
            ("arn:aws-cn:iam::111122223333:role/a/b/Ops+=,.@-_", "aws-cn", "Ops+=,.@-_"),
        ] {
            let arn: RoleArn = text.parse().unwrap();
            assert_eq!((arn.partition(), arn.account().as_str()), (partition, "111122223333"));
            assert_eq!((arn.role().as_str(), arn.as_str()), (role, text));
        }
        for wrong in [
            "",
            "Admin",
            "arn:aws:iam::111122223333:user/x",
            "arn:aws:iam::1:role/x",
            "arn::iam::111122223333:role/x",
            "arn:AWS:iam::111122223333:role/x",
            "arn:aws:sts::111122223333:assumed-role/x/y",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/x/",
            "arn:aws:iam::111122223333:role/a b",
            "arn:aws:iam::111122223333:role/\u{202e}",
            &format!("arn:aws:iam::111122223333:role/{}x", "p/".repeat(1100)),
        ] {
            assert!(wrong.parse::<RoleArn>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn external_ids_session_names_and_durations_are_what_sts_takes() {
        assert!("a:/b".parse::<ExternalId>().is_ok() && "x".repeat(1224).parse::<ExternalId>().is_ok());
        for wrong in ["", "x", "a b", "a*", "é́x", &"x".repeat(1225)] {
            assert!(wrong.parse::<ExternalId>().is_err(), "{wrong}");
        }
        assert!("sso-agent-alice@host".parse::<RoleSessionName>().is_ok());
        for wrong in ["x", "a/b", "a b", &"x".repeat(65)] {
            assert!(wrong.parse::<RoleSessionName>().is_err(), "{wrong}");
        }
        for (text, more) in [("900", false), ("3600", false), ("3601", true), ("43200", true)] {
            assert_eq!(text.parse::<AssumedFor>().unwrap().is_more_than_chained_roles_get(), more);
        }
        for wrong in ["", "899", "43201", "1h", "-900", "1e3"] {
            assert!(wrong.parse::<AssumedFor>().is_err(), "{wrong}");
        }
    }
}
