//! Which session, profile or target a request means.
//!
//! Owns: the rule of choice and the reasons why a name leads nowhere. Refuses to know who asks. Invariant: nothing is
//! ever guessed; a name that is left out is the only one there is, or an error.

use std::borrow::Cow;
use std::fmt;

use super::{Catalog, Profile, Rejected, SessionDefinition};
use crate::api::TargetQuery;
use crate::ids::{Grant, ProfileName, SessionName, TargetId};
use crate::nearest::nearest;
use crate::untrusted::shown;

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectError {
    /// No such session; the nearest name if one is near.
    UnknownSession {
        /// What was asked for.
        name: String,
        /// The nearest session there is.
        did_you_mean: Option<SessionName>,
    },
    /// No such profile, or one that does not lead to a session.
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// Whether it exists but has nothing to do with IAM Identity Center.
        exists: bool,
        /// The nearest profile there is.
        did_you_mean: Option<ProfileName>,
    },
    /// The profile leads to a session but names no account and role.
    NoTarget(ProfileName),
    /// It is written, but cannot be used.
    Rejected(Rejected),
    /// No session was named and there is not exactly one.
    Ambiguous(Vec<SessionName>),
    /// No session is configured at all.
    NoSessions,
}

impl Catalog {
    /// The target that a request, or a line of the settings, means.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn resolve(&self, query: &TargetQuery) -> Result<Cow<'_, TargetId>, SelectError> {
        match query {
            TargetQuery::Profile(name) => self.target(name).map(Cow::Borrowed),
            TargetQuery::Role { session, account, role } => {
                let session = self.session(session.as_ref())?.name.clone();
                let grant = Grant::Role { account: account.clone(), role: role.clone() };
                Ok(Cow::Owned(TargetId { session, grant }))
            }
        }
    }

    /// The session of that name, or the only one there is when none is named. One that is written but cannot be used
    /// counts as being there: a mistake in one session must not redirect requests to another.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn session(&self, name: Option<&SessionName>) -> Result<&SessionDefinition, SelectError> {
        let session = match name {
            Some(name) => self.sessions.get(name).ok_or_else(|| SelectError::UnknownSession {
                name: name.as_str().to_owned(),
                did_you_mean: self.nearest_session(name.as_str()),
            })?,
            None => {
                let mut sessions = self.sessions.values();
                match (sessions.next(), sessions.next()) {
                    (None, _) => return Err(SelectError::NoSessions),
                    (Some(only), None) => only,
                    _ => return Err(SelectError::Ambiguous(self.sessions.keys().cloned().collect())),
                }
            }
        };
        session.as_ref().map_err(|rejected| SelectError::Rejected(rejected.clone()))
    }

    /// The session that is named, else the one that the profile leads to, else the only one there is.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn session_for(
        &self,
        name: Option<&SessionName>,
        profile: Option<&ProfileName>,
    ) -> Result<&SessionDefinition, SelectError> {
        match (name, profile) {
            (None, Some(profile)) => self.session(Some(&self.profile(profile)?.session)),
            (name, _) => self.session(name),
        }
    }

    /// The profile of that name.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn profile(&self, name: &ProfileName) -> Result<&Profile, SelectError> {
        match self.profiles.get(name) {
            Some(Ok(profile)) => Ok(profile),
            Some(Err(rejected)) => Err(SelectError::Rejected(rejected.clone())),
            None => {
                let exists = self.other_profiles.binary_search(name).is_ok();
                let did_you_mean = if exists { None } else { self.nearest_profile(name.as_str()) };
                Err(SelectError::UnknownProfile { name: name.as_str().to_owned(), exists, did_you_mean })
            }
        }
    }

    /// The target of the profile of that name, whose session can be used.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn target(&self, name: &ProfileName) -> Result<&TargetId, SelectError> {
        let profile = self.profile(name)?;
        self.session(Some(&profile.session))?;
        profile.target.as_ref().ok_or_else(|| SelectError::NoTarget(name.clone()))
    }

    fn nearest_session(&self, name: &str) -> Option<SessionName> {
        nearest(name, self.sessions.keys().map(SessionName::as_str))?.parse().ok()
    }

    fn nearest_profile(&self, name: &str) -> Option<ProfileName> {
        nearest(name, self.other_profiles.iter().map(ProfileName::as_str))?.parse().ok()
    }
}

impl fmt::Display for SelectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSession { name, did_you_mean } => {
                write!(formatter, "there is no session {}", shown(name))?;
                did_you_mean.as_ref().map_or(Ok(()), |near| suggest(formatter, near.as_str()))
            }
            Self::UnknownProfile { name, exists: true, .. } => {
                write!(formatter, "profile {} has neither sso_* keys nor our credential_process", shown(name))
            }
            Self::UnknownProfile { name, did_you_mean, .. } => {
                write!(formatter, "there is no profile {}", shown(name))?;
                did_you_mean.as_ref().map_or(Ok(()), |near| suggest(formatter, near.as_str()))
            }
            Self::NoTarget(name) => {
                write!(formatter, "profile {} names no account and role", shown(name.as_str()))
            }
            Self::Rejected(rejected) => write!(formatter, "{rejected}"),
            Self::Ambiguous(names) => {
                formatter.write_str("there are several sessions, name one of ")?;
                for (index, name) in names.iter().take(MOST_LISTED).enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(formatter, "{comma}{}", shown(name.as_str()))?;
                }
                if names.len() > MOST_LISTED { formatter.write_str(", …") } else { Ok(()) }
            }
            Self::NoSessions => formatter.write_str(
                "no session is configured: add an [sso-session] section to the AWS config file, \
                 or run `aws configure sso`",
            ),
        }
    }
}

impl std::error::Error for SelectError {}

fn suggest(formatter: &mut fmt::Formatter<'_>, near: &str) -> fmt::Result {
    write!(formatter, " (did you mean {}?)", shown(near))
}

const MOST_LISTED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> String {
        format!("[sso-session {name}]\nsso_start_url = https://{name}.example/start\nsso_region = eu-west-1\n")
    }

    fn name(name: &str) -> SessionName {
        name.parse().unwrap()
    }

    #[test]
    fn a_session_that_is_not_named_is_the_only_one_there_is() {
        assert_eq!(Catalog::default().session(None), Err(SelectError::NoSessions));
        let one = Catalog::of(&session("corp"), &[]);
        assert_eq!(one.session(None).unwrap().name, name("corp"));
        let two = Catalog::of(&(session("corp") + "[sso-session broken]\n"), &[]);
        assert_eq!(two.session(None), Err(SelectError::Ambiguous(vec![name("broken"), name("corp")])));
        assert!(two.session(Some(&name("corp"))).is_ok());
        assert!(matches!(two.session(Some(&name("broken"))), Err(SelectError::Rejected(_))));
        assert_eq!(
            two.session(Some(&name("crop"))).unwrap_err().to_string(),
            "there is no session crop (did you mean corp?)"
        );
    }

    #[test]
    fn a_profile_leads_to_its_session_where_none_is_named() {
        let text = session("a") + &session("b") + "[profile t]\nsso_session = b\n";
        let catalog = Catalog::of(&text, &[]);
        let profile = "t".parse().unwrap();
        assert_eq!(catalog.session_for(None, Some(&profile)).unwrap().name, name("b"));
        assert_eq!(catalog.session_for(Some(&name("a")), Some(&profile)).unwrap().name, name("a"));
        assert!(matches!(catalog.session_for(None, None), Err(SelectError::Ambiguous(_))));
        assert_eq!(catalog.target(&profile), Err(SelectError::NoTarget(profile.clone())));
    }

    #[test]
    fn a_profile_is_unknown_or_not_ours_or_rejected() {
        let text = session("corp")
            + "[profile static]\naws_access_key_id = x\n[profile bad]\nsso_session = gone\n\
               [profile dev]\nsso_session = corp\n";
        let catalog = Catalog::of(&text, &[]);
        let find = |name: &str| catalog.profile(&name.parse().unwrap());
        assert!(find("dev").is_ok());
        assert!(matches!(find("bad"), Err(SelectError::Rejected(_))));
        assert!(matches!(find("static"), Err(SelectError::UnknownProfile { exists: true, did_you_mean: None, .. })));
        let near = find("statik").unwrap_err();
        assert_eq!(near.to_string(), "there is no profile statik (did you mean static?)");
        assert_eq!(find("dve").unwrap_err().to_string(), "there is no profile dve (did you mean dev?)");
        assert!(matches!(find("zzzzzz"), Err(SelectError::UnknownProfile { exists: false, did_you_mean: None, .. })));
    }
}
