//! What role credentials are asked for, as people and programs name it.

use std::fmt;
use std::str::FromStr;

use crate::ids::{AccountId, InvalidName, ProfileName, RoleName, SessionName};

/// What credentials are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetQuery {
    /// What this profile names.
    Profile(ProfileName),
    /// A role in an account.
    Role {
        /// The session, or the only one there is.
        session: Option<SessionName>,
        /// The account.
        account: AccountId,
        /// The role.
        role: RoleName,
    },
}

/// `SESSION/ACCOUNT/ROLE`, else the name of a profile.
impl FromStr for TargetQuery {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        // From the end, because a session may be called by its URL.
        let mut parts = text.rsplitn(3, '/');
        let (role, account, session) = (parts.next(), parts.next(), parts.next());
        if let (Some(Ok(role)), Some(Ok(account)), Some(Ok(session))) =
            (role.map(str::parse), account.map(str::parse), session.map(str::parse))
        {
            return Ok(Self::Role { session: Some(session), account, role });
        }
        text.parse()
            .map(Self::Profile)
            .map_err(|_| InvalidName { kind: "target", expected: "the name of a profile, or SESSION/ACCOUNT/ROLE" })
    }
}

impl fmt::Display for TargetQuery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => profile.fmt(formatter),
            Self::Role { session: Some(session), account, role } => write!(formatter, "{session}/{account}/{role}"),
            Self::Role { session: None, account, role } => write!(formatter, "{account}/{role}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_profile_or_a_session_an_account_and_a_role() {
        for text in ["dev", "a/b/c", "corp/1111/Dev", "team dev"] {
            assert!(matches!(text.parse(), Ok(TargetQuery::Profile(name)) if name.as_str() == text), "{text}");
        }
        for text in ["corp/111122223333/Dev", "https://example.awsapps.com/start/111122223333/Dev"] {
            let target: TargetQuery = text.parse().unwrap();
            assert!(matches!(&target, TargetQuery::Role { session: Some(_), .. }), "{text}");
            assert_eq!(target.to_string(), text);
        }
        for text in ["", "a\nb"] {
            assert!(text.parse::<TargetQuery>().is_err(), "{text:?}");
        }
    }
}
