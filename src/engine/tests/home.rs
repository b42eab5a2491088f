//! Where secrets may go.

use crate::upstream::{Call, Route};

/// Whatever secret a call carries, it goes to where it came from.
pub(super) fn assert_at_home(route: &Route, call: &Call) {
    let (oidc, portal) = (&route.endpoints.oidc, &route.endpoints.portal);
    let at_home = match call {
        Call::RegisterClient { .. } => true,
        Call::StartDeviceAuthorization { registration, .. } => registration.for_sending_to(oidc).is_ok(),
        Call::CreateTokenFromDeviceCode { registration, device_code } => {
            registration.for_sending_to(oidc).is_ok() && device_code.for_sending_to(oidc).is_ok()
        }
        Call::CreateTokenFromAuthorizationCode { registration, code } => {
            registration.for_sending_to(oidc).is_ok() && code.for_sending_to(oidc).is_ok()
        }
        Call::CreateTokenFromRefreshToken { registration, refresh_token } => {
            registration.for_sending_to(oidc).is_ok() && refresh_token.for_sending_to(oidc).is_ok()
        }
        Call::GetSigninToken { at, credentials, .. } => {
            let allowed = at.as_str() == "https://signin.aws.amazon.com" || at.host() == portal.host();
            allowed && credentials.for_sending_to(at).is_ok()
        }
        Call::GetRoleCredentials { access_token, .. }
        | Call::ListAccounts { access_token }
        | Call::ListAccountRoles { access_token, .. }
        | Call::Logout { access_token } => access_token.for_sending_to(portal).is_ok(),
    };
    assert!(at_home, "{} would go elsewhere", call.operation());
}
