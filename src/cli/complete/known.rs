//! What there is to choose from: sessions and profiles by the configuration, accounts and roles by an agent that runs.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Accounts, Request, Roles, SessionQuery, SessionState, Status};
use crate::aws_config::Catalog;
use crate::env::Env;
use crate::ids::{AccountId, SessionName};
use crate::paths;
use crate::recorded::recorded_env;
use crate::source::{Locations, Source};

use super::super::{choice, context};
use super::{Agent, value_of};

/// A word and what it is.
pub(super) struct Named {
    pub(super) word: String,
    pub(super) help: String,
}

/// What is known where a command line is typed.
pub(super) struct Known {
    env: Env,
    words: Vec<OsString>,
    agent: Option<Arc<Agent>>,
}

impl Known {
    pub(super) fn new(env: Env, words: &[OsString], agent: Option<Arc<Agent>>) -> Self {
        Self { env, words: words.to_vec(), agent }
    }

    pub(super) fn sessions(&self) -> Vec<Named> {
        let Some(catalog) = self.catalog() else { return Vec::new() };
        let sessions = catalog.sessions.iter();
        let named = sessions.map(|(name, session)| Named {
            word: name.as_str().to_owned(),
            help: session.as_ref().map_or(String::new(), |session| session.start_url.clone()),
        });
        named.collect()
    }

    pub(super) fn profiles(&self) -> Vec<Named> {
        let Some(catalog) = self.catalog() else { return Vec::new() };
        let profiles = catalog.profiles.iter().filter_map(|(name, profile)| Some((name, profile.as_ref().ok()?)));
        let named = profiles.map(|(name, profile)| Named {
            word: name.as_str().to_owned(),
            help: profile.target.as_ref().map_or(String::new(), |_| profile.session.as_str().to_owned()),
        });
        named.collect()
    }

    pub(super) fn accounts(&self) -> Vec<Named> {
        let Some(found) = self.ask::<Accounts>(|session| Request::Accounts { session }) else { return Vec::new() };
        let named = found.accounts.into_iter().map(|account| Named {
            word: account.account_id.as_str().to_owned(),
            help: account.account_name.map_or(String::new(), |name| name.raw().to_owned()),
        });
        named.collect()
    }

    pub(super) fn roles(&self) -> Vec<Named> {
        let account = value_of(&self.words, "--account").and_then(OsStr::to_str);
        let Some(account) = account.and_then(|account| account.parse::<AccountId>().ok()) else { return Vec::new() };
        let request = |session| Request::Roles { session, account: account.clone() };
        let Some(found) = self.ask::<Roles>(request) else { return Vec::new() };
        let named = found.roles.into_iter();
        named.map(|role| Named { word: role.role_name.as_str().to_owned(), help: String::new() }).collect()
    }

    /// The configuration as the agent reads it. Trouble with it is no affair of a completion.
    fn catalog(&self) -> Option<Catalog> {
        let state_dir = paths::state_dir(&self.env).ok()?;
        let env = recorded_env(&state_dir, &self.env).ok()?;
        let (sources, settings) = Locations::from_env(&env, None).ok()?.read().ok()?;
        Some(Catalog::read(&sources, &env, &settings))
    }

    /// Asks for a list of the session the line is about, if it is signed in: otherwise the question could begin a
    /// sign-in.
    fn ask<T: serde::de::DeserializeOwned>(&self, request: impl Fn(SessionQuery) -> Request) -> Option<T> {
        let agent = self.agent.as_deref()?;
        let status = Request::Status { wait: Duration::ZERO, after: None };
        let status: Status = context::read(&agent.send(&status, AT_ONCE).ok()?).ok()?;
        let session = self.session(&status)?;
        let live = |state| matches!(state, SessionState::SignedIn | SessionState::Ending);
        if !status.sessions.iter().any(|known| known.session == session.as_str() && live(known.state)) {
            return None;
        }
        context::read(&agent.send(&request(SessionQuery::Named(session)), SHORTLY).ok()?).ok()
    }

    /// The session that the line names, else what the environment's profile leads to, else the only one.
    fn session(&self, status: &Status) -> Option<SessionName> {
        let known = |name: &str| status.sessions.iter().any(|known| known.session == name);
        let named = value_of(&self.words, "--session").and_then(OsStr::to_str);
        let named = named.or_else(|| {
            let mut words = self.words.iter().skip(2).filter_map(|word| word.to_str());
            words.find(|word| known(word))
        });
        if let Some(name) = named {
            return name.parse().ok();
        }
        match choice::session(None, &self.env).ok()? {
            SessionQuery::Named(name) => Some(name),
            SessionQuery::OfProfile(profile) => {
                let catalog = self.catalog()?;
                Some(catalog.profiles.get(&profile)?.as_ref().ok()?.session.clone())
            }
            SessionQuery::Only => match status.sessions.as_slice() {
                [only] => only.session.parse().ok(),
                _ => None,
            },
        }
    }
}

/// How long an answer may take that the agent has at hand.
const AT_ONCE: Duration = Duration::from_millis(150);
/// How long one may take that it has to ask for: nobody waits longer for a list while typing.
const SHORTLY: Duration = Duration::from_millis(400);
