//! One line of the log: how it is written and how it is read.
//!
//! Owns: the members' names. Invariant: whatever names and paths hold, a line is one line, has no secret and at most a
//! few kilobytes; members that are not known are ignored when it is read.

use serde::{Deserialize, Serialize};

use super::asker::Who;
use crate::api::HandOut;
use crate::time::Timestamp;
use crate::untrusted::shown;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was handed out; for repeats, the last time.
    pub time: Timestamp,
    /// `credentials`, `token` or `console`.
    pub what: String,
    /// The session.
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
    /// When what was handed out is over.
    pub expires_at: Timestamp,
    /// Who was connected.
    pub peer: Party,
    /// The nearest program behind it that is neither ours nor a shell.
    pub caller: Party,
    /// The restricted socket it was asked for through; absent for the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
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
    pub(super) fn new(hand_out: &HandOut<'_>, who: &Who, time: Timestamp) -> Self {
        Self {
            time,
            what: hand_out.what.as_str().to_owned(),
            session: written(hand_out.session),
            account: hand_out.role.map(|(account, _)| account.to_string()),
            role: hand_out.role.map(|(_, role)| role.to_string()),
            role_arn: hand_out.assumed.map(|role| written(role.as_str())),
            key_id: hand_out.key_id.map(written),
            expires_at: hand_out.expires_at,
            peer: who.peer.clone(),
            caller: who.caller.clone(),
            via: who.via.as_ref().map(ToString::to_string),
            repeats: 0,
        }
    }

    /// Whether it is the line of this hand-out.
    pub(super) fn says(&self, hand_out: &HandOut<'_>) -> bool {
        let HandOut { what, session, role, key_id, expires_at, assumed: _ } = hand_out;
        self.what == what.as_str()
            && self.expires_at == *expires_at
            && self.key_id.as_deref() == *key_id
            && self.account.as_deref() == role.map(|(account, _)| account.as_str())
            && self.role.as_deref() == role.map(|(_, role)| role.as_str())
            && (self.session == *session || self.session == written(session))
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
