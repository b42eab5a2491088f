//! One line of the log: how it is written and how it is read.
//!
//! Owns: the members' names. Invariant: whatever names and paths hold, a line is one line, has no secret and at most a
//! few kilobytes; members that are not known are ignored when it is read.

use serde::{Deserialize, Serialize};

use super::asker::Who;
use super::entry::Entry;
use crate::time::Timestamp;
use crate::untrusted::shown;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was handed out or refused; for repeats, the last time.
    pub time: Timestamp,
    /// `credentials`, `token` or `console`; for what was refused, also another route.
    pub what: String,
    /// The session; empty where something was refused of which nobody knows whose it is.
    pub session: String,
    /// The account, of role credentials.
    pub account: Option<String>,
    /// The role, of role credentials.
    pub role: Option<String>,
    /// The role in full, where it was assumed with the credentials of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The access key id, of role credentials.
    pub key_id: Option<String>,
    /// When what was handed out is over; null where nothing was.
    pub expires_at: Option<Timestamp>,
    /// Who was connected.
    pub peer: Party,
    /// The nearest program behind it that is neither ours nor a shell.
    pub caller: Party,
    /// The restricted socket it was asked for through; absent for the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// What was asked for in the caller's words, where it was refused and is none of the targets known there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The setting that refused it: `serve`, `allow`, `confirm`; absent for what was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Zero for the line of one hand-out; else how often it was repeated since that line.
    #[serde(default)]
    pub repeats: u64,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Its id; none where it could not be determined.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: Option<u32>,
    /// The path of its program, or `unknown`.
    pub exe: String,
}

impl Line {
    pub(super) fn new(entry: &Entry<'_>, who: &Who, time: Timestamp) -> Self {
        Self {
            time,
            what: written(entry.what),
            session: written(entry.session),
            account: entry.role.map(|(account, _)| account.to_string()),
            role: entry.role.map(|(_, role)| role.to_string()),
            role_arn: entry.assumed.map(|role| written(role.as_str())),
            key_id: entry.key_id.map(written),
            expires_at: entry.expires_at,
            peer: who.peer.clone(),
            caller: who.caller.clone(),
            via: who.via.as_ref().map(ToString::to_string),
            asked: entry.asked.map(written),
            refused: entry.refused.map(str::to_owned),
            repeats: 0,
        }
    }

    /// Whether it is the line of this.
    pub(super) fn says(&self, entry: &Entry<'_>) -> bool {
        let Entry { what, session, role, key_id, expires_at, asked, refused, assumed: _ } = entry;
        let is = |written_down: &str, text: &str| written_down == text || written_down == written(text);
        is(&self.what, what)
            && self.expires_at == *expires_at
            && self.key_id.as_deref() == *key_id
            && self.refused.as_deref() == *refused
            && self.account.as_deref() == role.map(|(account, _)| account.as_str())
            && self.role.as_deref() == role.map(|(_, role)| role.as_str())
            && is(&self.session, session)
            && is(self.asked.as_deref().unwrap_or_default(), asked.unwrap_or_default())
    }

    /// The same at another time.
    pub(super) const fn at(mut self, time: Timestamp) -> Self {
        self.time = time;
        self
    }

    /// The line with its end.
    pub(super) fn encode(&self, repeats: u64) -> Vec<u8> {
        // Strings and numbers: this cannot fail.
        let mut line = serde_json::to_vec(&Self { repeats, ..self.clone() }).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

impl Party {
    /// Nobody knows who it is.
    #[must_use]
    pub fn unknown() -> Self {
        Self { pid: None, uid: None, exe: UNKNOWN.to_owned() }
    }
}

/// Names and paths come from others: without what steers a terminal, and not longer than anybody reads.
pub(super) fn written(text: &str) -> String {
    shown(text).to_string()
}

/// No path: those begin with a slash.
pub(super) const UNKNOWN: &str = "unknown";
