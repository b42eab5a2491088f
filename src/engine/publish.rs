//! A session's file in the AWS CLI's cache: what should be there, and bringing that about.
//!
//! Owns the decision what is written when. Refuses to know files: it is told what lies there ([`super::cached`]).
//! Invariants: nothing is written without a look at what it would replace, nor for a session that moved; refresh
//! material is out there only while nobody can be harmed by presenting it; whatever goes wrong with the file,
//! credentials are served.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{CacheTicket, Effect, Turn, Waiter};
use super::session::{Holding, Session};
use super::state::State;
use crate::api::PublishStatus;
use crate::settings::Publish;
use crate::sso_cache::{CacheOrder, CachedSet, Mark, Material, Renewal};
use crate::time::{Mono, Now, Timestamp};

/// What is known of a session's file, and what is being done about it.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// Orders under way.
    pub(super) jobs: BTreeMap<u64, Job>,
    ordered: u64,
    pub(super) there: There,
    /// Something happened in the directory since the last look.
    pub(super) touched: bool,
    pub(super) path: Option<String>,
    pub(super) written_at: Option<Timestamp>,
    pub(super) trouble: Option<String>,
    /// What was tried when the trouble began: for anything else there is no waiting.
    pub(super) tried: Option<Wanted>,
    /// When to try or look again.
    pub(super) again: Option<Mono>,
    /// How often in a row half a file was seen.
    pub(super) torn: u32,
    /// When to look again at what was half a file, and what for.
    pub(super) relooks: Vec<(Mono, Job)>,
    pub(super) missing: Missing,
    /// The service has said that the session lives, since the file was written: that it is gone is no question.
    pub(super) proven: bool,
    /// A sign-in from the cache on its way to disk, and who waits for it.
    pub(super) adoption: Option<Box<Holding>>,
    pub(super) adopters: Vec<Waiter>,
}

/// What an order is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// To know what is there.
    Survey,
    /// To refresh only what nobody else has refreshed.
    BeforeRefresh,
    /// To end no session that somebody else has refreshed.
    AfterRefusal,
    /// To take over what is there, because somebody asked.
    Adopt,
    Write(Form),
    Remove,
    /// Older sets of ours, where a newer one could not be written.
    Discard,
}

/// What lies there, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum There {
    #[default]
    Unknown,
    /// Nothing, or nothing worth keeping; which set that is, where it is one.
    Replaceable(Option<Mark>),
    Ours(Form),
    /// What belongs to somebody else and must stay.
    Foreign,
}

/// What tells one content from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) mark: Mark,
    pub(super) material: bool,
}

/// What should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever is.
    Anything,
    /// Nothing of ours.
    Nothing,
    Ours(Form),
}

/// A file of ours that is gone is a question.
#[derive(Debug, Default)]
pub(super) enum Missing {
    #[default]
    No,
    /// It is looked for once more at this time.
    Once(Mono),
    /// The portal is asked about this token.
    Asking(Mark),
    /// The portal did not answer: at this time again.
    Unanswered(Mono),
}

impl Publishing {
    /// Gives an order, and remembers what it is for.
    pub(super) fn order(
        &mut self,
        session: &crate::ids::SessionName,
        job: Job,
        order: CacheOrder,
        turn: &mut Turn<'_>,
    ) {
        self.ordered += 1;
        self.jobs.insert(self.ordered, job);
        let ticket = CacheTicket { session: session.clone(), number: self.ordered };
        turn.effects.push(Effect::Cache(ticket, order));
    }

    fn is_busy(&self) -> bool {
        let relooks = self.relooks.iter().map(|(_, job)| job);
        self.jobs.values().chain(relooks).any(|job| matches!(job, Job::Survey | Job::Write(_) | Job::Remove))
    }

    /// A question is open that is better answered before a refresh.
    pub(super) fn holds_a_refresh_back(&self, now: Now) -> bool {
        match &self.missing {
            Missing::Once(at) => *at > now.mono,
            Missing::Asking(_) => true,
            Missing::No | Missing::Unanswered(_) => false,
        }
    }

    /// The service has just given tokens: nobody has signed out.
    pub(super) fn session_lives(&mut self) {
        self.proven = true;
        if !matches!(self.missing, Missing::No) {
            self.missing = Missing::No;
            self.there = There::Unknown;
        }
    }

    /// The machine was suspended, the configuration read, the network changed: tried again at once.
    pub(super) fn forget_pauses(&mut self) {
        self.again = None;
        self.tried = None;
        if matches!(self.missing, Missing::Unanswered(_)) {
            self.missing = Missing::No;
        }
    }

    /// What was known of the file is not known any more.
    pub(super) fn look_again(&mut self) {
        self.touched = true;
    }

    /// The pause until something is to be done that no event announces. Nothing of its own is begun while the agent stops or
    /// the session is being refreshed: `still`.
    pub(super) fn wait(&self, still: bool, now: Now) -> Option<Duration> {
        let missing = match &self.missing {
            Missing::Once(at) | Missing::Unanswered(at) => Some(*at),
            Missing::No | Missing::Asking(_) => None,
        };
        let idle = !still && !self.is_busy();
        let own = missing.into_iter().chain(self.again).filter(|_| idle);
        let relooks = self.relooks.iter().map(|(at, _)| *at);
        let adopters = self.adopters.iter().map(|waiter| waiter.deadline);
        own.chain(relooks).chain(adopters).map(|at| at.since(now.mono)).min()
    }
}

impl Session {
    /// Whether the file is ours to keep.
    pub(super) fn publishes(&self) -> bool {
        self.settings.publish != Publish::Off
    }

    /// Whether there should be a file to watch.
    pub(super) fn is_watched(&self) -> bool {
        self.publishes() && self.held_here().is_ok()
    }

    pub(super) fn wanted(&self, now: Now) -> Wanted {
        let standing = self.client.as_ref().is_some_and(|client| client.published.standing);
        let gone = if standing { Wanted::Nothing } else { Wanted::Anything };
        if !self.publishes() {
            return gone;
        }
        let (holding, _) = match self.held_here() {
            Ok(held) => held,
            // Signed out for certain, and not only unreadable or configured elsewhere.
            Err(_) if self.holding.is_none() && self.sealed.is_none() && self.usable().is_ok() => return gone,
            Err(_) => return Wanted::Anything,
        };
        let remaining = self.remaining(now);
        // While it is refreshed nobody knows what holds next.
        if remaining.is_zero() || self.refreshing.is_under_way() || self.sign_in_is_saving() {
            return Wanted::Anything;
        }
        let record = &holding.record;
        let harmless = record.refused.is_none() && !self.refreshing.is_unknown();
        let material = self.settings.publish == Publish::Full && harmless && record.tokens.refresh_token.is_some();
        let form = Form { mark: Mark::of(&record.tokens.access_token), material };
        let withdraws = matches!(&self.publishing.there, There::Ours(there) if there.mark == form.mark && there.material && !material);
        // A token that the SDKs would refresh at once does not come in fresh; what can harm goes nevertheless.
        if remaining < LATEST && record.tokens.lifetime() > LATEST && !withdraws {
            return Wanted::Anything;
        }
        Wanted::Ours(form)
    }

    /// Brings about what should be there, one order at a time.
    pub(super) fn settle_publishing(&mut self, turn: &mut Turn<'_>) {
        self.settle_adopters(turn);
        let now = turn.now.mono;
        for (_, job) in self.publishing.relooks.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.look(job, turn);
        }
        if turn.stopping || self.publishing.is_busy() {
            return;
        }
        let wanted = self.wanted(turn.now);
        // A refresh under way has looked, or is an answer to the question itself.
        let refreshing = self.refreshing.is_under_way();
        if !refreshing && !matches!((&wanted, &self.publishing.missing), (Wanted::Ours(_), _) | (_, Missing::Asking(_)))
        {
            self.publishing.missing = Missing::No;
        }
        if self.publishing.again.is_some_and(|at| at <= turn.now.mono) {
            self.publishing.again = None;
            self.publishing.tried = None;
            self.publishing.there = There::Unknown;
        }
        if self.publishing.tried.as_ref().is_some_and(|tried| *tried == wanted) && !self.publishing.touched {
            return;
        }
        match wanted {
            Wanted::Anything => {}
            Wanted::Nothing => {
                let marks = self.client.as_ref().map(|client| client.published.marks.clone()).unwrap_or_default();
                self.publishing.tried = Some(Wanted::Nothing);
                self.publishing.touched = false;
                self.publishing.order(&self.name, Job::Remove, CacheOrder::Remove(marks), turn);
            }
            Wanted::Ours(form) => self.settle_form(form, turn),
        }
    }

    fn settle_form(&mut self, form: Form, turn: &mut Turn<'_>) {
        match &self.publishing.missing {
            Missing::Once(at) | Missing::Unanswered(at) if *at > turn.now.mono => return,
            Missing::Asking(_) => return,
            Missing::Once(_) | Missing::Unanswered(_) => return self.survey(turn),
            Missing::No => {}
        }
        match &self.publishing.there {
            _ if self.publishing.touched => self.survey(turn),
            There::Unknown => self.survey(turn),
            There::Ours(there) if *there == form => {}
            There::Foreign => {}
            There::Ours(_) | There::Replaceable(_) => self.write(form, turn),
        }
    }

    pub(super) fn survey(&mut self, turn: &mut Turn<'_>) {
        self.publishing.touched = false;
        self.look(Job::Survey, turn);
    }

    pub(super) fn look(&mut self, job: Job, turn: &mut Turn<'_>) {
        let scopes = self.usable().map(|definition| definition.scopes.clone()).unwrap_or_default();
        self.publishing.order(&self.name, job, CacheOrder::Look { scopes }, turn);
    }

    fn write(&mut self, form: Form, turn: &mut Turn<'_>) {
        let skew = self.skew;
        let Ok((holding, definition)) = self.held_here() else { return };
        let tokens = &holding.record.tokens;
        let renewal = match &tokens.refresh_token {
            Some(refresh_token) if form.material => Renewal::Whole(Box::new(Material {
                refresh_token: refresh_token.clone(),
                client_id: tokens.registration.client_id.clone(),
                client_secret: tokens.registration.client_secret.clone(),
                registration_expires_at: skew.to_ours(tokens.registration.expires_at),
            })),
            _ => Renewal::None,
        };
        let set = Box::new(CachedSet {
            start_url: definition.start_url.clone(),
            region: definition.region.to_string(),
            access_token: tokens.access_token.clone(),
            // The SDKs compare with this machine's clock.
            expires_at: skew.to_ours(holding.access.service),
            renewal,
        });
        let mark = form.mark.clone();
        let seen = match &self.publishing.there {
            There::Replaceable(seen) => seen.clone(),
            _ => None,
        };
        let known = self.client.as_ref().is_some_and(|client| {
            client.published.standing && client.published.marks.last().is_some_and(|last| *last == mark)
        });
        if !known {
            // On disk before the file is: a file nobody knows for ours would be somebody else's.
            self.update_client(turn, |client| client.published.remember(mark));
        }
        self.publishing.tried = Some(Wanted::Ours(form.clone()));
        let marks = self.client.as_ref().map(|client| client.published.marks.clone()).unwrap_or_default();
        let over = marks.into_iter().chain(seen).collect();
        self.publishing.order(&self.name, Job::Write(form), CacheOrder::Write { set, over }, turn);
    }

    /// The session is over here: what was published of it goes before anybody is told so.
    pub(super) fn withdraw(&mut self, turn: &mut Turn<'_>) {
        self.publishing.missing = Missing::No;
        if let Some(client) = self.client.as_ref().filter(|client| client.published.standing) {
            let marks = client.published.marks.clone();
            self.publishing.tried = Some(Wanted::Nothing);
            self.publishing.order(&self.name, Job::Remove, CacheOrder::Remove(marks), turn);
        }
    }

    /// For `status`; nothing where nothing is published.
    pub(super) fn publish_status(&self) -> Option<PublishStatus> {
        let publishing = &self.publishing;
        (self.publishes() || publishing.trouble.is_some()).then(|| PublishStatus {
            mode: self.settings.publish.as_str().to_owned(),
            path: publishing.path.clone(),
            at: publishing.written_at,
            error: publishing.trouble.clone(),
        })
    }
}

impl State {
    /// Watches the cache as long as some session publishes.
    pub(super) fn settle_watching(&mut self, effects: &mut Vec<Effect>) {
        let wanted = !self.stopping && self.sessions.values().any(Session::is_watched);
        if wanted != self.watching {
            self.watching = wanted;
            effects.push(Effect::WatchCache(wanted));
        }
    }

    /// Somebody did something in the cache's directory.
    pub(super) fn cache_touched(&mut self) {
        for session in self.sessions.values_mut().filter(|session| session.is_watched()) {
            session.publishing.look_again();
        }
    }
}

/// Below this, botocore refreshes what it reads.
pub(super) const LATEST: Duration = Duration::from_secs(15 * 60);
