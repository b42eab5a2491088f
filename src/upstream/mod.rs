//! The services, as calls and replies.
//!
//! Owns: what can be asked of sso-oidc and the portal, how every possible end of such a call is classified, and (in
//! the modules below) the HTTP that does it. Refuses to know: sessions, schedules, retries; a call is made once.
//! Invariant: a secret leaves through [`Bound::for_sending_to`] only, and every reply says whether the service can
//! have acted on the request.

mod body;
mod connect;
mod distrust;
mod errors;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub(crate) mod fuzz;
mod http;
mod https;
mod issuer;
mod measured;
mod no_proxy;
mod oidc;
mod portal;
mod probe;
mod proxy;
mod resolve;
mod roots;
mod signin;
mod sts;
#[cfg(test)]
mod tests;
mod tunnel;

pub use https::Https;
pub use measured::{CallMeter, DONE, Measured, REFRESH, call_meter};
pub use probe::Probe;
pub use proxy::{InvalidProxy, ProxyFailure, Trouble};

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::callback::AuthorizationCode;
use crate::identity_center::{
    Account, Bound, ClientRegistration, DeviceAuthorization, Endpoint, Endpoints, Flow, Role, RoleCredentials,
    ServiceError, TokenResponse, WrongOrigin, start_url,
};
use crate::ids::{AccountId, Assumption, RoleName};
use crate::secret::Secret;
use crate::time::{Now, Timestamp};

/// Where and under which conditions a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where the services are, as configured now.
    pub endpoints: Endpoints,
    /// A PEM bundle that replaces the platform's roots.
    pub ca_bundle: Option<PathBuf>,
    /// The most the whole call may take.
    pub timeout: Duration,
}

/// One operation of one service. Secrets are bound to their origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// sso-oidc `RegisterClient`.
    RegisterClient {
        /// `clientName`: ASCII, 1 to 128 characters.
        client_name: String,
        /// `scopes`.
        scopes: Vec<String>,
        /// The flow the client is for.
        flow: Flow,
        /// `issuerUrl`, where the flow asks for one.
        start_url: String,
    },
    /// sso-oidc `StartDeviceAuthorization`.
    StartDeviceAuthorization {
        /// The client.
        registration: Bound<ClientRegistration>,
        /// `startUrl`.
        start_url: String,
    },
    /// sso-oidc `CreateToken` with a device code: one poll.
    CreateTokenFromDeviceCode {
        /// The client.
        registration: Bound<ClientRegistration>,
        /// `deviceCode`.
        device_code: Bound<Secret>,
    },
    /// sso-oidc `CreateToken` with an authorization code.
    CreateTokenFromAuthorizationCode {
        /// The client.
        registration: Bound<ClientRegistration>,
        /// `code`, `codeVerifier` and `redirectUri`.
        code: Bound<AuthorizationCode>,
    },
    /// sso-oidc `CreateToken` with a refresh token, on a connection of its own and never sent twice.
    CreateTokenFromRefreshToken {
        /// The client.
        registration: Bound<ClientRegistration>,
        /// `refreshToken`.
        refresh_token: Bound<Secret>,
    },
    /// Portal `GetRoleCredentials`.
    GetRoleCredentials {
        /// The bearer token.
        access_token: Bound<Secret>,
        /// `account_id`.
        account: AccountId,
        /// `role_name`.
        role: RoleName,
    },
    /// `getSigninToken` of the sign-in service, for the console.
    GetSigninToken {
        /// Where that service is.
        at: Endpoint,
        /// The role's.
        credentials: Bound<RoleCredentials>,
        /// `SessionDuration`, which the service refuses for roles that were assumed by another role.
        duration: Option<Duration>,
    },
    /// Portal `ListAccounts`, all pages.
    ListAccounts {
        /// The bearer token.
        access_token: Bound<Secret>,
    },
    /// Portal `ListAccounts` for one account: only to learn whether the token is still accepted.
    ProbeAccounts {
        /// The bearer token.
        access_token: Bound<Secret>,
    },
    /// Portal `ListAccountRoles`, all pages.
    ListAccountRoles {
        /// The bearer token.
        access_token: Bound<Secret>,
        /// `account_id`.
        account: AccountId,
    },
    /// Portal `Logout`.
    Logout {
        /// The bearer token.
        access_token: Bound<Secret>,
    },
    /// Where a company's own start URL leads, see [`start_url`]. Carries nothing but the URL.
    ResolveStartUrl {
        /// The configured start URL.
        start_url: String,
    },
    /// STS `AssumeRole`, sent to the address in the assumption.
    AssumeRole {
        /// What it is signed with; bound to that address.
        credentials: Bound<RoleCredentials>,
        /// Which role, and how.
        assumption: Arc<Assumption>,
        /// What the service's clock says: a signature of another time is refused.
        signed_at: Timestamp,
    },
}

impl Call {
    /// The operation's name, for logs and messages.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::RegisterClient { .. } => "RegisterClient",
            Self::StartDeviceAuthorization { .. } => "StartDeviceAuthorization",
            Self::CreateTokenFromDeviceCode { .. } => "CreateToken (device code)",
            Self::CreateTokenFromAuthorizationCode { .. } => "CreateToken (authorization code)",
            Self::CreateTokenFromRefreshToken { .. } => REFRESH,
            Self::GetRoleCredentials { .. } => "GetRoleCredentials",
            Self::GetSigninToken { .. } => "getSigninToken",
            Self::ListAccounts { .. } => "ListAccounts",
            Self::ProbeAccounts { .. } => "ListAccounts (one)",
            Self::ListAccountRoles { .. } => "ListAccountRoles",
            Self::Logout { .. } => "Logout",
            Self::ResolveStartUrl { .. } => "resolving the start URL",
            Self::AssumeRole { .. } => "AssumeRole",
        }
    }
}

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of `RegisterClient`.
    Registered(ClientRegistration),
    /// Of `StartDeviceAuthorization`.
    DeviceAuthorization(DeviceAuthorization),
    /// Of `CreateToken`.
    Token(TokenResponse),
    /// Of `GetRoleCredentials` and `AssumeRole`.
    RoleCredentials(RoleCredentials),
    /// Of `getSigninToken`.
    SigninToken(Secret),
    /// Of `ListAccounts`. Accounts whose id is not one are left out.
    Accounts(Vec<Account>),
    /// Of `ListAccountRoles`. Roles whose name is not one are left out.
    Roles(Vec<Role>),
    /// Of `Logout`.
    LoggedOut,
    /// Of `ResolveStartUrl`: the portal, or why there is none.
    StartUrl(Result<start_url::Resolved, start_url::Misled>),
}

/// How a call ended, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it brought.
    pub result: Result<Answer, Failure>,
    /// When the request was about to be sent: `expiresIn` counts from here.
    pub started: Now,
    /// The service's clock, if the response allows to read it.
    pub service_time: Option<ServiceTime>,
}

/// A `Date` header of a 2xx or a modelled error without `Age`, beside our clock at the midpoint of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTime {
    /// What the service's clock said.
    pub service: Timestamp,
    /// What ours said at the midpoint between request and response.
    pub ours: Timestamp,
}

impl ServiceTime {
    /// What a response says about the service's clock, sent and received at these times by ours.
    ///
    /// Nothing if our clock was set meanwhile, or if it took so long (a suspend) that the midpoint means nothing.
    #[must_use]
    pub fn between(service: Timestamp, sent: Now, received: Now) -> Option<Self> {
        let by_wall = received.wall.as_millis().saturating_sub(sent.wall.as_millis());
        let by_mono = received.mono.since(sent.mono);
        let set_meanwhile = by_wall.abs_diff(i64::try_from(by_mono.as_millis()).unwrap_or(i64::MAX)) > 5_000;
        if set_meanwhile || by_mono > LONGEST_DATED {
            return None;
        }
        Some(Self { service, ours: sent.wall.after(received.wall.since(sent.wall) / 2) })
    }
}

/// Why a call brought nothing. What it means for a refresh token is decided by the class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No byte of the request left this machine.
    NotSent(NotSent),
    /// The service did not process it: 3xx, 429, `SlowDownException`, 503 with `Retry-After`.
    NotProcessed {
        /// The HTTP status.
        status: u16,
        /// Whether it asks for fewer requests (429, `SlowDownException`, `TooManyRequestsException`).
        throttled: bool,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The service said no: a 4xx. With [`crate::identity_center::ErrorName::Unnamed`] where it gave no name.
    Refused(ServiceError),
    /// The request was at least partly sent, and nobody knows whether the service acted on it.
    Unknown(Unclear),
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// The secret belongs elsewhere.
    WrongOrigin(WrongOrigin),
    /// The host name could not be resolved.
    Dns(String),
    /// No connection.
    Connect(String),
    /// No trusted connection: the certificate, or a protocol fault.
    Tls(String),
    /// No trusted connection: nobody who is trusted here has signed the certificate.
    Untrusted(String),
    /// The connection was not there within the connect timeout.
    ConnectTimeout,
    /// The proxy did not lead to the service.
    Proxy(ProxyFailure),
    /// The CA bundle cannot be used, or the platform has no roots.
    Roots(String),
    /// The request cannot be put into HTTP at all.
    Malformed(String),
}

/// Why it is unknown whether the service acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// The connection broke before the response was complete.
    Broken(String),
    /// The response was not there in time.
    TimedOut,
    /// A 5xx.
    ServerError(u16),
    /// A 2xx whose body is not what the operation answers (a captive portal, a truncated answer).
    UnusableBody(String),
    /// The body is larger than any answer of the service.
    TooLarge,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(cause) => write!(formatter, "{cause}"),
            Self::NotProcessed { throttled: true, status, .. } => {
                write!(formatter, "the service asks for fewer requests (HTTP {status})")
            }
            Self::NotProcessed { status, .. } => {
                write!(formatter, "the service did not take the request (HTTP {status})")
            }
            Self::Refused(error) => write!(formatter, "{error}"),
            Self::Unknown(cause) => write!(formatter, "{cause}"),
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for NotSent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongOrigin(wrong) => write!(formatter, "{wrong}"),
            Self::Dns(cause) => write!(formatter, "the host name cannot be resolved: {cause}"),
            Self::Connect(cause) => write!(formatter, "cannot connect: {cause}"),
            Self::Tls(cause) | Self::Untrusted(cause) => write!(formatter, "no trusted connection: {cause}"),
            Self::ConnectTimeout => formatter.write_str("cannot connect: timed out"),
            Self::Proxy(failure) => write!(formatter, "{failure}"),
            Self::Roots(cause) => write!(formatter, "no certificate authorities to trust: {cause}"),
            Self::Malformed(cause) => write!(formatter, "the request cannot be sent: {cause}"),
        }
    }
}

impl std::error::Error for NotSent {}

impl NotSent {
    /// Whether the machine's settings are to blame, and waiting helps nobody.
    #[must_use]
    pub const fn is_setting(&self) -> bool {
        match self {
            Self::WrongOrigin(_) | Self::Roots(_) => true,
            Self::Proxy(proxy) => proxy.is_setting(),
            _ => false,
        }
    }

    /// What helps, where the cause does not say it itself.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WrongOrigin(_) | Self::Roots(_) => None,
            Self::Proxy(proxy) => Some(proxy.hint()),
            Self::Untrusted(_) => Some(TRUST),
            Self::Tls(_) => Some("check this machine's clock, and what in this network answers in the place of AWS"),
            Self::Dns(_) | Self::Connect(_) | Self::ConnectTimeout | Self::Malformed(_) => Some("check the network"),
        }
    }
}

/// What helps where somebody unknown has signed the certificate.
const TRUST: &str = "if that is your company's proxy, set AWS_CA_BUNDLE for the agent, or ca_bundle in the AWS \
                     configuration, to the file with its certificate";

impl fmt::Display for Unclear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(cause) => write!(formatter, "the connection broke before the answer was complete: {cause}"),
            Self::TimedOut => formatter.write_str("the service did not answer in time"),
            Self::ServerError(status) => write!(formatter, "the service failed (HTTP {status})"),
            Self::UnusableBody(cause) => write!(formatter, "the answer is not the service's: {cause}"),
            Self::TooLarge => formatter.write_str("the answer is larger than any of the service"),
        }
    }
}

/// Makes calls. The real one speaks HTTP; tests and the simulator bring their own.
pub trait Upstream: Send + Sync + 'static {
    /// Makes one call, once.
    fn call(&self, route: Route, call: Call) -> impl Future<Output = Reply> + Send;
}

/// The midpoint of a longer request says too little.
const LONGEST_DATED: Duration = Duration::from_secs(60);
/// How the agent introduces itself.
const AGENT: &str = concat!("sso-agent/", env!("CARGO_PKG_VERSION"));
