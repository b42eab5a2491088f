//! What an answer hands out, without its secrets: the facts for the audit log.
//!
//! Owns: the one place that says which answers hand something out. Invariant: [`Response::hand_out`] names every kind of
//! answer, so that a further one that carries a secret cannot be forgotten.

use super::problem::{Code, Problem};
use super::response::{CredentialDocument, Response};
use crate::ids::{AccountId, RoleArn, RoleName, TargetId};
use crate::secret::SecretBytes;
use crate::time::Timestamp;

/// A credential or token that an answer hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandOut<'a> {
    /// Which of the two.
    pub what: Handed,
    /// Of which session.
    pub session: &'a str,
    /// For which role; none for a token.
    pub role: Option<(&'a AccountId, &'a RoleName)>,
    /// The role in full where it was assumed with the credentials of another one.
    pub assumed: Option<&'a RoleArn>,
    /// What AWS's own logs call it; none for a token.
    pub key_id: Option<&'a str>,
    /// When it is over, on the service's clock.
    pub expires_at: Timestamp,
}

/// What is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handed {
    /// Role credentials.
    Credentials,
    /// The access token.
    Token,
    /// A way into the console as a role.
    Console,
}

impl Handed {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Token => "token",
            Self::Console => "console",
        }
    }
}

/// Role credentials as they go over the socket, and what they are.
#[derive(Debug, PartialEq, Eq)]
pub struct EncodedCredentials {
    body: SecretBytes,
    target: TargetId,
    key_id: String,
    expires_at: Timestamp,
}

impl EncodedCredentials {
    /// Encodes the document.
    ///
    /// # Errors
    /// None in practice: it is made of strings.
    pub fn new(document: &CredentialDocument, target: TargetId) -> Result<Self, serde_json::Error> {
        Ok(Self {
            body: SecretBytes::new(document.encode()?),
            target,
            key_id: document.access_key_id.clone(),
            expires_at: document.expiration,
        })
    }

    /// The document.
    #[must_use]
    pub const fn body(&self) -> &SecretBytes {
        &self.body
    }

    /// What it is for.
    #[must_use]
    pub const fn target(&self) -> &TargetId {
        &self.target
    }
}

impl Response {
    /// The target whose credentials, or whose way into the console, this answer hands out.
    #[must_use]
    pub fn target(&self) -> Option<&TargetId> {
        match self {
            Self::Credentials(_, target) | Self::Console(_, target, _) => Some(target),
            Self::EncodedCredentials(encoded) => Some(&encoded.target),
            _ => None,
        }
    }

    /// The credentials themselves, of an answer that holds some.
    ///
    /// # Errors
    /// It holds none.
    pub fn into_document(self) -> Result<CredentialDocument, Problem> {
        match self {
            Self::Credentials(document, _) => Ok(document),
            Self::EncodedCredentials(encoded) => serde_json::from_slice(encoded.body.expose())
                .map_err(|error| Problem::new(Code::Internal, "our own document cannot be read").caused_by(error)),
            _ => Err(Problem::new(Code::Internal, "an answer without credentials")),
        }
    }

    /// What this answer hands out, if anything.
    #[must_use]
    pub fn hand_out(&self) -> Option<HandOut<'_>> {
        match self {
            Self::Credentials(document, target) => of_role(target, &document.access_key_id, document.expiration),
            Self::EncodedCredentials(encoded) => of_role(&encoded.target, &encoded.key_id, encoded.expires_at),
            Self::Token(token) => Some(HandOut {
                what: Handed::Token,
                session: &token.session,
                role: None,
                assumed: None,
                key_id: None,
                expires_at: token.expires_at,
            }),
            Self::Console(access, target, key_id) => {
                of_role(target, key_id, access.expires_at).map(|told| HandOut { what: Handed::Console, ..told })
            }
            Self::Status(_)
            | Self::Login { .. }
            | Self::Session(_)
            | Self::Adopted(_)
            | Self::LoggedOut(_)
            | Self::Accounts(_)
            | Self::Roles(_)
            | Self::Storage(_)
            | Self::Reloaded(_)
            | Self::Locked(_)
            | Self::Metrics(_)
            | Self::Health(_)
            | Self::NoContent => None,
        }
    }
}

fn of_role<'a>(target: &'a TargetId, key_id: &'a str, expires_at: Timestamp) -> Option<HandOut<'a>> {
    let (grant, session) = (&target.grant, target.session.as_str());
    Some(HandOut {
        what: Handed::Credentials,
        session,
        role: Some((grant.account(), grant.role())),
        assumed: grant.assumption().map(|assumption| &assumption.role),
        key_id: Some(key_id),
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Grant;
    use crate::secret::Secret;

    #[test]
    fn credentials_say_what_they_are_however_they_are_carried_and_never_their_secrets() {
        let document = CredentialDocument {
            version: 1,
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("s3cr3t".into()),
            session_token: Secret::new("t0k3n".into()),
            expiration: Timestamp::from_secs(1_700_000_000),
            account_id: None,
        };
        let grant = Grant::Role { account: "111122223333".parse().unwrap(), role: "ReadOnly".parse().unwrap() };
        let target = TargetId { session: "corp".parse().unwrap(), grant };
        let encoded = Response::encoded(&document, target.clone()).unwrap();
        let plain = Response::Credentials(document, target.clone());
        assert_eq!(plain.encode().unwrap(), encoded.encode().unwrap());
        let told = encoded.hand_out().unwrap();
        assert_eq!(Some(told), plain.hand_out());
        assert_eq!((told.what.as_str(), told.session, told.key_id), ("credentials", "corp", Some("ASIAEXAMPLE")));
        let access = super::super::ConsoleAccess {
            url: Secret::new("s3cr3t".into()),
            expires_at: Timestamp::from_secs(1_700_000_000),
            browser: None,
        };
        let console = Response::Console(access, target, "ASIAEXAMPLE".into());
        let entered = console.hand_out().unwrap();
        assert_eq!((entered.what.as_str(), entered.role, entered.key_id), ("console", told.role, told.key_id));
        let text = format!("{told:?} {encoded:?} {entered:?} {console:?}");
        assert!(text.contains("ReadOnly") && !text.contains("s3cr3t") && !text.contains("t0k3n"), "{text}");
    }
}
