//! The names things go by: sessions, profiles, accounts, roles, regions, targets.
//!
//! Owns: what is a legal name. Refuses to know where names come from. Invariant: a value of these types
//! has been checked once, at the edge, and is trusted from there on (an account id is twelve digits, a role
//! name can be put into a command line or a configuration file as it stands).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not a legal name of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName {
    /// What it was meant to be: "account id", "role name", ...
    pub kind: &'static str,
    /// What a legal one looks like.
    pub expected: &'static str,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not a valid {}: expected {}", self.kind, self.expected)
    }
}

impl std::error::Error for InvalidName {}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $legal:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let legal: fn(&str) -> bool = $legal;
                if legal(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { kind: $kind, expected: $expected })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_line(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control)
}

name!(
    /// An `[sso-session NAME]`, or the start URL of a legacy profile exactly as written.
    SessionName,
    "session name",
    "one line of 1 to 2048 bytes",
    |text| is_line(text, 2048)
);

name!(
    /// A profile of the AWS configuration.
    ProfileName,
    "profile name",
    "one line of 1 to 512 bytes",
    |text| is_line(text, 512)
);

name!(
    /// An AWS account id.
    AccountId,
    "account id",
    "twelve digits",
    |text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
);

name!(
    /// The name of a permission set's role as the portal knows it.
    RoleName,
    "role name",
    "1 to 64 of A-Z a-z 0-9 _ + = , . @ -",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
);

name!(
    /// An AWS region, which becomes part of a host name.
    Region,
    "region",
    "1 to 63 of a-z 0-9 -",
    |text| (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
);

name!(
    /// A further way to the agent, as `[serve.NAME]` calls it.
    DoorName,
    "name of a socket",
    "1 to 64 of A-Z a-z 0-9 _ . -",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
);

mod assume;

pub use assume::{AssumedFor, Assumption, ExternalId, RoleArn, RoleSessionName, StsAddress, StsPlace};

/// What role credentials are for. To the engine this is an opaque key; what it names depends on the
/// kind of session, and only `upstream` and the doors look inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    /// The session whose access token pays for it.
    pub session: SessionName,
    /// What is asked for within the session.
    pub grant: Grant,
}

/// What is asked for within a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Grant {
    /// Identity Center: a permission set's role in an account.
    Role {
        /// The account.
        account: AccountId,
        /// The role.
        role: RoleName,
    },
    /// A role that is assumed with the credentials of another grant of the session.
    Assumed(Arc<Assumption>),
}

impl Grant {
    /// The account whose resources are used.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        match self {
            Self::Role { account, .. } => account,
            Self::Assumed(assumption) => assumption.role.account(),
        }
    }

    /// The role's name.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        match self {
            Self::Role { role, .. } => role,
            Self::Assumed(assumption) => assumption.role.role(),
        }
    }

    /// How it is assumed, if it is.
    #[must_use]
    pub fn assumption(&self) -> Option<&Assumption> {
        match self {
            Self::Role { .. } => None,
            Self::Assumed(assumption) => Some(assumption),
        }
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.grant {
            Grant::Role { account, role } => write!(formatter, "{} {account} {role}", self.session),
            Grant::Assumed(assumption) => write!(formatter, "{} {}", self.session, assumption.role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_twelve_digits() {
        assert!("111122223333".parse::<AccountId>().is_ok());
        for wrong in ["", "11112222333", "1111222233334", "11112222333x", "１１１１２２２２３３３３"] {
            assert!(wrong.parse::<AccountId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_role_name_cannot_carry_a_shell_command() {
        assert!("AWSAdministratorAccess".parse::<RoleName>().is_ok());
        for wrong in ["", "R; curl", "R\n", "a/b", "$(x)", &"r".repeat(65)] {
            assert!(wrong.parse::<RoleName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_region_cannot_leave_its_host_name() {
        assert!("eu-west-1".parse::<Region>().is_ok());
        for wrong in ["", "eu west", "eu.evil", "-eu", "EU-west-1", "eu/west"] {
            assert!(wrong.parse::<Region>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_session_name_is_one_line() {
        assert!("https://example.awsapps.com/start#/".parse::<SessionName>().is_ok());
        assert!("a\nb".parse::<SessionName>().is_err());
    }
}
