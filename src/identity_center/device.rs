//! The device authorization (sso-oidc `StartDeviceAuthorization`, RFC 8628).

use std::time::Duration;

use crate::secret::Secret;
use crate::untrusted::Untrusted;

/// What `StartDeviceAuthorization` answered. One device code yields one token, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// What the agent polls with.
    pub device_code: Secret,
    /// What the user compares with the page.
    pub user_code: Untrusted,
    /// Where the user types the code.
    pub verification_uri: Untrusted,
    /// The same with the code in it.
    pub verification_uri_complete: Untrusted,
    /// How long the code lives.
    pub expires_in: Duration,
    /// The pause between polls; 5 s where the service did not say.
    pub interval: Duration,
}
