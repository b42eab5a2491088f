//! Taking over a sign-in that lies in the AWS CLI's cache: because somebody asked, or because it is ours, refreshed by
//! another program.
//!
//! Invariants: what is taken over is a whole set of exactly this session, bound to where the session is configured now,
//! and on disk before it is used; nothing better is given up for it.

use std::time::Duration;

use super::cached::Needs;
use super::event::{Turn, Waiter, Write};
use super::expiry::Expiry;
use super::publish::{Job, There};
use super::refreshing::Step;
use super::session::{Holding, Session};
use super::words;
use crate::api::{Adopted, Code, Problem, Response};
use crate::aws_config::SessionDefinition;
use crate::identity_center::{ClientRegistration, Flow, TokenSet};
use crate::schedule;
use crate::sso_cache::{CachedSet, Found, Mark, Renewal};
use crate::store::{Record, TokenRecord};
use crate::time::{Now, Timestamp};
use crate::untrusted::shown;

impl Session {
    /// `POST /v1/sessions/{s}/adopt`.
    pub(super) fn asked_to_adopt(&mut self, waiter: Waiter, turn: &mut Turn<'_>) -> Option<Result<Response, Problem>> {
        if let Err(problem) = self.usable() {
            return Some(Err(*problem));
        }
        let sealed = self.sealed.as_deref().cloned();
        let moved = self.holding.as_ref().and_then(|_| self.held_here().err());
        if let Some(problem) = sealed.or(moved.map(|problem| *problem)) {
            return Some(Err(problem));
        }
        if self.publishing.adopters.is_empty() {
            self.look(Job::Adopt, turn);
        }
        self.publishing.adopters.push(waiter);
        None
    }

    /// The file was read because somebody asked to take it over.
    pub(super) fn looked_to_adopt(&mut self, found: Found, turn: &mut Turn<'_>) {
        let answer = match self.chosen(found, turn) {
            Ok(Some(set)) => return self.adopt(*set, turn),
            Ok(None) => Ok(self.adopted(false, turn.now)),
            Err(problem) => Err(problem),
        };
        self.answer_adopters(&answer, turn);
    }

    /// The set, if it is one to take over; nothing if what is held is better.
    fn chosen(&self, found: Found, turn: &Turn<'_>) -> Result<Option<Box<CachedSet>>, Problem> {
        let refuse = |detail: String| {
            let file = self.publishing.path.as_deref().unwrap_or_default();
            let detail = format!("nothing to take over from {}: {detail}", shown(file));
            Err(Problem::new(Code::SignInRequired, detail)
                .session(&self.name)
                .hint(format!("sign in with: sso-agent login {}", words::typed(&self.name))))
        };
        let now = turn.now.wall;
        if turn.stopping {
            return Err(words::shutting_down());
        }
        if self.sign_in_is_saving() || self.refreshing.is_under_way() {
            return Err(words::being_replaced(&self.name));
        }
        let set = match found {
            Found::Missing => return refuse("there is no such file".to_owned()),
            Found::Torn => return refuse("it is half a file".to_owned()),
            Found::Unusable(unusable) => return refuse(unusable.to_string()),
            Found::Set(set) => set,
        };
        if let Some(problem) = self.of_another_session(&set) {
            return refuse(problem);
        }
        let clock = |time| words::clock_time(time, now, &turn.agent.time_zone);
        let renewable_until = match &set.renewal {
            Renewal::Incomplete => return refuse("it has a refresh token without the client it belongs to".to_owned()),
            Renewal::Whole(material) => Some(material.registration_expires_at).filter(|ends| *ends > now),
            Renewal::None => None,
        };
        if self.is_better_than(&set, renewable_until.is_some(), turn.now) {
            return Ok(None);
        }
        if self.is_of_our_making(&set) {
            return refuse("it is what this agent had written there".to_owned());
        }
        if set.expires_at <= now && renewable_until.is_none() {
            let end = clock(set.expires_at);
            return refuse(match &set.renewal {
                Renewal::Whole(_) => format!("it expired at {end}, and so has the client it could be refreshed with"),
                _ => format!("it expired at {end} and cannot be refreshed"),
            });
        }
        Ok(Some(set))
    }

    /// Whether what is held is worth more than this set.
    fn is_better_than(&self, set: &CachedSet, renewable: bool, now: Now) -> bool {
        let Ok((holding, _)) = self.held_here() else { return false };
        let alive = !self.remaining(now).is_zero();
        let ours_renewable = holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none();
        if !alive && !ours_renewable {
            return false;
        }
        ours_renewable && !holding.rejected
            || (alive && !renewable && self.skew.to_ours(holding.access.service) >= set.expires_at)
    }

    fn adopt(&mut self, set: CachedSet, turn: &mut Turn<'_>) {
        let mark = Mark::of(&set.access_token);
        self.update_client(turn, |client| client.published.know(mark));
        let Ok(definition) = self.usable() else { return };
        let origin = definition.origin();
        let tokens = self.tokens_of(set, definition, turn.now);
        let record = TokenRecord {
            session: self.name.clone(),
            origin,
            tokens,
            clock_ahead: self.skew.ahead_millis(),
            signed_in_at: turn.now.wall,
            refresh_sent_at: None,
            refused: None,
        };
        self.publishing.adoption = Some(Box::new(self.adopted_holding(record.clone(), turn)));
        // From here on no result about the old tokens may land on disk after the new ones.
        self.era += 1;
        self.refreshing.abandon();
        self.save(Write::Adopted, Record::Tokens(record), turn);
    }

    /// What was taken over is on disk, or cannot be: now it is used.
    pub(super) fn adoption_saved(&mut self, outcome: Result<(), Problem>, turn: &mut Turn<'_>) {
        let Some(holding) = self.publishing.adoption.take() else { return };
        self.portal.signed_in_at(&holding.record.origin);
        self.holding = Some(*holding);
        self.undeleted = false;
        self.last_error = None;
        self.plan_by_settings(turn);
        self.stored(Write::Adopted, outcome, turn.now);
        self.publishing.there = There::Unknown;
        self.needs_no_sign_in(turn);
        tracing::info!(session = %shown(self.name.as_str()), "a sign-in of the AWS CLI was taken over");
        let answer = Ok(self.adopted(true, turn.now));
        self.answer_adopters(&answer, turn);
    }

    /// Another program has refreshed what we hold: its result takes the place of ours.
    pub(super) fn take_over(&mut self, set: CachedSet, turn: &mut Turn<'_>) {
        let mark = Mark::of(&set.access_token);
        self.update_client(turn, |client| client.published.know(mark));
        let Ok((held, definition)) = self.held_here() else { return };
        let tokens = self.tokens_of(set, definition, turn.now);
        let clock_ahead = self.skew.ahead_millis();
        let record = TokenRecord { tokens, clock_ahead, refresh_sent_at: None, refused: None, ..held.record.clone() };
        let holding = self.adopted_holding(record.clone(), turn);
        tracing::info!(session = %shown(self.name.as_str()), "another program has refreshed the session");
        self.refreshing.step = Step::Saving(Box::new(holding));
        self.save(Write::Refreshed, Record::Tokens(record), turn);
    }

    /// The file was read just before a refresh.
    pub(super) fn looked_before_refresh(&mut self, found: Found, turn: &mut Turn<'_>) {
        let Step::Looking { wanted } = self.refreshing.step else { return };
        match found {
            Found::Set(set) if self.may_adopt(&set, Needs::Renewal, turn) => return self.take_over(*set, turn),
            Found::Missing => {
                self.refreshing.step = Step::Idle;
                let has_time = !wanted && matches!(self.wanted(turn.now), super::publish::Wanted::Ours(_));
                if has_time {
                    self.found_missing(turn);
                    if self.publishing.holds_a_refresh_back(turn.now) {
                        return;
                    }
                }
            }
            _ => {}
        }
        self.start_refresh(wanted, turn);
    }

    /// The file was read once more, because the service refused the refresh token for good.
    pub(super) fn looked_after_refusal(&mut self, found: Found, turn: &mut Turn<'_>) {
        let (sending, error) = match std::mem::take(&mut self.refreshing.step) {
            Step::Doubting(doubting) => *doubting,
            other => {
                self.refreshing.step = other;
                return;
            }
        };
        match found {
            Found::Set(set) if self.may_adopt(&set, Needs::Anything, turn) => self.take_over(*set, turn),
            _ => self.refused_for_good(sending, &error, turn),
        }
    }

    fn tokens_of(&self, set: CachedSet, definition: &SessionDefinition, now: Now) -> TokenSet {
        let expires_at = self.skew.to_service(set.expires_at);
        let now = self.skew.to_service(now.wall);
        // Nobody has written down when it was issued; those that can be refreshed live an hour.
        let issued_at = now.min(expires_at.before(USUAL_LIFETIME));
        let known = self.holding.as_ref().map(|holding| &holding.record.tokens.registration);
        let registration = |client_id: String, client_secret, ends: Timestamp| match known {
            Some(known) if known.client_id == client_id => known.clone(),
            _ => ClientRegistration {
                client_id,
                client_secret,
                issued_at: now,
                expires_at: self.skew.to_service(ends),
                scopes: definition.scopes.clone(),
                flow: Flow::Device,
            },
        };
        let (refresh_token, registration) = match set.renewal {
            Renewal::Whole(material) => {
                let material = *material;
                let client = registration(material.client_id, material.client_secret, material.registration_expires_at);
                (Some(material.refresh_token).filter(|_| client.expires_at > now), client)
            }
            Renewal::None | Renewal::Incomplete => {
                (None, registration(String::new(), crate::secret::Secret::new(String::new()), set.expires_at))
            }
        };
        TokenSet {
            access_token: set.access_token,
            token_type: "Bearer".to_owned(),
            issued_at,
            expires_at,
            refresh_token,
            registration,
        }
    }

    fn adopted_holding(&self, record: TokenRecord, turn: &mut Turn<'_>) -> Holding {
        let margin = self.base_margin(record.tokens.lifetime());
        Holding {
            access: Expiry::at(record.tokens.expires_at, turn.now, self.skew, Duration::MAX),
            rejected: false,
            saved: true,
            refresh_at: schedule::with_jitter(margin, turn.dice),
            record,
        }
    }

    fn adopted(&self, adopted: bool, now: Now) -> Response {
        Response::Adopted(Box::new(Adopted { adopted, session: self.status(now) }))
    }

    pub(super) fn answer_adopters(&mut self, answer: &Result<Response, Problem>, turn: &mut Turn<'_>) {
        for waiter in std::mem::take(&mut self.publishing.adopters) {
            turn.answer(waiter.id, answer.clone());
        }
    }

    pub(super) fn settle_adopters(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let late: Vec<Waiter> = self.publishing.adopters.extract_if(.., |waiter| waiter.deadline <= now).collect();
        for waiter in late {
            turn.answer(waiter.id, Err(words::timed_out("taking over the sign-in", &self.name)));
        }
    }
}

/// Of an access token that can be refreshed.
const USUAL_LIFETIME: Duration = Duration::from_secs(3600);
