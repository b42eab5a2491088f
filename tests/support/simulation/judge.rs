//! The rules, checked at every call, every write and every turn.
//!
//! Owns no state: what is known is in the books. Invariant: a rule is broken by what the agent did, never by what
//! happened to it.

use std::time::Duration;

use sso_agent::engine::{Purpose, Ticket, Write};
use sso_agent::identity_center::ErrorName;
use sso_agent::schedule;
use sso_agent::store::Record;
use sso_agent::upstream::{Answer, Failure, ServiceTime};

use super::books::{Books, Coming, Kept, Outcome, Presented, Renewal};
use super::disk::Job;
use super::facts::{margin_of, renewal_of, set_number};
use super::files::{Files, session_number};
use super::hands::numbers;
use super::moment::{At, MINUTE, NEVER, SECOND, service_time, span};
use super::service::{Arrival, Why};
use super::world::{Cause, Up, World};

impl World {
    /// The agent has found on disk what it will go on with.
    pub fn judge_loaded(&mut self) {
        for session in 0..self.books.len() {
            let found = self.tokens_on_disk(session).as_ref().and_then(renewal_of);
            let safe = self.books[session].safe;
            if safe.is_some() && found < safe {
                self.violation(format!("s{session}: {safe:?} was saved, and after a restart there is {found:?}"));
            }
            if !self.books[session].sealed {
                self.judge_found(session);
            }
        }
    }

    /// These tokens could be read.
    pub fn judge_found(&mut self, session: usize) {
        let now = self.now;
        let record = self.tokens_on_disk(session);
        let found = record.as_ref().and_then(renewal_of);
        let true_clock = self.books[session].skew.is_true(self.clocks.ahead);
        let Some(record) = record else { return };
        let mut access = self.access_of(&record, None, true_clock);
        let off = record.tokens.expires_at.as_millis().abs_diff(service_time(access.ends).as_millis());
        if off > 65_000 {
            // It came while the clock was wrong, and that clock wrote down when it ends.
            access.doubted = true;
            *self.report.noted.entry("tokens found that were saved by a wrong clock").or_default() += 1;
        }
        let late = span(schedule::late_margin(self.margin(session, access.lifetime)));
        let books = &mut self.books[session];
        books.latest = late;
        books.access = Some(access);
        books.tried.insert((access.family, access.serial));
        books.held = found.filter(|_| record.refused.is_none());
        if let Some(held) = books.held {
            let all = books.presented.entry(held).or_default();
            if all.iter().any(|one| matches!(one.outcome, Outcome::Answered | Outcome::Over)) {
                let unsaved = if self.was_full {
                    "the agent was killed with the answer to a refresh in memory, for the disk was full"
                } else {
                    "the agent was killed before the answer to a refresh was saved"
                };
                books.excuses.entry(held).or_insert(unsaved);
            }
            match record.refresh_sent_at {
                // Whatever became of it, or whether it was sent at all: the mark is all that the agent knows.
                Some(sent) => {
                    let left = record.tokens.expires_at.since(sent);
                    let left = if access.doubted { NEVER } else { span(left) };
                    let outcome = Outcome::Crashed;
                    all.push(Presented { at: now, ended: now, run: 0, outcome, left, late, forced: false });
                }
                // The mark could not be saved, for it was late and the disk was full: nothing tells the agent.
                None => all.retain(|one| !matches!(one.outcome, Outcome::Crashed | Outcome::Lost)),
            }
        }
    }

    /// A call is made.
    pub fn judge_call(&mut self, session: usize, purpose: &Purpose, arrival: &Arrival) {
        match *arrival {
            Arrival::Logout { family, serial } if matches!(purpose, Purpose::Revoke(_)) => {
                self.books[session].portal_calls += 1;
                self.judge_revoke(session, family, serial);
            }
            Arrival::Refresh { family, index, .. } => self.judge_refresh(session, Renewal { family, index }),
            Arrival::Role { family, serial, .. }
            | Arrival::List { family, serial, .. }
            | Arrival::Logout { family, serial } => {
                self.books[session].portal_calls += 1;
                self.judge_access(session, family, serial, "is used");
            }
            Arrival::Assume { set, .. } => self.judge_assumption(session, set),
            Arrival::Register | Arrival::StartDevice { .. } | Arrival::Poll { .. } => {}
        }
    }

    /// An access token is used or handed out.
    pub fn judge_access(&mut self, session: usize, family: usize, serial: usize, how: &str) {
        let books = &self.books[session];
        let name = format!("the access token {family}-{serial} of s{session}");
        let Some(access) = books.access.filter(|access| (access.family, access.serial) == (family, serial)) else {
            let known = books.access.map(|access| (access.family, access.serial));
            self.violation(format!("{name} {how}, and the one at hand is {known:?}"));
            return;
        };
        if !books.tried.contains(&(family, serial)) {
            self.violation(format!("{name} {how} before it was saved"));
        } else if access.limit.is_some_and(|limit| limit <= self.now) {
            self.violation(format!("{name} {how} after its time"));
        } else if access.ends + MINUTE <= self.now && (access.doubted || !books.skew.is_true(self.clocks.ahead)) {
            // Nobody can know: the clock it was saved by was wrong, or the one it is judged by is.
            *self.report.noted.entry("tokens used after their end, misled by a wrong clock").or_default() += 1;
        } else if books.skew.is_true(self.clocks.ahead) && access.ends + self.slack(session) <= self.now {
            self.violation(format!("{name} {how} although it is over by all clocks"));
        }
    }

    /// Tokens that came when nobody wanted them any more are ended at the portal: once, and no others.
    fn judge_revoke(&mut self, session: usize, family: usize, serial: usize) {
        let books = &mut self.books[session];
        let given_up = books.given_up.take() == Some((family, serial));
        let coming = books.coming.map(|coming| coming.renewal);
        let wanted = books.held.or(coming).filter(|wanted| wanted.family == family);
        if !given_up || wanted.is_some() {
            self.violation(format!("s{session}: revokes {family}-{serial}, given up: {given_up}, held: {wanted:?}"));
        }
    }

    fn judge_refresh(&mut self, session: usize, renewal: Renewal) {
        let forced = self.books[session].forced;
        let (run, now) = (self.runs, self.now);
        let slack = self.slack(session);
        let left = self.left(session);
        let books = &self.books[session];
        let mut wrong = None;
        if books.held != Some(renewal) {
            wrong = Some(format!("is presented, and the one to hold is {:?}", books.held));
        }
        if books.is_flying() {
            wrong = Some("is presented while one is being presented".to_owned());
        }
        if books.coming.is_some() {
            wrong = Some("is presented while newer tokens are being saved".to_owned());
        }
        let marked = self
            .tokens_on_disk(session)
            .is_some_and(|record| renewal_of(&record) == Some(renewal) && record.refresh_sent_at.is_some());
        let excused = books.unmarkable && left.is_none_or(|left| left <= books.latest + slack);
        if !marked && !excused {
            wrong = Some(format!("is presented without a mark on disk, {left:?} left"));
        }
        let newest = self.service.families[renewal.family].newest;
        let excuse = books.excuses.get(&renewal).copied();
        if newest != renewal.index && (excuse.is_none() || books.safe.is_some_and(|safe| safe > renewal)) {
            wrong = Some(format!("is presented although its successor {newest} was saved"));
        }
        wrong = wrong.or_else(|| too_early(books, renewal, left, slack, forced, now));
        wrong = wrong.or_else(|| {
            let gap = span(schedule::refresh_gap(books.access?.lifetime)).saturating_sub(2000);
            let lately = books.presented.values().flatten().any(|one| {
                one.run == run
                    && matches!(one.outcome, Outcome::Answered | Outcome::Lost | Outcome::Over)
                    && now < one.ended + gap
            });
            lately.then(|| "is presented again too soon".to_owned())
        });
        if let Some(wrong) = wrong {
            self.violation(format!("s{session}: the refresh token {renewal:?} {wrong}"));
        }
        // What an agent with a wrong clock thought was left, nobody else knows.
        let left = left.unwrap_or(NEVER);
        let late = self.late(session);
        let books = &mut self.books[session];
        books.refreshes += 1;
        books.forced = false;
        let one = Presented { at: now, ended: NEVER, run, outcome: Outcome::Flying, left, late, forced };
        books.presented.entry(renewal).or_default().push(one);
    }

    /// A call comes back to the agent, which will hear of it.
    pub fn judge_arrival(&mut self, up: &Up, result: &Result<Answer, Failure>, time: Option<ServiceTime>) {
        let session = session_number(&up.flight.session);
        self.answered_to = up.made;
        // The clock of an STS says nothing about the session.
        if let Some(time) = time.filter(|_| !matches!(up.arrival, Arrival::Assume { .. })) {
            let books = &mut self.books[session];
            let was_true = books.skew.is_true(self.clocks.ahead);
            books.skew.observe(time);
            if was_true && !books.skew.is_true(self.clocks.ahead) {
                let believed = books.skew.believed;
                self.violation(format!("s{session}: two answers make the agent believe a wrong clock: {believed} ms"));
            }
        }
        if let (Arrival::Refresh { .. } | Arrival::Poll { .. }, Ok(Answer::Token(tokens))) = (up.arrival, result) {
            let token = numbers(&tokens.access_token);
            self.books[session].given_up = Some((token[0], token[1]));
        }
        match up.arrival {
            Arrival::Refresh { family, index, .. } => {
                self.judge_refreshed(session, Renewal { family, index }, up, result);
            }
            Arrival::Role { role, .. } | Arrival::Assume { role, .. } if result.is_ok() => {
                let set = self.books[session].portal_since < up.made;
                if let (Ok(Answer::RoleCredentials(credentials)), true) = (result, set) {
                    let number = set_number(&credentials.access_key_id);
                    // An answer's own date, wrong or not, may shorten what it brings.
                    let by_date = time.map(|time| self.now + span(credentials.expires_at.since(time.service)));
                    let ends = self.service.sets[number].ends;
                    let ends = by_date.filter(|ends| *ends > self.now).map_or(ends, |by_date| by_date.min(ends));
                    let doubted = !self.books[session].skew.is_true(self.clocks.ahead);
                    let kept = Kept { realm: up.realm, ends, doubted };
                    let known = self.books[session].kept.entry(role).or_insert(kept);
                    if known.ends <= ends || known.doubted {
                        *known = kept;
                    }
                }
            }
            Arrival::Role { family, serial, .. } | Arrival::List { family, serial, .. } => {
                if let Err(Failure::Refused(error)) = result
                    && error.name == ErrorName::Unauthorized
                {
                    let now = self.now;
                    let books = &mut self.books[session];
                    books.rejected_at = Some(now);
                    if let Some(access) = &mut books.access
                        && (access.family, access.serial) == (family, serial)
                    {
                        access.rejected = true;
                    }
                }
            }
            _ => {}
        }
    }

    fn judge_refreshed(&mut self, session: usize, renewal: Renewal, up: &Up, result: &Result<Answer, Failure>) {
        let (now, run) = (self.now, up.run);
        let definite = matches!(result, Err(Failure::Refused(error))
            if matches!(error.name, ErrorName::InvalidGrant | ErrorName::ExpiredToken | ErrorName::InvalidClient));
        let outcome = match result {
            Ok(_) => Outcome::Answered,
            Err(Failure::Unknown(_)) => Outcome::Lost,
            Err(Failure::Refused(_)) if definite => Outcome::Answered,
            Err(_) => Outcome::NotTaken,
        };
        let late = self.late(session);
        let books = &mut self.books[session];
        let Some(one) = books
            .presented
            .get_mut(&renewal)
            .and_then(|all| all.iter_mut().find(|one| one.run == run && one.outcome == Outcome::Flying))
        else {
            return;
        };
        (one.outcome, one.ended) = (outcome, now);
        one.late = one.late.min(late);
        if outcome == Outcome::Lost {
            books.excuses.insert(renewal, "the answer to a refresh was lost");
        }
        let current = books.held == Some(renewal) && !books.coming.is_some_and(|coming| coming.signed_in);
        if current && definite {
            let family = &self.service.families[renewal.family];
            let why = match family.ended {
                Some(Why::Cap) => "the session had its time",
                Some(Why::SignedOut) => "the user had signed out, which the disk or the agent forgot",
                Some(Why::Revoked) => "an administrator ended it",
                Some(Why::ClientGone) => "the client registration was over",
                Some(Why::Reused) => match books.excuse_of(renewal) {
                    Some(excuse) => excuse,
                    None => {
                        self.violation(format!("s{session}: {renewal:?} was used twice, and nothing excuses it"));
                        return;
                    }
                },
                None => "the service refused without a reason",
            };
            books.let_go(why);
        }
        self.expected = (current && result.is_ok()).then_some(session);
    }

    /// The agent has heard of it.
    pub fn judge_after_arrival(&mut self) {
        for books in &mut self.books {
            books.given_up = None;
        }
        if let Some(session) = self.expected.take()
            && self.books[session].coming.is_none()
        {
            self.violation(format!("s{session}: what a refresh brought was not saved"));
        }
    }

    /// The agent saves something.
    pub fn judge_save(&mut self, ticket: &Ticket, record: &Record) {
        self.books[session_number(&ticket.session)].era = ticket.era;
        let Record::Tokens(record) = record else { return };
        let session = session_number(&ticket.session);
        let renewal = renewal_of(record);
        match (ticket.write, renewal) {
            (Write::Refreshed | Write::SignedIn, Some(renewal)) => {
                let signed_in = ticket.write == Write::SignedIn;
                self.books[session].sealed &= !signed_in;
                let true_clock = self.books[session].skew.is_true(self.clocks.ahead);
                let access = self.access_of(record, Some(self.answered_to), true_clock);
                let books = &mut self.books[session];
                let follows = books.held.is_some_and(|held| {
                    held.family == renewal.family && (held.index..=held.index + 1).contains(&renewal.index)
                });
                books.coming = Some(Coming { renewal, access, signed_in });
                if !signed_in {
                    books.held = Some(renewal);
                }
                // What another program brought of a session that was refused since.
                let cause = self.agent.as_ref().map(|agent| agent.cause);
                if !signed_in && !follows && cause != Some(Cause::Looks(session)) {
                    self.violation(format!("s{session}: {renewal:?} is saved as refreshed"));
                }
            }
            _ => {
                let held = self.books[session].held;
                let refused = record.refused.is_some() && held.is_none();
                if held != renewal && !refused {
                    self.violation(format!("s{session}: saves {renewal:?} where {held:?} is to be held"));
                }
                if ticket.write == Write::Mark {
                    let cause = self.agent.as_ref().map(|agent| agent.cause);
                    let now = self.now;
                    let books = &mut self.books[session];
                    let lately = books.insisted.take().is_some_and(|at| now < at + MINUTE);
                    books.forced =
                        cause == Some(Cause::Forces(session)) || (lately && cause == Some(Cause::Looks(session)));
                }
                if ticket.write == Write::Mark && record.refresh_sent_at.is_none() {
                    self.violation(format!("s{session}: a mark without a time"));
                }
            }
        }
    }

    /// The agent deletes the tokens.
    pub fn judge_delete(&mut self, ticket: &Ticket) {
        let session = session_number(&ticket.session);
        let cause = self.agent.as_ref().map_or(Cause::Other, |agent| agent.cause);
        let told = matches!(
            cause,
            Cause::SignsOut(told) | Cause::EndsTheOld(told) | Cause::IsSignedOut(told) if told == session
        );
        let now = self.now;
        let on_disk = self.tokens_on_disk(session).as_ref().and_then(renewal_of);
        let books = &mut self.books[session];
        if told && let Some(on_disk) = on_disk {
            // Should the disk not let go of it, a restart finds it, replaced or not.
            books.excuses.insert(on_disk, "the user had signed out, which the disk forgot");
        }
        if books.held.is_some() && !told {
            self.violation(format!("s{session}: deletes tokens that nobody told it to"));
            return;
        }
        books.sealed &= !told;
        if told {
            books.let_go("the user signed out");
            books.access = None;
            books.coming = None;
            books.presented.clear();
            books.portal_since = now;
            if cause != Cause::EndsTheOld(session) {
                books.kept.clear();
            }
        }
        books.safe = None;
    }

    /// The disk has done, or not done, one thing.
    pub fn judge_written(&mut self, job: &Job, done: bool) {
        let Job::Save(ticket, record) = job else { return };
        let Record::Tokens(record) = &**record else { return };
        let session = session_number(&ticket.session);
        let Some(renewal) = renewal_of(record) else { return };
        let access = numbers(&record.tokens.access_token);
        let books = &mut self.books[session];
        books.tried.insert((access[0], access[1]));
        books.unmarkable = !done && (books.unmarkable || ticket.write == Write::Mark);
        if done && books.held.is_some_and(|held| held.family >= renewal.family) {
            if books.safe.is_some_and(|safe| safe > renewal) {
                let safe = books.safe;
                self.violation(format!("s{session}: {renewal:?} lands on disk over {safe:?}"));
                return;
            }
            books.safe = Some(renewal);
        }
        let came = books.coming.filter(|coming| {
            coming.renewal == renewal && (coming.access.family, coming.access.serial) == (access[0], access[1])
        });
        if let Some(coming) = came
            && matches!(ticket.write, Write::Refreshed | Write::SignedIn)
        {
            self.tokens_came(session, coming, done);
        }
    }

    /// The agent is told that a write of this session failed, whether or not it is under way.
    pub fn judge_stray(&mut self, session: usize, write: Write) {
        let books = &mut self.books[session];
        books.unmarkable |= write == Write::Mark;
        if let Some(coming) = books.coming
            && write == if coming.signed_in { Write::SignedIn } else { Write::Refreshed }
        {
            books.tried.insert((coming.access.family, coming.access.serial));
            self.tokens_came(session, coming, false);
        }
    }

    fn tokens_came(&mut self, session: usize, coming: Coming, done: bool) {
        let late = span(schedule::late_margin(self.margin(session, coming.access.lifetime)));
        let now = self.now;
        let realm = self.service.families[coming.renewal.family].realm;
        let books = &mut self.books[session];
        books.coming = None;
        books.access = Some(coming.access);
        books.latest = late;
        if coming.signed_in {
            books.let_go("the user signed in anew");
            let why = books.ended.take().unwrap_or("there was none");
            books.held = Some(coming.renewal);
            books.safe = done.then_some(coming.renewal);
            books.replaced(done);
            // Whoever waited for this sign-in is asked for in the same moment.
            books.portal_since = now.saturating_sub(1);
            books.rejected_at = None;
            books.kept.retain(|_, kept| kept.realm == realm);
            books.wants_sign_in = false;
            *self.report.sign_ins.entry(why).or_default() += 1;
            self.note(format!("s{session}: signed in as {:?}", coming.renewal));
        } else {
            // Whatever became of it before, the service has answered now.
            for one in books.presented.values_mut().flatten() {
                if one.outcome != Outcome::NotTaken {
                    one.outcome = Outcome::Over;
                }
            }
            books.excuses.remove(&coming.renewal);
        }
    }

    /// The agent is about to hear what the files say.
    pub fn judge_configured(&mut self, files: &Files) {
        let now = self.now;
        let Some(agent) = &self.agent else { return };
        let before = agent.files.clone();
        if before != *files {
            self.trouble(now);
        }
        for session in 0..self.books.len() {
            if before.sessions[session].leads != files.sessions[session].leads {
                self.books[session].portal_since = now;
            }
            if let Some(access) = self.books[session].access {
                let late = late_of(files, session, access.lifetime);
                self.books[session].latest = self.books[session].latest.max(late);
            }
        }
    }
}

/// The late rule: a token of unknown fate waits until it is late, and after that until the access token is over.
fn too_early(books: &Books, renewal: Renewal, left: Option<At>, slack: At, forced: bool, now: At) -> Option<String> {
    let left = left.filter(|_| !forced)?;
    let mut lost = books.lost().filter(|_| books.held == Some(renewal));
    lost.find_map(|one| {
        let once_late = !one.forced && one.left > slack && one.left + slack <= one.late;
        let ago = (now - one.at) / SECOND;
        if left > books.latest + slack {
            Some(format!(
                "of unknown fate is presented {} s before the end, {ago} s after the last time",
                left / SECOND
            ))
        } else if once_late && left > slack {
            Some(format!("is presented late twice, {} s before the end, {ago} s after the last time", left / SECOND))
        } else {
            None
        }
    })
}

fn late_of(files: &Files, session: usize, lifetime: Duration) -> At {
    span(schedule::late_margin(margin_of(files, session, lifetime)))
}

/// After the last fault, this long.
pub const SIX_MINUTES: At = 6 * MINUTE;
