//! The operations of the two services, told apart by their routes.

use serde_json::Value;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `POST /client/register`.
    RegisterClient,
    /// `POST /device_authorization`.
    StartDeviceAuthorization,
    /// `POST /token` with the device-code grant.
    CreateTokenDeviceCode,
    /// `POST /token` with the authorization-code grant.
    CreateTokenAuthorizationCode,
    /// `POST /token` with the refresh-token grant.
    CreateTokenRefresh,
    /// `GET /federation/credentials`.
    GetRoleCredentials,
    /// `GET /assignment/accounts`.
    ListAccounts,
    /// `GET /assignment/roles`.
    ListAccountRoles,
    /// `POST /logout`.
    Logout,
    /// The page behind a verification URI, which a browser visits.
    DevicePage,
    /// `/authorize`, which a browser visits: the page, and the answer to it.
    Authorize,
    /// `/federation` with credentials, of the console's sign-in service.
    GetSigninToken,
    /// `/federation`, as a browser visits it.
    ConsoleLogin,
    /// `POST /` of STS.
    AssumeRole,
    /// Anything else, for instance `POST /token` with a grant that is none.
    Unknown,
}

impl Operation {
    /// The operation a request is meant for; the method is judged later, so that a wrong one is refused as such.
    pub fn of(path: &str, body: &[u8]) -> Self {
        match path {
            "/client/register" => Self::RegisterClient,
            "/device_authorization" => Self::StartDeviceAuthorization,
            "/token" => match grant_type(body).as_deref() {
                Some(DEVICE_CODE_GRANT) => Self::CreateTokenDeviceCode,
                Some(AUTHORIZATION_CODE_GRANT) => Self::CreateTokenAuthorizationCode,
                Some(REFRESH_TOKEN_GRANT) => Self::CreateTokenRefresh,
                _ => Self::Unknown,
            },
            "/federation/credentials" => Self::GetRoleCredentials,
            "/assignment/accounts" => Self::ListAccounts,
            "/assignment/roles" => Self::ListAccountRoles,
            "/federation" if body.is_empty() => Self::ConsoleLogin,
            "/federation" => Self::GetSigninToken,
            "/logout" => Self::Logout,
            "/device" => Self::DevicePage,
            "/" if body.starts_with(b"Action=AssumeRole&") => Self::AssumeRole,
            "/authorize" => Self::Authorize,
            _ => Self::Unknown,
        }
    }

    /// Whether the portal answers it, whose errors are written differently.
    pub fn is_portal(self) -> bool {
        matches!(self, Self::GetRoleCredentials | Self::ListAccounts | Self::ListAccountRoles | Self::Logout)
    }
}

fn grant_type(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.get("grantType")?.as_str()?.to_owned())
}

/// The grant types as they are written on the wire.
pub const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// See [`DEVICE_CODE_GRANT`].
pub const REFRESH_TOKEN_GRANT: &str = "refresh_token";
/// See [`DEVICE_CODE_GRANT`].
pub const AUTHORIZATION_CODE_GRANT: &str = "authorization_code";
