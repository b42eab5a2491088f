//! The rules about what callers get: nothing that is over, nothing valid withheld, everybody in time.

use std::time::Duration;

use sso_agent::api::{Code, CredentialDocument, Problem, Request, Response, SessionQuery, Status, TargetQuery, Token};
use sso_agent::schedule;

use super::books::Kept;
use super::facts::{named, renewal_of, set_number};
use super::files::{chained, role_number, session_name};
use super::hands::numbers;
use super::judge::SIX_MINUTES;
use super::moment::{At, MINUTE, NEVER, SECOND, shown, span};
use super::service::FORBIDDEN_ROLE;
use super::world::{Waiting, World};

impl World {
    /// Somebody is answered.
    pub fn judge_answer(&mut self, asked: &Waiting, answer: &Result<Response, Problem>) {
        let locked = self.agent.as_ref().is_some_and(|agent| agent.state.is_locked());
        if locked && answer.as_ref().is_ok_and(|response| response.hand_out().is_some()) {
            self.violation("a locked agent hands something out");
        }
        match answer {
            Ok(Response::Credentials(document, _)) => {
                self.report.served += 1;
                self.judge_document(document, 0);
            }
            Ok(Response::EncodedCredentials(body)) => {
                self.report.served += 1;
                self.judge_credentials(body.body().expose(), 0);
            }
            Ok(Response::Token(token)) => {
                self.report.served += 1;
                self.judge_token(token);
            }
            Ok(Response::Status(status)) => self.judge_status(status),
            Ok(Response::LoggedOut(_)) => {
                if let Request::Logout { session } = &asked.request
                    && let Some(session) = named(session)
                    && self.tokens_on_disk(session).is_some()
                {
                    self.violation(format!("s{session}: signed out, and the tokens are still on disk"));
                }
            }
            Ok(_) => {}
            Err(problem) => self.judge_refusal(asked, problem),
        }
    }

    /// Role credentials are handed out, or laid out for so long.
    pub fn judge_credentials(&mut self, body: &[u8], good_for: At) {
        match serde_json::from_slice::<CredentialDocument>(body) {
            Ok(document) => self.judge_document(&document, good_for),
            Err(error) => self.violation(format!("credentials that cannot be read: {error}")),
        }
    }

    fn judge_document(&mut self, document: &CredentialDocument, good_for: At) {
        self.judge_set(set_number(&document.access_key_id), good_for, "are handed out");
    }

    /// A role is assumed with these.
    pub fn judge_assumption(&mut self, session: usize, set: usize) {
        if self.service.sets[set].session != session {
            self.violation(format!("s{session}: role credentials of another session are signed with"));
        }
        self.judge_set(set, 0, "are signed with");
    }

    fn judge_set(&mut self, set: usize, good_for: At, used: &str) {
        let set = self.service.sets[set];
        let last = self.now + good_for;
        let books = &self.books[set.session];
        let forgotten = !books.kept.contains_key(&set.role);
        let true_clock = books.skew.is_true(self.clocks.ahead);
        if set.ends + MINUTE <= last && !true_clock {
            let misled = "role credentials handed out after their end, misled by a wrong clock";
            *self.report.noted.entry(misled).or_default() += 1;
        }
        if set.ends + self.slack(set.session) <= last && true_clock {
            let ended = shown(set.ends);
            self.violation(format!("role credentials of s{} {used}, over since {ended}", set.session));
        }
        if forgotten {
            self.violation(format!("role credentials of s{} {used} after they were to go", set.session));
        }
    }

    fn judge_token(&mut self, token: &Token) {
        let number = numbers(&token.access_token);
        let session = token.session[1..].parse().expect("a session from here");
        self.judge_access(session, number[0], number[1], "is handed out");
        if self.books[session].access.is_some_and(|access| access.rejected) {
            self.violation(format!("a rejected access token of s{session} is handed out"));
        }
    }

    fn judge_refusal(&mut self, asked: &Waiting, problem: &Problem) {
        if self.agent.as_ref().is_some_and(|agent| agent.state.is_locked()) {
            // Who slept while the disk was asked has waited too long, and it is locked meanwhile.
            let slow =
                matches!(asked.request, Request::Lock { .. } | Request::Unlock { .. }) && problem.code == Code::Timeout;
            if problem.code != Code::Locked && problem.code != Code::ShuttingDown && !slow {
                self.violation(format!("a locked agent says: {problem}"));
            }
            return;
        }
        let (session, role) = match &asked.request {
            Request::Credentials { target: TargetQuery::Role { session: Some(name), role, .. }, .. } => {
                let grant = sso_agent::ids::Grant::Role { account: super::files::account(), role: role.clone() };
                (super::files::session_number(name), Some(role_number(&grant)))
            }
            Request::Credentials { target: TargetQuery::Profile(name), .. } => match chained(name) {
                Some((session, role)) => (session, Some(role)),
                None => return,
            },
            Request::Token { session, .. } => match named(session) {
                Some(session) => (session, None),
                None => return,
            },
            _ => return,
        };
        if self.agent.as_ref().is_none_or(|agent| agent.stopping.is_some()) || !self.is_at_home(session) {
            return;
        }
        let books = &self.books[session];
        let signing_in = problem.hint.as_ref().is_some_and(|hint| hint.contains("waiting for approval"))
            || problem.detail.contains("is waiting for you");
        if books.sealed && problem.code == Code::SignInRequired && !signing_in {
            self.violation(format!("s{session}: a sign-in is asked for although one is sealed: {problem}"));
            return;
        }
        let sure = books.skew.is_true(self.clocks.ahead);
        let margin = self.slack(session) + SECOND;
        let lives = |ends: At, doubted: bool| sure && !doubted && ends > self.now + margin;
        let valid = match role {
            Some(role) => {
                let kept = books.kept.get(&role).filter(|kept: &&Kept| kept.realm == session * 2);
                kept.is_some_and(|kept| lives(kept.ends, kept.doubted))
            }
            None => books.access.is_some_and(|access| {
                let ends = access.limit.map_or(access.ends, |limit| limit.min(access.ends));
                !access.rejected && lives(ends, access.doubted)
            }),
        };
        let what = role.map_or_else(|| "an access token".to_owned(), |role| format!("role {role}"));
        if valid {
            self.violation(format!("{what} of s{session} is valid and withheld: {problem}"));
            return;
        }
        let rejected = books.rejected_at.is_some_and(|at| self.now < at + 5 * MINUTE)
            || books.access.is_some_and(|access| access.rejected);
        if problem.code == Code::SignInRequired && books.held.is_some() && !rejected {
            self.violation(format!("s{session}: a sign-in is asked for although the session has not ended: {problem}"));
            return;
        }
        // Whoever waited for a sign-in has from its end on.
        let patient = asked.deadline >= asked.since.max(books.portal_since) + 20 * SECOND;
        let at_peace = self.is_calm_for(SIX_MINUTES + (self.now - asked.since));
        let alive = books.held.is_some_and(|held| self.service.lives(held.family, self.now));
        let short = books.access.is_none_or(|access| access.lifetime < Duration::from_secs(120));
        if patient && at_peace && alive && sure && !short && role != Some(FORBIDDEN_ROLE) {
            self.violation(format!("{what} of s{session} cannot be had, six minutes after the last fault: {problem}"));
        }
    }

    fn judge_status(&mut self, status: &Status) {
        for shown in &status.sessions {
            let session: usize = shown.session[1..].parse().expect("a session from here");
            let books = &self.books[session];
            if books.coming.is_some() {
                continue;
            }
            // Refused, but perhaps refreshed by another program: it looks before it says so.
            let doubts = shown.session.parse().is_ok_and(|name| self.disk.is_to_look_for(&name));
            if shown.renewable != books.held.is_some() && !(shown.renewable && doubts) {
                let held = books.held;
                self.violation(format!("s{session}: {held:?} is to be held, renewable is {}", shown.renewable));
                return;
            }
            let on_disk = self.tokens_on_disk(session);
            let renewal = on_disk.as_ref().and_then(renewal_of);
            if shown.saved && self.disk.is_idle() && books.held.is_some() && renewal != books.held {
                let held = books.held;
                self.violation(format!("s{session}: {held:?} is said to be saved, and on disk is {renewal:?}"));
                return;
            }
        }
    }

    /// The engine has done everything that was due.
    pub fn judge_turn(&mut self) {
        let Some(agent) = &self.agent else { return };
        if agent.state.plan_holds() && agent.alarm.is_some_and(|alarm| alarm <= self.now) {
            // What is due comes with the wake-up that follows.
            return;
        }
        if let Some((deadline, waiter)) = agent.first_deadline()
            && deadline + 3000 < self.now
            && agent.alarm.is_none_or(|alarm| alarm > self.now + SECOND)
        {
            let request = agent.waiters.get(&waiter).map(|waiting| format!("{:?}", waiting.request));
            self.violation(format!("{waiter:?} should have been answered at {}: {request:?}", shown(deadline)));
            return;
        }
        if self.is_calm_for(SIX_MINUTES) {
            for session in 0..self.books.len() {
                self.judge_due(session);
            }
        }
    }

    /// In calm weather nothing that is due is put off.
    fn judge_due(&mut self, session: usize) {
        let books = &self.books[session];
        let (Some(held), Some(access)) = (books.held, books.access) else { return };
        let under_way = books.is_flying() || books.coming.is_some() || !self.disk.is_idle();
        let misdated = access.limit.is_none() && access.doubted;
        if under_way
            || access.rejected
            || misdated
            || !books.skew.is_true(self.clocks.ahead)
            || !self.is_at_home(session)
        {
            return;
        }
        let margin = self.margin(session, access.lifetime);
        let unknown = books.is_unknown();
        let due = if unknown { schedule::late_margin(margin) } else { margin * 19 / 20 };
        // Nobody else knows what an agent with a wrong clock thought was left when it sent it.
        let window = span(schedule::late_margin(margin)).max(books.latest) * 8 / 5 + MINUTE;
        let once_late = books.lost().any(|one| one.left >= NEVER || one.left <= window);
        let due = if unknown && once_late { 0 } else { span(due) };
        let must_be_later_than = access.ends.min(access.limit.unwrap_or(NEVER));
        let patience = self.slack(session) + 75 * SECOND;
        if self.now + due > must_be_later_than + patience {
            let left = access.ends.saturating_sub(self.now) / SECOND;
            self.violation(format!(
                "s{session}: {held:?} should have been presented, {left} s are left, of unknown fate: {unknown}"
            ));
        }
    }

    /// An hour is over.
    pub fn judge_hour(&mut self) {
        self.report.at_most("wake-ups in an hour", self.wakes);
        if self.wakes > MOST_WAKES {
            let wakes = self.wakes;
            self.violation(format!("{wakes} wake-ups in an hour"));
        }
        self.wakes = 0;
        for session in 0..self.books.len() {
            let books = &mut self.books[session];
            let (refreshes, calls) = (std::mem::take(&mut books.refreshes), std::mem::take(&mut books.portal_calls));
            self.report.at_most("refreshes of a session in an hour", refreshes);
            self.report.at_most("calls to the portal for a session in an hour", calls);
            if refreshes > MOST_REFRESHES || calls > MOST_PORTAL_CALLS {
                self.violation(format!("s{session}: {refreshes} refreshes and {calls} portal calls in an hour"));
            }
        }
    }
}

/// The question that shows everything.
pub fn status() -> Request {
    Request::Status { wait: Duration::ZERO, after: None }
}

/// The session with this number.
pub fn query(session: usize) -> SessionQuery {
    SessionQuery::Named(session_name(session))
}

const MOST_WAKES: u64 = 2500;
const MOST_REFRESHES: u64 = 400;
const MOST_PORTAL_CALLS: u64 = 800;
