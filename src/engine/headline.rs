//! How things are, in one line: what a person reads in `systemctl --user status`.
//!
//! Refuses to know who reads it. Invariant: no secret is in it, and every name in it was made fit to be shown.

use super::session::Session;
use super::state::State;
use super::words::clock_time;
use crate::api::SessionState;
use crate::time::{Now, Timestamp};
use crate::untrusted::shown;

impl State {
    /// "2 sessions signed in, next refresh 14:05; corp ends at 17:02".
    #[must_use]
    pub fn headline(&self, now: Now) -> String {
        // A locked agent names nobody (A§11).
        if self.is_locked() {
            return "locked; open it with: sso-agent unlock".to_owned();
        }
        let configured = || self.sessions.values().filter(|session| session.definition.is_some());
        let signed_in = configured().filter(|session| session.state(now) == SessionState::SignedIn).count();
        let mut line = match signed_in {
            0 => "nobody is signed in".to_owned(),
            1 => "1 session signed in".to_owned(),
            several => format!("{several} sessions signed in"),
        };
        let refreshes = configured().filter_map(|session| session.refreshing.wait_for_attempt(session, false, now));
        if let Some(wait) = refreshes.min() {
            line += &format!(", next refresh {}", self.at(now.wall.after(wait), now));
        }
        let mut remarks = configured().filter_map(|session| {
            let remark = self.remark(session, now)?;
            Some(format!("{} {remark}", shown(session.name.as_str())))
        });
        for remark in remarks.by_ref().take(MOST_REMARKS) {
            line += "; ";
            line += &remark;
        }
        match remarks.count() {
            0 => {}
            more => line += &format!("; and {more} more"),
        }
        line
    }

    /// What there is to say about one session, if it does not simply go on.
    fn remark(&self, session: &Session, now: Now) -> Option<String> {
        let ends =
            || session.holding.as_ref().map(|holding| self.at(session.skew.to_ours(holding.access.service), now));
        match session.state(now) {
            SessionState::Ending => Some(format!("ends at {}", ends()?)),
            SessionState::SignedIn if !session.is_renewable() => Some(format!("ends at {}", ends()?)),
            SessionState::Ended => Some(format!("ended at {}", ends()?)),
            SessionState::Pending => Some("waits for its sign-in in the browser".to_owned()),
            SessionState::Sealed => Some("waits for the key to its stored sign-in".to_owned()),
            SessionState::SignedIn if !session.is_saved() => Some("is not saved yet".to_owned()),
            SessionState::SignedIn => {
                let error = session.last_error.as_ref()?;
                Some(format!("had an error at {} ({})", self.at(error.at, now), error.code.as_str()))
            }
            SessionState::SignedOut | SessionState::Unknown => None,
        }
    }

    fn at(&self, time: Timestamp, now: Now) -> String {
        clock_time(time, now.wall, &self.agent.time_zone)
    }
}

impl Session {
    /// Whether there is something to refresh the access token with.
    fn is_renewable(&self) -> bool {
        self.holding
            .as_ref()
            .is_some_and(|holding| holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none())
    }
}

/// The line is one of many that a person looks at.
const MOST_REMARKS: usize = 3;
