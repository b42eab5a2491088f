//! The client registration (sso-oidc `RegisterClient`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::time::Timestamp;

/// How a user signs in; each flow needs a client registration of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// Device authorization (RFC 8628).
    Device,
    /// Authorization code with PKCE (RFC 7636) in a browser on this machine.
    Browser,
}

/// What `RegisterClient` answered, with the scopes that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRegistration {
    /// `clientId`.
    pub client_id: String,
    /// `clientSecret`.
    pub client_secret: Secret,
    /// `clientIdIssuedAt`, or when the answer came if the service did not say.
    pub issued_at: Timestamp,
    /// `clientSecretExpiresAt`.
    pub expires_at: Timestamp,
    /// The scopes it was registered with.
    pub scopes: Vec<String>,
    /// The flow it was registered for.
    pub flow: Flow,
}

impl ClientRegistration {
    /// Whether a new sign-in may use it: more time left than seven days or the longest session seen, but
    /// never more than half of its own lifetime is asked for.
    #[must_use]
    pub fn serves_a_sign_in(&self, now: Timestamp, scopes: &[String], longest_session: Duration) -> bool {
        let half_of_its_life = self.expires_at.since(self.issued_at) / 2;
        let wanted = longest_session.max(SEVEN_DAYS).min(half_of_its_life);
        self.scopes == scopes && self.expires_at.since(now) > wanted
    }
}

const SEVEN_DAYS: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(lifetime_hours: i64) -> ClientRegistration {
        ClientRegistration {
            client_id: "id".into(),
            client_secret: Secret::new("secret".into()),
            issued_at: Timestamp::from_secs(0),
            expires_at: Timestamp::from_secs(lifetime_hours * 3600),
            scopes: vec!["sso:account:access".into()],
            flow: Flow::Device,
        }
    }

    #[test]
    fn a_registration_is_reused_until_seven_days_before_its_end() {
        let ninety_days = registration(90 * 24);
        let scopes = ninety_days.scopes.clone();
        let day = |day: i64| Timestamp::from_secs(day * 24 * 3600);
        assert!(ninety_days.serves_a_sign_in(day(82), &scopes, Duration::ZERO));
        assert!(!ninety_days.serves_a_sign_in(day(83), &scopes, Duration::ZERO));
        assert!(!ninety_days.serves_a_sign_in(day(61), &scopes, Duration::from_secs(30 * 24 * 3600)));
        assert!(!ninety_days.serves_a_sign_in(day(1), &["other".into()], Duration::ZERO));
    }

    #[test]
    fn a_registration_that_lives_a_day_is_reused_for_half_a_day() {
        let one_day = registration(24);
        let scopes = one_day.scopes.clone();
        assert!(one_day.serves_a_sign_in(Timestamp::from_secs(11 * 3600), &scopes, Duration::ZERO));
        assert!(!one_day.serves_a_sign_in(Timestamp::from_secs(12 * 3600), &scopes, Duration::ZERO));
    }
}
