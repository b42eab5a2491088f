//! Where a secret came from, and that it goes nowhere else.
//!
//! Owns: the origin of a sign-in and the wrapper that binds a secret to it. Invariant: a [`Bound`] secret is
//! readable only by naming the endpoint it is about to be sent to, and only if that endpoint is its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::ids::Region;

/// The place a sign-in was made with, fixed at sign-in and kept with everything that came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The start URL as configured.
    pub start_url: String,
    /// The start URL that was sent to the service; differs from the configured one for vanity URLs.
    pub resolved_start_url: String,
    /// The region of the Identity Center instance.
    pub region: Region,
    /// Where sso-oidc was.
    pub oidc: Endpoint,
    /// Where the portal was.
    pub portal: Endpoint,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} in {} (sso-oidc {}, portal {})",
            crate::untrusted::shown(&self.start_url),
            self.region,
            self.oidc,
            self.portal
        )
    }
}

/// Something that may be sent to its own origin only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound<T> {
    home: Endpoint,
    secret: T,
}

impl<T> Bound<T> {
    /// Binds a secret to the endpoint it belongs to.
    #[must_use]
    pub const fn new(home: Endpoint, secret: T) -> Self {
        Self { home, secret }
    }

    /// The secret, if `destination` is where it belongs.
    ///
    /// # Errors
    /// `destination` is another endpoint: nothing may be sent.
    pub fn for_sending_to(&self, destination: &Endpoint) -> Result<&T, WrongOrigin> {
        if *destination == self.home {
            Ok(&self.secret)
        } else {
            Err(WrongOrigin { home: self.home.clone(), destination: destination.clone() })
        }
    }
}

/// A secret was about to be sent to a place it did not come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongOrigin {
    /// Where it belongs.
    pub home: Endpoint,
    /// Where it was to be sent.
    pub destination: Endpoint,
}

impl fmt::Display for WrongOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a secret of {} was not sent to {}", self.home, self.destination)
    }
}

impl std::error::Error for WrongOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_secret_is_not_readable_for_another_endpoint() {
        let home: Endpoint = "https://oidc.eu-west-1.amazonaws.com".parse().unwrap();
        let elsewhere: Endpoint = "http://127.0.0.1:4566".parse().unwrap();
        let bound = Bound::new(home.clone(), "secret");
        assert_eq!(bound.for_sending_to(&home), Ok(&"secret"));
        assert!(bound.for_sending_to(&elsewhere).is_err());
    }
}
