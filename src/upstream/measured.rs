//! The services with a meter beside them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Call, Failure, NotSent, Reply, Route, Unclear, Upstream};
use crate::clock::Clock;
use crate::identity_center::ErrorName;
use crate::meter::Meter;

/// Counts calls by operation and outcome.
pub type CallMeter = Meter<(&'static str, &'static str)>;

/// Makes calls as another does, and notes how each ended and how long it took.
pub struct Measured<U> {
    calls: U,
    clock: Arc<dyn Clock>,
    meter: Arc<CallMeter>,
}

impl<U> Measured<U> {
    /// The same calls, noted.
    #[must_use]
    pub const fn new(calls: U, clock: Arc<dyn Clock>, meter: Arc<CallMeter>) -> Self {
        Self { calls, clock, meter }
    }
}

impl<U: Upstream> Upstream for Measured<U> {
    fn call(&self, route: Route, call: Call) -> impl Future<Output = Reply> + Send {
        let operation = call.operation();
        async move {
            let began = self.clock.now().mono;
            let reply = self.calls.call(route, call).await;
            let took = self.clock.now().mono.since(began);
            self.meter.note((operation, outcome(&reply)), took);
            reply
        }
    }
}

/// A meter for calls over a network.
#[must_use]
pub const fn call_meter() -> CallMeter {
    Meter::new(BOUNDS)
}

/// The operation under which refreshes of access tokens are counted.
pub const REFRESH: &str = "CreateToken (refresh token)";
/// The outcome of a call that brought what it was made for.
pub const DONE: &str = "ok";

/// In one word. Those of one class of failure (what it means for a refresh token) stand together.
fn outcome(reply: &Reply) -> &'static str {
    let failure = match &reply.result {
        Ok(_) => return DONE,
        Err(failure) => failure,
    };
    match failure {
        Failure::NotSent(NotSent::Dns(_)) => "dns",
        Failure::NotSent(NotSent::Connect(_) | NotSent::ConnectTimeout) => "connect",
        Failure::NotSent(NotSent::Tls(_) | NotSent::Untrusted(_) | NotSent::Roots(_)) => "tls",
        Failure::NotSent(NotSent::Proxy(_)) => "proxy",
        Failure::NotSent(NotSent::WrongOrigin(_) | NotSent::Malformed(_)) => "not_sent",
        Failure::NotProcessed { throttled: true, .. } => "throttled",
        Failure::NotProcessed { .. } => "not_processed",
        Failure::Refused(error) => match error.name {
            ErrorName::AuthorizationPending | ErrorName::SlowDown => "authorization_pending",
            ErrorName::InvalidGrant | ErrorName::ExpiredToken => "session_ended",
            ErrorName::InvalidClient => "client_unknown",
            ErrorName::Unauthorized => "unauthorized",
            ErrorName::Forbidden | ErrorName::AccessDenied => "access_denied",
            _ => "refused",
        },
        Failure::Unknown(Unclear::TimedOut) => "timeout",
        Failure::Unknown(Unclear::ServerError(_)) => "server_error",
        Failure::Unknown(Unclear::Broken(_)) => "broken",
        Failure::Unknown(Unclear::UnusableBody(_) | Unclear::TooLarge) => "unusable",
    }
}

const BOUNDS: &[Duration] = &[
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::identity_center::ServiceError;
    use crate::untrusted::Untrusted;

    #[test]
    fn a_failure_is_counted_under_a_word_of_ours_and_never_under_the_services() {
        let reply = |failure| Reply { result: Err(failure), started: SystemClock.now(), service_time: None };
        let named = |name| Failure::Refused(ServiceError { name, status: 400, message: Untrusted::new("x") });
        for (failure, word) in [
            (Failure::NotSent(NotSent::Dns("no such host".to_owned())), "dns"),
            (Failure::NotSent(NotSent::ConnectTimeout), "connect"),
            (Failure::NotProcessed { status: 429, throttled: true, retry_after: None }, "throttled"),
            (named(ErrorName::InvalidGrant), "session_ended"),
            (named(ErrorName::Other(Untrusted::new("x"))), "refused"),
            (Failure::Unknown(Unclear::TimedOut), "timeout"),
        ] {
            assert_eq!(outcome(&reply(failure)), word);
        }
    }
}
