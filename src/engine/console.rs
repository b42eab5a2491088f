//! The way into the console: the role's credentials, then a sign-in token for them, then the address that signs in.
//!
//! Owns: who waits for one, and how far it has come. Refuses to know how credentials are got: it waits for a slot as
//! everybody does. Invariants: the address is told to who asked for it and kept nowhere; credentials go only where
//! [`signin_endpoint`] allows; there are never more than a few at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attempt::CALL_TIMEOUT;
use super::event::{Effect, Flight, PortalKey, Purpose, Turn, Waiter, WaiterId};
use super::select::target_of;
use super::session::{Session, route};
use super::state::State;
use super::words;
use crate::api::{Code, ConsoleAccess, CredentialDocument, Problem, Response, TargetQuery};
use crate::identity_center::console::{Destination, Issuer, login_url, signin_endpoint};
use crate::identity_center::partition::Service;
use crate::identity_center::{Bound, Endpoint, RoleCredentials};
use crate::ids::{Grant, Region, TargetId};
use crate::time::{Mono, Now};
use crate::untrusted::shown;
use crate::upstream::{Answer, Call, Failure, Reply, Unclear};

/// Visits to the console that are being prepared.
#[derive(Debug, Default)]
pub(super) struct Visits(BTreeMap<WaiterId, Visit>);

#[derive(Debug)]
struct Visit {
    waiter: Waiter,
    grant: Grant,
    destination: Destination,
    /// Whether the console session is to last as long as the role's; not every role may be asked that for.
    with_duration: bool,
    /// A call is up.
    exchange: Option<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    signin: Endpoint,
    key_id: String,
}

impl Visits {
    /// The pause until somebody's patience is over; until then a slot answers for those who wait for one.
    pub(super) fn wait(&self, now: Now) -> Option<Duration> {
        let flying = self.0.values().filter(|visit| visit.exchange.is_some());
        flying.map(|visit| visit.waiter.deadline.since(now.mono)).min()
    }

    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        for visit in self.0.values_mut() {
            visit.waiter.deadline = visit.waiter.deadline.min(deadline);
        }
    }
}

impl State {
    /// `POST /v1/console`.
    pub(super) fn asked_for_the_console(
        &mut self,
        id: WaiterId,
        query: &TargetQuery,
        asked: Option<&str>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Result<Response, Problem>> {
        let catalog = &self.configuration.catalog;
        let TargetId { session, grant } = match target_of(catalog, query) {
            Ok(target) => target.into_owned(),
            Err(problem) => return Some(Err(*problem)),
        };
        let wanted = match query {
            TargetQuery::Profile(name) => catalog.regions.get(name).cloned(),
            TargetQuery::Role { .. } => None,
        };
        let waiter = Waiter { id, deadline: now.mono.after(PATIENCE) };
        let begun = self.with_session(&session, now, effects, |session, turn| {
            session.visit_console(grant, asked, wanted.as_ref(), waiter, turn)
        });
        begun?.err().map(|problem| Err(*problem))
    }
}

impl Session {
    fn visit_console(
        &mut self,
        grant: Grant,
        asked: Option<&str>,
        wanted: Option<&Region>,
        waiter: Waiter,
        turn: &Turn<'_>,
    ) -> Result<(), Box<Problem>> {
        let destination = Destination::of(asked, &self.usable()?.region, wanted)
            .map_err(|error| Problem::new(Code::InvalidRequest, format!("destination: {error}")).session(&self.name))?;
        if self.visits.0.len() >= MOST_VISITS {
            let detail = format!("{MOST_VISITS} sign-ins to the console are under way");
            return Err(Box::new(Problem::new(Code::Busy, detail).session(&self.name).retry_after(CALL_TIMEOUT)));
        }
        // The service takes no length for a role that was assumed with the credentials of another one.
        let with_duration = matches!(grant, Grant::Role { .. });
        let visit = Visit { waiter, grant, destination, with_duration, exchange: None };
        self.wait_for_credentials(&visit, turn);
        self.visits.0.insert(waiter.id, visit);
        Ok(())
    }

    /// A fresh set is worth waiting for: a console session may end with the credentials it was made from.
    fn wait_for_credentials(&mut self, visit: &Visit, turn: &Turn<'_>) {
        let key = PortalKey::Credentials(visit.grant.clone());
        self.ask_portal(key, visit.waiter, Some(Duration::MAX), turn);
    }

    /// What a slot holds, for whoever has waited for it: who asked for it, or a visit that goes on with it.
    pub(super) fn slot_answered(&mut self, id: WaiterId, answer: Result<Response, Problem>, turn: &mut Turn<'_>) {
        if !self.visits.0.contains_key(&id) {
            turn.answer(id, answer);
            return;
        }
        let begun = match answer {
            Ok(Response::Credentials(document, _)) => self.exchange(id, document, turn),
            Ok(_) => Err(Box::new(Problem::new(Code::Internal, "role credentials are not what they should be"))),
            Err(problem) => Err(Box::new(problem)),
        };
        if let Err(problem) = begun {
            self.visit_over(id, Err(*problem), turn);
        }
    }

    fn exchange(
        &mut self,
        id: WaiterId,
        document: CredentialDocument,
        turn: &mut Turn<'_>,
    ) -> Result<(), Box<Problem>> {
        if turn.stopping {
            return Err(Box::new(words::shutting_down()));
        }
        let definition = self.usable()?;
        // The slot hands out nothing that did not come from there.
        let issuer = match &self.visits.0.get(&id).map(|visit| &visit.grant) {
            Some(Grant::Assumed(assumption)) => Issuer {
                service: Service::Sts,
                region: assumption.sts.region.clone(),
                endpoint: (&assumption.sts.address).into(),
            },
            _ => Issuer {
                service: Service::Portal,
                region: definition.region.clone(),
                endpoint: definition.endpoints.portal.clone(),
            },
        };
        let signin = signin_endpoint(&issuer, &definition.region, definition.signin.as_ref()).map_err(|elsewhere| {
            Problem::new(Code::InvalidConfig, elsewhere.to_string())
                .session(&self.name)
                .hint("correct AWS_ENDPOINT_URL_SIGNIN of the agent, or signin in the [services] section")
        })?;
        let route = route(definition, CALL_TIMEOUT);
        let left = document.expiration.since(self.skew.to_service(turn.now.wall));
        let Some(visit) = self.visits.0.get_mut(&id) else { return Ok(()) };
        let credentials = RoleCredentials {
            access_key_id: document.access_key_id,
            secret_access_key: document.secret_access_key,
            session_token: document.session_token,
            expires_at: document.expiration,
        };
        visit.exchange = Some(Exchange { signin: signin.clone(), key_id: credentials.access_key_id.clone() });
        let call = Call::GetSigninToken {
            credentials: Bound::new(signin.clone(), credentials),
            at: signin,
            duration: visit.with_duration.then(|| console_session(left)),
        };
        let flight = Flight { session: self.name.clone(), era: self.era, purpose: Purpose::Console(id) };
        turn.effects.push(Effect::Call(flight, route, call));
        Ok(())
    }

    /// The exchange has ended.
    pub(super) fn console_finished(&mut self, id: WaiterId, era: u64, reply: Reply, turn: &mut Turn<'_>) {
        let Some(mut visit) = self.visits.0.remove(&id) else { return };
        let Some(Exchange { signin, key_id }) = visit.exchange.take() else { return };
        let refused = matches!(reply.result, Err(Failure::Refused(_)));
        if refused && std::mem::take(&mut visit.with_duration) {
            // Or the role may not be used for that long: then as long as its credentials live.
            self.wait_for_credentials(&visit, turn);
            self.visits.0.insert(id, visit);
            return;
        }
        let answer = self.console_answer(visit, &signin, key_id, era, reply);
        if let Err(problem) = &answer {
            tracing::warn!(code = %problem.code, "{problem}");
        }
        turn.answer(id, answer);
    }

    fn console_answer(
        &self,
        visit: Visit,
        signin: &Endpoint,
        key_id: String,
        era: u64,
        reply: Reply,
    ) -> Result<Response, Problem> {
        // Who has signed out meanwhile is not let in.
        if era != self.era {
            self.held_here().map_err(|problem| *problem)?;
        }
        let token = match reply.result {
            Ok(Answer::SigninToken(token)) => Ok(token),
            Ok(_) => Err(Failure::Unknown(Unclear::UnusableBody("the answer of another operation".to_owned()))),
            Err(failure) => Err(failure),
        };
        let token = token.map_err(|failure| words::failed(&self.name, "signing in to the console", &failure, None))?;
        let definition = self.usable().map_err(|problem| *problem)?;
        tracing::info!(session = %shown(self.name.as_str()), access_key_id = key_id, "a way into the console");
        let access = ConsoleAccess {
            url: login_url(signin, &definition.start_url, &visit.destination, &token),
            expires_at: self.skew.to_service(reply.started.wall).after(TOKEN_LIFETIME),
            browser: self.settings.browser.as_ref().map(|browser| browser.words().to_vec()),
        };
        let target = TargetId { session: self.name.clone(), grant: visit.grant };
        Ok(Response::Console(access, target, key_id))
    }

    /// Answers whose patience is over while the exchange is up.
    pub(super) fn settle_visits(&mut self, turn: &mut Turn<'_>) {
        let over = |visit: &Visit| visit.exchange.is_some() && visit.waiter.deadline <= turn.now.mono;
        let over: Vec<WaiterId> = self.visits.0.iter().filter(|(_, visit)| over(visit)).map(|(id, _)| *id).collect();
        for id in over {
            let problem = match turn.stopping {
                true => words::shutting_down(),
                false => words::timed_out("signing in to the console", &self.name),
            };
            self.visit_over(id, Err(problem), turn);
        }
    }

    fn visit_over(&mut self, id: WaiterId, answer: Result<Response, Problem>, turn: &mut Turn<'_>) {
        self.visits.0.remove(&id);
        turn.answer(id, answer);
    }
}

/// What the role's credentials have left, up to the next quarter of an hour: they were made for at least as long, and
/// for no longer may be asked.
fn console_session(left: Duration) -> Duration {
    let quarters = left.as_secs().div_ceil(QUARTER_HOUR);
    Duration::from_secs((quarters * QUARTER_HOUR).clamp(QUARTER_HOUR, LONGEST_CONSOLE_SESSION))
}

const PATIENCE: Duration = Duration::from_secs(40);
const MOST_VISITS: usize = 8;
/// As documented by the service.
const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
const QUARTER_HOUR: u64 = 15 * 60;
const LONGEST_CONSOLE_SESSION: u64 = 12 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_session_lasts_as_long_as_the_role_allows() {
        for (left, session) in [(3599, 3600), (3600, 3600), (2500, 2700), (60, 900), (50_000, 43_200)] {
            assert_eq!(console_session(Duration::from_secs(left)), Duration::from_secs(session), "{left}");
        }
    }
}
