//! The network between the machine and the service: what becomes of a call.
//!
//! Owns: kinds of weather, and the fate of each call in it. Refuses to know what a call is for. Invariant: in calm
//! weather every call is answered, and soon.

use std::time::Duration;

use sso_agent::identity_center::ErrorName;
use sso_agent::untrusted::Untrusted;
use sso_agent::upstream::{Failure, NotSent, Unclear};

use super::chance::Chance;
use super::moment::{At, DAY, HOUR, MINUTE, SECOND, span};
use super::service;

/// What the weather is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sky {
    /// Nothing goes wrong.
    Calm,
    /// Now and then something goes wrong.
    Gusts,
    /// Half of everything goes wrong, in every way there is.
    Storm,
    /// No connection.
    Outage,
    /// Connections, and never an answer.
    BlackHole,
    /// The service asks for fewer requests.
    Throttling,
    /// The service fails, before or after it did what it was asked.
    ServerDown,
    /// Somebody else answers everything.
    Portal,
}

/// The weather, and when it changes.
#[derive(Debug)]
pub struct Weather {
    /// As it is.
    pub sky: Sky,
    /// Until when.
    pub until: At,
    /// Days on which one follows the other.
    rough_until: At,
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub struct Fate {
    /// When the request reaches the service, from now; it never does where there is none.
    pub out: Option<At>,
    /// When the end of the call reaches the agent, from now.
    pub end: At,
    /// How it ends, unless it is the service that says so.
    pub fault: Option<Failure>,
    /// What a summary calls it.
    pub kind: &'static str,
}

impl Weather {
    /// It begins calm.
    pub const fn new() -> Self {
        Self { sky: Sky::Calm, until: DAY, rough_until: 0 }
    }

    /// It changes.
    pub fn change(&mut self, at: At, chance: &mut Chance) {
        if self.rough_until <= at && chance.permille(40) {
            self.rough_until = at + chance.between(2 * HOUR, 16 * HOUR);
        }
        let rough = at < self.rough_until;
        let bad = [Sky::Gusts, Sky::Storm, Sky::Outage, Sky::BlackHole, Sky::Throttling, Sky::ServerDown, Sky::Portal];
        (self.sky, self.until) = match (self.sky, rough) {
            (Sky::Calm, false) => (chance.pick(&bad), at + chance.spread(10 * SECOND, 3 * HOUR)),
            (_, false) => (Sky::Calm, at + chance.spread(HOUR, 2 * DAY)),
            (Sky::Calm, true) => (chance.pick(&bad), at + chance.spread(5 * SECOND, 90 * MINUTE)),
            (_, true) => (Sky::Calm, at + chance.spread(5 * SECOND, 40 * MINUTE)),
        };
    }

    /// What becomes of a call that is made now and may take so long.
    pub fn fate(&self, timeout: Duration, chance: &mut Chance) -> Fate {
        let timeout = span(timeout);
        let good = match self.sky {
            Sky::Calm => true,
            Sky::Gusts => !chance.permille(60),
            Sky::Storm => chance.permille(500),
            Sky::Outage | Sky::Portal => false,
            Sky::BlackHole => chance.permille(20),
            Sky::Throttling => chance.permille(250),
            Sky::ServerDown => chance.permille(100),
        };
        let quick = chance.between(20_000, 400_000);
        if good {
            let slow = self.sky != Sky::Calm && chance.permille(100);
            let end = if slow { chance.between(quick, timeout.max(quick + 1)) } else { quick };
            return Fate { out: Some(end / 2), end, fault: None, kind: "none" };
        }
        let kind = match self.sky {
            Sky::Outage => chance.weighed(&[10, 0, 0, 0, 0, 0]),
            Sky::BlackHole => 4,
            Sky::Throttling => 1,
            Sky::ServerDown => chance.weighed(&[0, 2, 0, 8, 0, 0]),
            Sky::Portal => chance.weighed(&[5, 2, 0, 0, 0, 5]),
            _ => chance.weighed(&[3, 3, 2, 4, 2, 1]),
        };
        match kind {
            0 => not_sent(quick, chance),
            1 => not_processed(quick, chance),
            2 => refused(quick, chance),
            3 => lost(quick, chance),
            4 => hanging(timeout, chance),
            _ => somebody_else(quick),
        }
    }
}

fn not_sent(quick: At, chance: &mut Chance) -> Fate {
    let text = || "simulated".to_owned();
    let (cause, end) = match chance.below(4) {
        0 => (NotSent::Dns(text()), quick),
        1 => (NotSent::Connect(text()), quick),
        2 => (NotSent::Tls(text()), quick),
        _ => (NotSent::ConnectTimeout, 5 * SECOND),
    };
    Fate { out: None, end, fault: Some(Failure::NotSent(cause)), kind: "not sent" }
}

fn not_processed(quick: At, chance: &mut Chance) -> Fate {
    let (status, throttled) = chance.pick(&[(429, true), (429, true), (503, false), (302, false), (400, true)]);
    let wait = Duration::from_secs(chance.spread(1, 900));
    let retry_after = (status == 503 || chance.permille(400)).then_some(wait);
    let kind = if retry_after.is_some() { "not processed, with Retry-After" } else { "not processed" };
    Fate { out: None, end: quick, fault: Some(Failure::NotProcessed { status, throttled, retry_after }), kind }
}

fn refused(quick: At, chance: &mut Chance) -> Fate {
    let name = if chance.permille(70) { unheard_of() } else { chance.pick(&HARMLESS) };
    let error = service::error(name, 400);
    Fate { out: None, end: quick, fault: Some(Failure::Refused(error)), kind: "refused" }
}

/// The request was sent, and what came back says nothing.
fn lost(quick: At, chance: &mut Chance) -> Fate {
    let cause = match chance.below(4) {
        0 => Unclear::Broken("simulated".to_owned()),
        1 => Unclear::ServerError(chance.pick(&[500, 502, 503, 504])),
        2 => Unclear::UnusableBody("simulated".to_owned()),
        _ => Unclear::TooLarge,
    };
    let after = chance.permille(500);
    let kind = if after { "lost after the service acted" } else { "lost before the service acted" };
    Fate { out: after.then_some(quick / 2), end: quick, fault: Some(Failure::Unknown(cause)), kind }
}

fn hanging(timeout: At, chance: &mut Chance) -> Fate {
    let after = chance.permille(300);
    let out = after.then(|| chance.between(1000, timeout));
    let kind = if after { "hung after the service acted" } else { "hung before the service acted" };
    Fate { out, end: timeout, fault: Some(Failure::Unknown(Unclear::TimedOut)), kind }
}

fn somebody_else(quick: At) -> Fate {
    let cause = Unclear::UnusableBody("<html>".to_owned());
    Fate { out: None, end: quick, fault: Some(Failure::Unknown(cause)), kind: "answered by somebody else" }
}

/// Refusals that say nothing about the session. What ends one is the service's to say.
const HARMLESS: [ErrorName; 16] = [
    ErrorName::AuthorizationPending,
    ErrorName::SlowDown,
    ErrorName::AccessDenied,
    ErrorName::InvalidRequest,
    ErrorName::InvalidRequestRegion,
    ErrorName::UnauthorizedClient,
    ErrorName::UnsupportedGrantType,
    ErrorName::InvalidScope,
    ErrorName::InvalidClientMetadata,
    ErrorName::InvalidRedirectUri,
    ErrorName::InternalServer,
    ErrorName::Unauthorized,
    ErrorName::ResourceNotFound,
    ErrorName::TooManyRequests,
    ErrorName::Forbidden,
    ErrorName::Unnamed,
];

/// A name outside the models.
fn unheard_of() -> ErrorName {
    ErrorName::Other(Untrusted::new("SimulatedException"))
}
