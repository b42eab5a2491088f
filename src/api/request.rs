//! Requests of the socket API, and the only route table.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bodies::{ConsoleBody, MigrateBody, RefreshBody, UnlockBody};
pub use super::login::{FlowChoice, LoginRequest, StartedBy};
use super::parameters::{Parameters, Query, decode, encode, invalid};
use super::problem::Problem;
pub use super::target::TargetQuery;
use crate::ids::{AccountId, ProfileName, SessionName};
use crate::secret::{Secret, SecretBytes};
use crate::untrusted::shown;

/// Everything the agent can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Role credentials.
    Credentials {
        /// For what.
        target: TargetQuery,
        /// How long they must still live, if they can.
        min_validity: Option<Duration>,
        /// How long the caller waits.
        timeout: Option<Duration>,
    },
    /// The access token.
    Token {
        /// Of which session.
        session: SessionQuery,
        /// How long it must still live, if it can.
        min_validity: Duration,
        /// Which token.
        kind: TokenKind,
    },
    /// Everything but secrets.
    Status {
        /// Answer when the revision is no longer `after`, or after this long.
        wait: Duration,
        /// The revision the caller has seen.
        after: Option<u64>,
    },
    /// A way into the AWS console.
    Console {
        /// As which role.
        target: TargetQuery,
        /// A page of the console, or a service; the first page where there is none.
        destination: Option<String>,
    },
    /// Start or join a sign-in.
    Login {
        /// Of which session.
        session: SessionQuery,
        /// How.
        login: LoginRequest,
    },
    /// Where the sign-in stands.
    LoginState {
        /// Of which session.
        session: SessionQuery,
        /// Answer when it leaves `pending`, or after this long.
        wait: Duration,
    },
    /// Cancel the sign-in.
    CancelLogin {
        /// Of which session.
        session: SessionQuery,
        /// Only this sign-in, not one that has replaced it.
        attempt: Option<u64>,
    },
    /// Refresh the access token now.
    Refresh {
        /// Of which session.
        session: SessionQuery,
        /// Also present a refresh token whose fate is unknown.
        force: bool,
    },
    /// Take over the sign-in that lies in the AWS CLI's cache.
    Adopt {
        /// Of which session.
        session: SessionQuery,
    },
    /// Sign out.
    Logout {
        /// Of which session.
        session: SessionQuery,
    },
    /// The accounts the user may use.
    Accounts {
        /// Of which session.
        session: SessionQuery,
    },
    /// The roles the user may take.
    Roles {
        /// Of which session.
        session: SessionQuery,
        /// In which account.
        account: AccountId,
    },
    /// How the stored secrets are protected.
    Storage,
    /// Ask for the key to the stored secrets again, now.
    UnlockStorage {
        /// What the user typed, where the key is a passphrase.
        passphrase: Option<Secret>,
    },
    /// Seal everything with a new key that is kept elsewhere.
    MigrateStorage {
        /// Where: `keyring`, `systemd-credential`, `passphrase`, `file`.
        to: String,
        /// The new passphrase, where it is to be one.
        passphrase: Option<Secret>,
    },
    /// Read the configuration again.
    Reload,
    /// Refuse everything from now on.
    Lock {
        /// What will unlock it; without one everybody may.
        passphrase: Option<Secret>,
    },
    /// Serve again.
    Unlock {
        /// What the user typed, where it is locked with a passphrase.
        passphrase: Option<Secret>,
    },
    /// What has happened so far, for who keeps statistics.
    Metrics,
    /// Is anybody there?
    Health,
}

/// Which session is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionQuery {
    /// The one of this name.
    Named(SessionName),
    /// The one this profile leads to, else the only one there is.
    OfProfile(ProfileName),
    /// The only one there is.
    Only,
}

/// Which token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenKind {
    /// The access token.
    #[default]
    Access,
    /// The ID token, where the kind of session has one.
    Id,
}

/// The HTTP methods the API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are HTTP's")]
pub enum Method {
    Get,
    Post,
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        })
    }
}

/// A request as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// The method.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path_and_query: String,
    /// The JSON body; empty for none. There may be a passphrase in it.
    pub body: SecretBytes,
}

/// Longest a caller may wait for credentials.
pub const MOST_PATIENCE: Duration = Duration::from_secs(300);
/// Longest remaining validity that can be asked for: the longest role session there is.
pub const MOST_VALIDITY: Duration = Duration::from_secs(43_200);

impl Request {
    /// Writes the request as [`Request::parse`] reads it.
    #[must_use]
    pub fn encode(&self) -> RawRequest {
        let mut body = SecretBytes::default();
        let (method, path, query) = match self {
            Self::Credentials { target, min_validity, timeout } => {
                let mut query = query_of(target);
                query.add_seconds("min_validity", *min_validity);
                query.add_seconds("timeout", *timeout);
                (Method::Get, "/v1/credentials".to_owned(), query)
            }
            Self::Token { session, min_validity, kind } => {
                let mut query = Query::default();
                match session {
                    SessionQuery::Named(name) => query.add("session", name.as_str()),
                    SessionQuery::OfProfile(profile) => query.add("profile", profile.as_str()),
                    SessionQuery::Only => {}
                }
                query.add_seconds("min_validity", Some(*min_validity).filter(|wanted| !wanted.is_zero()));
                query.add_some("kind", (*kind == TokenKind::Id).then_some("id"));
                (Method::Get, "/v1/token".to_owned(), query)
            }
            Self::Console { target, destination } => {
                body = json(&ConsoleBody { destination: destination.clone() });
                (Method::Post, "/v1/console".to_owned(), query_of(target))
            }
            Self::Status { wait, after } => {
                let mut query = Query::default();
                query.add_seconds("wait", Some(*wait).filter(|wait| !wait.is_zero()));
                query.add_some("after", after.map(|after| after.to_string()).as_deref());
                (Method::Get, "/v1/status".to_owned(), query)
            }
            Self::Login { session, login } => {
                body = json(login);
                session_route(Method::Post, session, "/login")
            }
            Self::LoginState { session, wait } => {
                let (method, path, mut query) = session_route(Method::Get, session, "/login");
                query.add_seconds("wait", Some(*wait).filter(|wait| !wait.is_zero()));
                (method, path, query)
            }
            Self::CancelLogin { session, attempt } => {
                let (method, path, mut query) = session_route(Method::Delete, session, "/login");
                query.add_some("attempt", attempt.map(|attempt| attempt.to_string()).as_deref());
                (method, path, query)
            }
            Self::Refresh { session, force } => {
                body = if *force { json(&RefreshBody { force: true }) } else { body };
                session_route(Method::Post, session, "/refresh")
            }
            Self::Adopt { session } => session_route(Method::Post, session, "/adopt"),
            Self::Logout { session } => session_route(Method::Delete, session, ""),
            Self::Accounts { session } => session_route(Method::Get, session, "/accounts"),
            Self::Roles { session, account } => {
                session_route(Method::Get, session, &format!("/accounts/{account}/roles"))
            }
            Self::Storage => (Method::Get, "/v1/storage".to_owned(), Query::default()),
            Self::UnlockStorage { passphrase } => {
                body = json(&UnlockBody { passphrase: passphrase.clone() });
                (Method::Post, "/v1/storage/unlock".to_owned(), Query::default())
            }
            Self::MigrateStorage { to, passphrase } => {
                body = json(&MigrateBody { to: to.clone(), passphrase: passphrase.clone() });
                (Method::Post, "/v1/storage/migrate".to_owned(), Query::default())
            }
            Self::Reload => (Method::Post, "/v1/reload".to_owned(), Query::default()),
            Self::Lock { passphrase } | Self::Unlock { passphrase } => {
                body = passphrase.as_ref().map_or(body, |typed| json(&UnlockBody { passphrase: Some(typed.clone()) }));
                let locks = matches!(self, Self::Lock { .. });
                (Method::Post, if locks { "/v1/lock" } else { "/v1/unlock" }.to_owned(), Query::default())
            }
            Self::Metrics => (Method::Get, "/v1/metrics".to_owned(), Query::default()),
            Self::Health => (Method::Get, "/v1/health".to_owned(), Query::default()),
        };
        RawRequest { method, path_and_query: format!("{path}{}", query.0), body }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// `invalid_request` with 404 for an unknown route, 405 for a route with another method, else 400.
    pub fn parse(method: &str, path_and_query: &str, body: &[u8]) -> Result<Self, Problem> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let mut query = Parameters::parse(query)?;
        // Split before decoding: a session's name may be a URL with slashes in it.
        let segments: Vec<Cow<'_, str>> = path.split('/').skip(1).map(decode).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(Cow::as_ref).collect();
        let route = match segments.as_slice() {
            ["v1", "sessions", session, rest @ ..] => {
                // Encoded, it is a session of that name.
                let any = path.split('/').nth(3) == Some(ANY_SESSION);
                let session = session_query((!any).then_some(*session), query.take("profile"))?;
                Route::of_session(session, rest)?
            }
            ["v1", "storage", "unlock"] => Route::UnlockStorage,
            ["v1", "storage", "migrate"] => Route::MigrateStorage,
            ["v1", word] => Route::of_word(word)?,
            _ => return Err(no_such_route(path)),
        };
        let request = match (method, route) {
            ("GET", Route::Credentials) => Self::Credentials {
                target: target_query(&mut query)?,
                min_validity: query.seconds("min_validity", MOST_VALIDITY)?,
                timeout: query.seconds("timeout", MOST_PATIENCE)?,
            },
            ("GET", Route::Token) => Self::Token {
                session: match query.take("session") {
                    Some(name) => SessionQuery::Named(legal("session", &name)?),
                    None => session_query(None, query.take("profile"))?,
                },
                min_validity: query.seconds("min_validity", MOST_VALIDITY)?.unwrap_or_default(),
                kind: match query.take("kind").as_deref() {
                    None | Some("access") => TokenKind::Access,
                    Some("id") => TokenKind::Id,
                    Some(other) => return Err(invalid(format!("kind: expected access or id, got {}", shown(other)))),
                },
            },
            ("POST", Route::Console) => Self::Console {
                target: target_query(&mut query)?,
                destination: from_json::<ConsoleBody>(body)?.destination,
            },
            ("GET", Route::Status) => Self::Status {
                wait: query.seconds("wait", MOST_PATIENCE)?.unwrap_or_default(),
                after: query.number("after")?,
            },
            ("GET", Route::Metrics) => Self::Metrics,
            ("GET", Route::Health) => Self::Health,
            ("POST", Route::Reload) => Self::Reload,
            ("POST", Route::Lock) => Self::Lock { passphrase: passphrase_for_a_lock(body)? },
            ("POST", Route::Unlock) => Self::Unlock { passphrase: passphrase_for_a_lock(body)? },
            ("GET", Route::Storage) => Self::Storage,
            ("POST", Route::UnlockStorage) => {
                Self::UnlockStorage { passphrase: from_json::<UnlockBody>(body)?.passphrase }
            }
            ("POST", Route::MigrateStorage) => {
                let MigrateBody { to, passphrase } = from_json(body)?;
                Self::MigrateStorage { to, passphrase }
            }
            ("POST", Route::Login(session)) => Self::Login { session, login: from_json(body)? },
            ("GET", Route::Login(session)) => {
                Self::LoginState { session, wait: query.seconds("wait", MOST_PATIENCE)?.unwrap_or_default() }
            }
            ("DELETE", Route::Login(session)) => Self::CancelLogin { session, attempt: query.number("attempt")? },
            ("POST", Route::Refresh(session)) => {
                Self::Refresh { session, force: from_json::<RefreshBody>(body)?.force }
            }
            ("POST", Route::Adopt(session)) => Self::Adopt { session },
            ("DELETE", Route::Session(session)) => Self::Logout { session },
            ("GET", Route::Accounts(session)) => Self::Accounts { session },
            ("GET", Route::Roles(session, account)) => Self::Roles { session, account },
            (other, _) => {
                return Err(invalid(format!("{} is not for {}", shown(other), shown(path))).with_status(405));
            }
        };
        query.finish()?;
        let takes_a_body = matches!(
            request,
            Self::Login { .. }
                | Self::Refresh { .. }
                | Self::Console { .. }
                | Self::Lock { .. }
                | Self::Unlock { .. }
                | Self::UnlockStorage { .. }
                | Self::MigrateStorage { .. }
        );
        if !body.is_empty() && !takes_a_body {
            return Err(invalid(format!("{} takes no body", shown(path))));
        }
        Ok(request)
    }
}

enum Route {
    Credentials,
    Token,
    Console,
    Status,
    Metrics,
    Health,
    Reload,
    Lock,
    Unlock,
    Storage,
    UnlockStorage,
    MigrateStorage,
    Session(SessionQuery),
    Login(SessionQuery),
    Refresh(SessionQuery),
    Adopt(SessionQuery),
    Accounts(SessionQuery),
    Roles(SessionQuery, AccountId),
}

impl Route {
    fn of_word(word: &str) -> Result<Self, Problem> {
        Ok(match word {
            "credentials" => Self::Credentials,
            "token" => Self::Token,
            "console" => Self::Console,
            "status" => Self::Status,
            "metrics" => Self::Metrics,
            "health" => Self::Health,
            "reload" => Self::Reload,
            "lock" => Self::Lock,
            "unlock" => Self::Unlock,
            "storage" => Self::Storage,
            other => return Err(no_such_route(&format!("/v1/{other}"))),
        })
    }

    fn of_session(session: SessionQuery, rest: &[&str]) -> Result<Self, Problem> {
        Ok(match rest {
            [] => Self::Session(session),
            ["login"] => Self::Login(session),
            ["refresh"] => Self::Refresh(session),
            ["adopt"] => Self::Adopt(session),
            ["accounts"] => Self::Accounts(session),
            ["accounts", account, "roles"] => Self::Roles(session, legal("account", account)?),
            other => return Err(no_such_route(&format!("/v1/sessions/…/{}", other.join("/")))),
        })
    }
}

/// Stands for "the agent decides" where a path needs a session.
const ANY_SESSION: &str = "-";
const ENCODED_DASH: &str = "%2D";

fn session_route(method: Method, session: &SessionQuery, rest: &str) -> (Method, String, Query) {
    let mut query = Query::default();
    let segment = match session {
        SessionQuery::Named(name) if name.as_str() == ANY_SESSION => ENCODED_DASH.to_owned(),
        SessionQuery::Named(name) => encode(name.as_str()),
        SessionQuery::OfProfile(profile) => {
            query.add("profile", profile.as_str());
            ANY_SESSION.to_owned()
        }
        SessionQuery::Only => ANY_SESSION.to_owned(),
    };
    (method, format!("/v1/sessions/{segment}{rest}"), query)
}

fn session_query(named: Option<&str>, profile: Option<Cow<'_, str>>) -> Result<SessionQuery, Problem> {
    match (named, profile) {
        (None, Some(profile)) => legal("profile", &profile).map(SessionQuery::OfProfile),
        (None, None) => Ok(SessionQuery::Only),
        (Some(name), None) => legal("session", name).map(SessionQuery::Named),
        (Some(_), Some(_)) => Err(invalid("profile is for the session `-` only")),
    }
}

fn query_of(target: &TargetQuery) -> Query {
    let mut query = Query::default();
    match target {
        TargetQuery::Profile(profile) => query.add("profile", profile.as_str()),
        TargetQuery::Role { session, account, role } => {
            query.add_some("session", session.as_ref().map(SessionName::as_str));
            query.add("account", account.as_str());
            query.add("role", role.as_str());
        }
    }
    query
}

fn target_query(query: &mut Parameters<'_>) -> Result<TargetQuery, Problem> {
    match (query.take("profile"), query.take("session"), query.take("account"), query.take("role")) {
        (Some(profile), None, None, None) => Ok(TargetQuery::Profile(legal("profile", &profile)?)),
        (None, session, Some(account), Some(role)) => Ok(TargetQuery::Role {
            session: session.map(|name| legal("session", &name)).transpose()?,
            account: legal("account", &account)?,
            role: legal("role", &role)?,
        }),
        _ => Err(invalid("name the target by profile=, or by account= and role= (and session=)")),
    }
}

fn legal<T: std::str::FromStr<Err = crate::ids::InvalidName>>(parameter: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| invalid(format!("{parameter}: {error}, got {}", shown(text))))
}

fn from_json<T: for<'de> Deserialize<'de> + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| invalid("the body is not what this route takes").caused_by(error))
}

/// An empty one would be none to some and one to others.
fn passphrase_for_a_lock(body: &[u8]) -> Result<Option<Secret>, Problem> {
    let UnlockBody { passphrase } = from_json(body)?;
    if passphrase.as_ref().is_some_and(Secret::is_empty) {
        return Err(invalid("the passphrase is empty"));
    }
    Ok(passphrase)
}

/// For our own types of strings and booleans, whose encoding cannot fail.
fn json<T: Serialize>(body: &T) -> SecretBytes {
    // More the agent does not take; and an outgrown buffer would be a copy of a passphrase that nobody wipes.
    let mut bytes = Vec::with_capacity(16 * 1024);
    let _ = serde_json::to_writer(&mut bytes, body);
    SecretBytes::new(bytes)
}

fn no_such_route(path: &str) -> Problem {
    invalid(format!("there is no {}", shown(path))).with_status(404)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;

    fn session() -> SessionQuery {
        SessionQuery::Named("https://example.awsapps.com/start#/ü".parse().unwrap())
    }

    #[test]
    fn what_is_encoded_is_parsed_back() {
        let login = LoginRequest { flow: FlowChoice::Device, started_by: StartedBy::Cli, ..LoginRequest::default() };
        let role = TargetQuery::Role {
            session: Some("a b&c".parse().unwrap()),
            account: "111122223333".parse().unwrap(),
            role: "R+=,.@-".parse().unwrap(),
        };
        let profile = TargetQuery::Profile("dev/eu%".parse().unwrap());
        for request in [
            Request::Console { target: role.clone(), destination: None },
            Request::Console { target: profile.clone(), destination: Some("s3".to_owned()) },
            Request::Credentials { target: role, min_validity: Some(Duration::from_secs(900)), timeout: None },
            Request::Credentials { target: profile, min_validity: None, timeout: Some(Duration::from_secs(5)) },
            Request::Token { session: session(), min_validity: Duration::ZERO, kind: TokenKind::Access },
            Request::Token { session: SessionQuery::Only, min_validity: Duration::from_secs(1), kind: TokenKind::Id },
            Request::Token {
                session: SessionQuery::OfProfile("dev".parse().unwrap()),
                min_validity: Duration::ZERO,
                kind: TokenKind::Access,
            },
            Request::Status { wait: Duration::from_secs(3), after: Some(7) },
            Request::Status { wait: Duration::ZERO, after: None },
            Request::Login { session: session(), login },
            Request::LoginState {
                session: SessionQuery::OfProfile("d".parse().unwrap()),
                wait: Duration::from_secs(30),
            },
            Request::CancelLogin { session: session(), attempt: Some(3) },
            Request::Refresh { session: SessionQuery::Only, force: true },
            Request::Refresh { session: session(), force: false },
            Request::Logout { session: session() },
            Request::Adopt { session: session() },
            Request::Accounts { session: session() },
            Request::Roles { session: session(), account: "111122223333".parse().unwrap() },
            Request::Storage,
            Request::UnlockStorage { passphrase: None },
            Request::MigrateStorage { to: "file".to_owned(), passphrase: Some(Secret::new("p".to_owned())) },
            Request::Logout { session: SessionQuery::Named("-".parse().unwrap()) },
            Request::Token {
                session: SessionQuery::Named("-".parse().unwrap()),
                min_validity: Duration::ZERO,
                kind: TokenKind::Access,
            },
            Request::Reload,
            Request::Lock { passphrase: None },
            Request::Lock { passphrase: Some(Secret::new("p".to_owned())) },
            Request::Unlock { passphrase: None },
            Request::Unlock { passphrase: Some(Secret::new("\u{fc}".to_owned())) },
            Request::Metrics,
            Request::Health,
        ] {
            let raw = request.encode();
            let parsed = Request::parse(&raw.method.to_string(), &raw.path_and_query, raw.body.expose());
            assert_eq!(parsed.as_ref(), Ok(&request), "{raw:?}");
        }
    }

    #[test]
    fn a_passphrase_on_its_way_cannot_be_formatted() {
        let [one, other] = ["correct horse", "battery stap!"].map(|typed| {
            let passphrase = Some(Secret::new(typed.to_owned()));
            let migrate = Request::MigrateStorage { to: "passphrase".to_owned(), passphrase: passphrase.clone() };
            format!("{:?}{:?}", Request::UnlockStorage { passphrase }.encode(), migrate.encode())
        });
        assert_eq!(one, other);
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused_with_the_closest_status() {
        for (method, path, body, status) in [
            ("GET", "/", "", 404),
            ("GET", "/v1/nope", "", 404),
            ("GET", "/v2/status", "", 404),
            ("GET", "/v1/sessions/s/nope", "", 404),
            ("PUT", "/v1/status", "", 405),
            ("GET", "/v1/reload", "", 405),
            ("GET", "/v1/credentials", "", 400),
            ("GET", "/v1/credentials?profile=a&role=b", "", 400),
            ("GET", "/v1/credentials?profile=a&profile=b", "", 400),
            ("GET", "/v1/credentials?account=1&role=b", "", 400),
            ("GET", "/v1/credentials?profile=a&timeout=301", "", 400),
            ("GET", "/v1/credentials?profile=a&min_validity=-1", "", 400),
            ("GET", "/v1/credentials?profile=a&colour=red", "", 400),
            ("GET", "/v1/token?kind=refresh", "", 400),
            ("GET", "/v1/console?profile=a", "", 405),
            ("POST", "/v1/console", "", 400),
            ("POST", "/v1/console?profile=a", r#"{"url":"x"}"#, 400),
            ("GET", "/v1/status", "{}", 400),
            ("GET", "/v1/%ff", "", 400),
            ("POST", "/v1/sessions/s/login", "{", 400),
            ("POST", "/v1/sessions/s/login", r#"{"colour":"red"}"#, 400),
            ("POST", "/v1/sessions//login", "", 400),
        ] {
            let problem = Request::parse(method, path, body.as_bytes()).unwrap_err();
            assert_eq!((problem.code, problem.status), (Code::InvalidRequest, status), "{method} {path} {body}");
        }
    }
}
