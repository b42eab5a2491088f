//! What happens to the engine, and what it wants done.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::notices::Notice;
use super::shelf::Shelved;
use crate::api::{Problem, Request, Response};
use crate::aws_config::Catalog;
use crate::callback::{Arrival, ListenError, Listening, Plan, Verdict};
use crate::identity_center::partition::{self, Service};
use crate::ids::{AccountId, Assumption, Grant, SessionName, StsPlace, TargetId};
use crate::schedule::Dice;
use crate::settings::Settings;
use crate::sso_cache::{CacheOrder, CacheReport};
use crate::store::{
    Inventory, LatchOrder, LatchReport, Loaded, Manage, ManageError, Protection, Record, RecordKind, StoreError,
};
use crate::time::{Mono, Now};
use crate::upstream::{Call, Reply, Route};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A door brings a question.
    Asked(WaiterId, Request),
    /// The same, from a door where only these targets may be asked for.
    AskedWithin(WaiterId, Request, Arc<BTreeSet<TargetId>>),
    /// A call ended.
    Finished(Flight, Reply),
    /// The store has done what it was told.
    Stored(Ticket, Result<(), StoreError>),
    /// The key to what is stored has come, or is awaited for another reason, or lies elsewhere; with the records, if
    /// they became readable by that.
    Protected(Protection, Option<Loaded>),
    /// What a person wanted done about the key is done.
    Managed(WaiterId, Result<Inventory, ManageError>),
    /// What was to be done about the agent's lock is done, or was not.
    Latched(LatchReport),
    /// The place that the browser comes back to is open, or cannot be.
    Listening(SignInId, Result<Listening, ListenError>),
    /// The browser has come back.
    BrowserCameBack(SignInId, Arrival),
    /// What was to be done in the AWS CLI's cache is done, or was not.
    Cached(CacheTicket, CacheReport),
    /// Somebody did something in the AWS CLI's cache.
    CacheTouched,
    /// The configuration was read (again).
    ConfigurationRead(Result<Configuration, Box<Unread>>),
    /// SIGHUP: read the configuration again, with nobody waiting for the answer.
    ReloadWanted,
    /// Something happened to the configuration's files, or may have.
    ConfigurationTouched,
    /// They were looked at: whether they are others than those that were read last.
    ConfigurationLookedAt {
        /// They are.
        changed: bool,
    },
    /// Time passed.
    Tick,
    /// The agent is to stop: no new flights, everybody answered within two seconds.
    Stop,
}

/// What was read from the configuration files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The AWS configuration.
    pub catalog: Catalog,
    /// `config.toml`.
    pub settings: Settings,
}

/// Why the configuration was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The file that is at fault; empty where it is none.
    pub file: PathBuf,
    /// The line in it, from 1; zero where it is the file as a whole.
    pub line: usize,
    /// What is wrong there, for somebody who sees the place beside it.
    pub trouble: String,
    /// All of it, for whoever asked for the reading.
    pub problem: Problem,
}

impl From<Problem> for Unread {
    fn from(problem: Problem) -> Self {
        Self { file: PathBuf::new(), line: 0, trouble: problem.to_string(), problem }
    }
}

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Make this call; its end comes back as [`Event::Finished`].
    Call(Flight, Route, Call),
    /// Save this record; the outcome comes back as [`Event::Stored`]. In order with every other store effect.
    Save(Ticket, Box<Record>),
    /// Delete this record; the outcome comes back as [`Event::Stored`].
    Delete(Ticket, SessionName, RecordKind),
    /// Do this about the key, or only look; it comes back as [`Event::Managed`]. In order with every other store effect.
    Manage(WaiterId, Option<Manage>),
    /// Do this about the agent's lock, one at a time; it comes back as [`Event::Latched`].
    Latch(LatchOrder),
    /// Open the place that the browser of this sign-in comes back to; it comes back as [`Event::Listening`], and what
    /// the browser brings as [`Event::BrowserCameBack`].
    Listen(SignInId, Box<Plan>),
    /// Tell the browser of this sign-in how it ended, and close the place.
    Conclude(SignInId, Verdict),
    /// Do this in the AWS CLI's cache; it comes back as [`Event::Cached`]. In order with every store effect.
    Cache(CacheTicket, CacheOrder),
    /// From now on say [`Event::CacheTouched`], or do not; said again after the directory may have been made anew.
    WatchCache(bool),
    /// Answer the waiter, who is then forgotten.
    Answer(WaiterId, Result<Response, Problem>),
    /// Until the next event that is not answered from the warm cache, this answers the same question.
    Shelve(Shelved),
    /// Tell the user, if there is a desktop to do that on.
    Notify(Notice),
    /// Read the configuration; it comes back as [`Event::ConfigurationRead`].
    ReadConfiguration,
    /// Look whether the configuration's files have changed; it comes back as [`Event::ConfigurationLookedAt`].
    LookAtConfiguration,
}

/// Somebody who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// A waiter and the end of its patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) deadline: Mono,
}

/// A sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SignInId {
    /// Of which session.
    pub session: SessionName,
    /// The how manieth of it in this run.
    pub number: u64,
}

/// A call under way, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// The session it is made for.
    pub session: SessionName,
    /// Of which era of the session (or of its portal slots) it is; a result of an older one is dropped.
    pub era: u64,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The refresh of the access token.
    Refresh,
    /// A step of the sign-in with this number.
    SignIn(u64),
    /// Something the portal hands out.
    Portal(PortalKey),
    /// The exchange of role credentials for a way into the console, for who waits for that.
    Console(WaiterId),
    /// Whether the session still lives, because its published file is gone.
    Probe,
    /// The end of the session at the portal.
    Logout,
    /// The end of a session whose tokens came when nobody wanted them any more; of the sign-in with this number, or of
    /// a refresh where it is zero.
    Revoke(u64),
}

impl Purpose {
    /// Whether the call goes to a host whose clock may be believed: where the session's own secrets come from, or AWS's
    /// own STS. That of a custom STS is not asked what has expired.
    pub(super) fn has_a_clock_to_believe(&self) -> bool {
        match self {
            Self::Console(_) => false,
            Self::Portal(key) => key.assumption().is_none_or(|assumption| is_awss_own(&assumption.sts)),
            _ => true,
        }
    }
}

fn is_awss_own(sts: &StsPlace) -> bool {
    let switches = [(false, false), (false, true), (true, false), (true, true)];
    switches.into_iter().any(|(fips, dual_stack)| {
        partition::resolve(Service::Sts, &sts.region, fips, dual_stack).as_str() == sts.address.as_str()
    })
}

/// What the portal hands out: the key of a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortalKey {
    /// Credentials for a target.
    Credentials(Grant),
    /// The list of accounts.
    Accounts,
    /// The list of an account's roles.
    Roles(AccountId),
}

impl PortalKey {
    /// How the role is assumed, if that is what is asked for: STS hands it out and not the portal.
    #[must_use]
    pub fn assumption(&self) -> Option<&Assumption> {
        match self {
            Self::Credentials(grant) => grant.assumption(),
            Self::Accounts | Self::Roles(_) => None,
        }
    }
}

/// A write under way, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The session whose record it is.
    pub session: SessionName,
    /// Of which era of the session it is.
    pub era: u64,
    /// What it is for.
    pub write: Write,
}

/// An order to the cache: whose file, and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTicket {
    /// The session whose file it is about.
    pub session: SessionName,
    /// Counts the session's orders.
    pub number: u64,
}

/// What a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The client record, whenever it changed.
    Client,
    /// The mark that a refresh is about to be sent.
    Mark,
    /// The tokens a refresh brought, before they are used.
    Refreshed,
    /// The tokens a sign-in brought, before they are used.
    SignedIn,
    /// The tokens of a sign-in that was taken over, before they are used.
    Adopted,
    /// The token record, for any other change or once more after a failure.
    Tokens,
    /// Its deletion at sign-out.
    SignedOut,
}

/// One turn of the engine: the time it happens at, and what comes of it.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) dice: &'a mut Dice,
    pub(super) agent: &'a Agent,
    pub(super) keep_warm: Duration,
    pub(super) stopping: bool,
    pub(super) notifications: bool,
}

/// What the engine is told about the agent it is the heart of.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The version.
    pub version: &'static str,
    /// The process id.
    pub pid: u32,
    /// The socket's path.
    pub socket: String,
    /// `clientName`: ASCII, names the user and the machine on the approval page.
    pub client_name: String,
    /// How the stored records were protected at start.
    pub protection: Protection,
    /// For clock times in messages.
    pub time_zone: jiff::tz::TimeZone,
    /// The seed of all jitter.
    pub seed: u64,
}

impl Turn<'_> {
    pub(super) fn answer(&mut self, waiter: WaiterId, answer: Result<Response, Problem>) {
        self.effects.push(Effect::Answer(waiter, answer));
    }
}
