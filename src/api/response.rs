//! Successful answers of the socket API. Unknown times are null, never absent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hand_out::EncodedCredentials;
pub use super::lock::{LockDetails, LockStatus};
use super::problem::Code;
use super::request::StartedBy;
use super::status::{SessionStatus, Status, StorageReport, WarningEntry, yes};
use crate::ids::{AccountId, RoleName, TargetId};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::untrusted::Untrusted;

/// Any successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// `GET /v1/credentials`, and what they are for.
    Credentials(CredentialDocument, TargetId),
    /// The same, encoded once for all who ask.
    EncodedCredentials(Arc<EncodedCredentials>),
    /// `GET /v1/token`.
    Token(Token),
    /// `POST /v1/console`: what is handed out, for what, and by which access key id.
    Console(ConsoleAccess, TargetId, String),
    /// `GET /v1/status`.
    Status(Box<Status>),
    /// `POST …/login` (202 while it is pending, else 200) and `GET …/login` (200).
    Login {
        /// Whether a sign-in was started or joined and now waits for the user.
        accepted: bool,
        /// The state.
        status: Box<LoginStatus>,
    },
    /// `POST …/refresh`.
    Session(Box<SessionStatus>),
    /// `POST …/adopt`.
    Adopted(Box<Adopted>),
    /// `DELETE /v1/sessions/{s}`.
    LoggedOut(LoggedOut),
    /// `GET …/accounts`.
    Accounts(Accounts),
    /// `GET …/roles`.
    Roles(Roles),
    /// `GET /v1/storage`, `POST /v1/storage/…`.
    Storage(Box<StorageReport>),
    /// `POST /v1/reload`.
    Reloaded(Reloaded),
    /// `POST /v1/lock`, `POST /v1/unlock`.
    Locked(LockStatus),
    /// `GET /v1/metrics`: text.
    Metrics(String),
    /// `GET /v1/health`.
    Health(Health),
    /// `DELETE …/login`: done, nothing to say.
    NoContent,
}

impl Response {
    /// Credentials that many may ask for: encoding and copying secrets is most of a warm request's cost.
    ///
    /// # Errors
    /// None in practice, see [`Response::encode`].
    pub fn encoded(document: &CredentialDocument, target: TargetId) -> Result<Self, serde_json::Error> {
        Ok(Self::EncodedCredentials(Arc::new(EncodedCredentials::new(document, target)?)))
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Login { accepted: true, .. } => 202,
            Self::NoContent => 204,
            _ => 200,
        }
    }

    /// The body, JSON but for [`Response::Metrics`]; empty for [`Response::NoContent`].
    ///
    /// # Errors
    /// None in practice: every type here is made of strings, numbers and lists.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Credentials(body, _) => body.encode(),
            Self::EncodedCredentials(encoded) => Ok(encoded.body().expose().to_vec()),
            Self::Token(body) => {
                let texts = body.session.len() + body.start_url.len() + body.region.len() + body.token_type.len();
                encode_in_place(body, body.access_token.expose().len() + texts)
            }
            Self::Console(body, ..) => {
                let words = body.browser.iter().flatten().map(|word| word.len() + 3).sum::<usize>();
                encode_in_place(body, body.url.expose().len() + words)
            }
            Self::Status(body) => serde_json::to_vec(body),
            Self::Login { status, .. } => serde_json::to_vec(status),
            Self::Session(body) => serde_json::to_vec(body),
            Self::Adopted(body) => serde_json::to_vec(body),
            Self::LoggedOut(body) => serde_json::to_vec(body),
            Self::Accounts(body) => serde_json::to_vec(body),
            Self::Roles(body) => serde_json::to_vec(body),
            Self::Storage(body) => serde_json::to_vec(body),
            Self::Reloaded(body) => serde_json::to_vec(body),
            Self::Locked(body) => serde_json::to_vec(body),
            Self::Metrics(text) => Ok(text.clone().into_bytes()),
            Self::Health(body) => serde_json::to_vec(body),
            Self::NoContent => Ok(Vec::new()),
        }
    }
}

/// Encodes into a buffer that need not grow, for every outgrown one would be a copy of secrets that nobody wipes.
fn encode_in_place(body: &impl Serialize, texts: usize) -> Result<Vec<u8>, serde_json::Error> {
    // Names and punctuation; characters that need escaping are the exception.
    let mut bytes = Vec::with_capacity(texts + texts / 4 + 256);
    serde_json::to_writer(&mut bytes, body)?;
    Ok(bytes)
}

/// The `credential_process` document itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CredentialDocument {
    /// Always 1.
    pub version: u8,
    /// Names the set.
    pub access_key_id: String,
    /// The signing key.
    pub secret_access_key: Secret,
    /// The session token.
    pub session_token: Secret,
    /// On the service's clock.
    pub expiration: Timestamp,
    /// The account they are for.
    pub account_id: Option<AccountId>,
}

impl CredentialDocument {
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let secrets = self.secret_access_key.expose().len() + self.session_token.expose().len();
        encode_in_place(self, self.access_key_id.len() + secrets)
    }
}

/// `GET /v1/token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Token {
    pub access_token: Secret,
    pub token_type: String,
    /// On the service's clock.
    pub expires_at: Timestamp,
    pub session: String,
    pub start_url: String,
    pub region: String,
}

/// `POST /v1/console`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleAccess {
    /// Who opens it is signed in to the console.
    pub url: Secret,
    /// Until when it can be opened, on the service's clock.
    pub expires_at: Timestamp,
    /// The session's own browser: the program and its arguments, `{url}` where the address goes.
    pub browser: Option<Vec<String>>,
}

/// `POST …/adopt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whether a sign-in was taken over; not if the agent holds a better one.
    pub adopted: bool,
    /// The session as it is now.
    #[serde(flatten)]
    pub session: SessionStatus,
}

/// Where a sign-in stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoginState {
    /// None is under way.
    Idle,
    /// It waits for the user, who has `verification_uri` and `user_code`.
    Pending,
    /// It waits for an answer to a question (kinds of session that ask questions).
    Challenge,
    /// Done.
    SignedIn,
    /// Over without a token: `code` says why.
    Failed,
    /// A state this version does not know.
    #[serde(other)]
    Unknown,
}

/// The state of a session's sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LoginStatus {
    pub state: LoginState,
    pub session: String,
    /// `device` or `browser`.
    pub flow: Option<String>,
    pub verification_uri: Option<Untrusted>,
    pub verification_uri_complete: Option<Untrusted>,
    pub user_code: Option<Untrusted>,
    pub authorization_url: Option<Untrusted>,
    /// Of the code while pending, of the access token once signed in.
    pub expires_at: Option<Timestamp>,
    pub started_by: Option<StartedBy>,
    pub started_at: Option<Timestamp>,
    /// Whether this request ended another sign-in that was pending.
    #[serde(default)]
    pub replaced: bool,
    /// Whether this request joined a sign-in that was pending.
    #[serde(default)]
    pub joined: bool,
    /// Names this sign-in, so that its starter cancels no other one.
    pub attempt: Option<u64>,
    /// What decided the flow.
    #[serde(default)]
    pub flow_chosen_by: Option<FlowChosenBy>,
    /// What shows a page to this session's user: a command's words, `{url}` where the address goes; null is the
    /// platform's own way.
    #[serde(default)]
    pub browser: Option<Vec<String>>,
    pub code: Option<Code>,
    pub message: Option<String>,
}

/// What decided how a sign-in is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlowChosenBy {
    /// Who asked for the sign-in.
    Request,
    /// `flow` of the session in `config.toml`.
    Settings,
    /// What suits the caller's machine.
    Environment,
    /// Something this version does not know.
    #[serde(other)]
    Unknown,
}

/// `DELETE /v1/sessions/{s}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedOut {
    /// Whether there was anything to end; agents before this member only answer where there was.
    #[serde(default = "yes")]
    pub was_signed_in: bool,
    /// Whether the portal confirmed that the session is over there too.
    pub revoked: bool,
}

/// `GET …/accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Accounts {
    pub accounts: Vec<AccountEntry>,
}

/// An account the user may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct AccountEntry {
    pub account_id: AccountId,
    pub account_name: Option<Untrusted>,
    pub email: Option<Untrusted>,
}

/// `GET …/roles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Roles {
    pub roles: Vec<RoleEntry>,
}

/// A role the user may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RoleEntry {
    pub account_id: AccountId,
    pub role_name: RoleName,
}

/// `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// `session NAME` and `profile NAME` of everything that is new, gone or different.
    pub changed: Vec<String>,
    /// What was left out.
    pub warnings: Vec<WarningEntry>,
}

/// `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The agent's version.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_document_is_what_every_sdk_reads() {
        let document = CredentialDocument {
            version: 1,
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("sk".into()),
            session_token: Secret::new("st".into()),
            expiration: Timestamp::from_secs(1_700_000_000),
            account_id: Some("111122223333".parse().unwrap()),
        };
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"sk","SessionToken":"st","Expiration":"2023-11-14T22:13:20Z","AccountId":"111122223333"}"#
        );
    }

    #[test]
    fn a_state_from_the_future_is_unknown_and_not_an_error() {
        assert_eq!(
            serde_json::from_str::<crate::api::SessionState>("\"dreaming\"").unwrap(),
            crate::api::SessionState::Unknown
        );
        assert_eq!(serde_json::from_str::<LoginState>("\"dreaming\"").unwrap(), LoginState::Unknown);
    }
}
