//! `GET /v1/metrics`: what has happened since the start, and how things are, as OpenMetrics text.
//!
//! Owns: which families there are, and their form. Refuses to know how things are: the engine's status says it. Invariant:
//! labels are words of the program, except the names of sessions, which come from the status and are missing where that
//! has none.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::{Response, SessionState, Status};
use crate::clock::Clock;
use crate::meter::{Meter, Series};
use crate::time::Timestamp;
use crate::untrusted::shown;
use crate::upstream::{CallMeter, DONE, REFRESH};

/// Everything that is counted.
pub struct Meters {
    clock: Arc<dyn Clock>,
    calls: Arc<CallMeter>,
    answers: Meter<(&'static str, u16)>,
    /// Answers that lay ready, which take so little that it is not measured.
    at_once: AtomicU64,
    from_cache: AtomicU64,
    from_service: AtomicU64,
}

impl Meters {
    /// Nothing counted yet, except what this meter of calls says.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, calls: Arc<CallMeter>) -> Self {
        let answers = Meter::new(BOUNDS);
        let none = || AtomicU64::new(0);
        Self { clock, calls, answers, at_once: none(), from_cache: none(), from_service: none() }
    }

    /// A request was answered.
    pub(super) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        self.answers.note((route, status), took);
    }

    /// A request was answered with what lay ready for it.
    pub(super) fn answered_at_once(&self, route: &'static str, status: u16) {
        if (route, status) == AT_ONCE {
            self.at_once.fetch_add(1, Ordering::Relaxed);
        } else {
            self.answered(route, status, Duration::ZERO);
        }
    }

    /// This is being handed out.
    pub(super) fn handed_out(&self, response: &Response) {
        let counter = match response {
            Response::EncodedCredentials(_) => &self.from_cache,
            Response::Credentials(..) => &self.from_service,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it, and how things are.
    pub(super) fn text(&self, status: &Status) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        let now = self.clock.now().wall;
        page.family("sso_agent_build", "info", "The agent that answers.");
        page.sample("sso_agent_build_info", &[("version", &status.version)], "1");
        page.family("sso_agent_start_time_seconds", "gauge", "When the agent was started, in Unix time.");
        let started = status.started_at.as_millis() / 1000;
        page.sample("sso_agent_start_time_seconds", &[], &started.to_string());
        page.sessions(status, now);
        let calls = self.calls.read();
        page.family("sso_agent_refreshes", "counter", "Refreshes of access tokens, by outcome.");
        for ((_, outcome), series) in calls.iter().filter(|((operation, _), _)| *operation == REFRESH) {
            let outcome = if *outcome == DONE { "refreshed" } else { outcome };
            page.sample("sso_agent_refreshes_total", &[("outcome", outcome)], &series.count().to_string());
        }
        page.family(
            "sso_agent_credentials",
            "counter",
            "Sets of role credentials handed out, by where they came from.",
        );
        for (from, counter) in [("cache", &self.from_cache), ("service", &self.from_service)] {
            let count = counter.load(Ordering::Relaxed).to_string();
            page.sample("sso_agent_credentials_total", &[("from", from)], &count);
        }
        page.histogram(
            "sso_agent_call_seconds",
            "Calls to AWS, by operation and outcome.",
            self.calls.bounds(),
            calls.iter().map(|((operation, outcome), series)| {
                (vec![("operation", (*operation).to_owned()), ("outcome", (*outcome).to_owned())], series)
            }),
        );
        let mut answers = self.answers.read();
        let at_once = self.at_once.load(Ordering::Relaxed);
        if at_once > 0 {
            answers.entry(AT_ONCE).or_insert_with(|| Series::of(BOUNDS)).counts[0] += at_once;
        }
        page.histogram(
            "sso_agent_request_seconds",
            "Requests of programs on this machine, by route and HTTP status.",
            self.answers.bounds(),
            answers.iter().map(|((route, status), series)| {
                (vec![("route", (*route).to_owned()), ("status", status.to_string())], series)
            }),
        );
        page.family(
            "sso_agent_audit_failures",
            "counter",
            "Hand-outs whose line in the audit log could not be written.",
        );
        let failed = status.audit.as_ref().map_or(0, |audit| audit.failed);
        page.sample("sso_agent_audit_failures_total", &[], &failed.to_string());
        page.0.push_str("# EOF\n");
        page.0
    }
}

struct Page(String);

impl Page {
    /// How the sessions are.
    fn sessions(&mut self, status: &Status, now: Timestamp) {
        self.family("sso_agent_locked", "gauge", "Whether the agent is locked.");
        self.sample("sso_agent_locked", &[], if status.locked { "1" } else { "0" });
        self.family("sso_agent_sessions", "gauge", "Sessions, by state.");
        let mut counts: BTreeMap<&str, u64> = STATES.iter().map(|state| (word(*state), 0)).collect();
        for session in &status.sessions {
            *counts.entry(word(session.state)).or_default() += 1;
        }
        for (state, count) in counts {
            self.sample("sso_agent_sessions", &[("state", state)], &count.to_string());
        }
        self.family("sso_agent_warm_targets", "gauge", "Targets whose credentials lie ready.");
        self.sample("sso_agent_warm_targets", &[], &status.targets.len().to_string());
        self.family("sso_agent_saved", "gauge", "Whether everything that should be on disk is.");
        self.sample("sso_agent_saved", &[], if status.storage.saved { "1" } else { "0" });
        self.family("sso_agent_warnings", "gauge", "What is wrong in the configuration.");
        self.sample("sso_agent_warnings", &[], &status.warnings.len().to_string());

        self.remaining(
            "sso_agent_access_token_remaining_seconds",
            "Until the access token expires.",
            now,
            status.sessions.iter().map(|session| (session.session.as_str(), session.access_token_expires_at)),
        );
        self.remaining(
            "sso_agent_next_refresh_remaining_seconds",
            "Until the access token is refreshed.",
            now,
            status.sessions.iter().map(|session| (session.session.as_str(), session.next_refresh_at)),
        );
        self.remaining(
            "sso_agent_renewable_remaining_seconds",
            "Until the client registration expires that refreshing depends on.",
            now,
            status.sessions.iter().map(|session| (session.session.as_str(), session.renewable_until)),
        );
    }

    /// How long until a time of each session that has one; what is over has nothing left.
    fn remaining<'s>(
        &mut self,
        name: &str,
        help: &str,
        now: Timestamp,
        times: impl Iterator<Item = (&'s str, Option<Timestamp>)>,
    ) {
        self.family(name, "gauge", help);
        for (session, time) in times {
            let Some(time) = time else { continue };
            self.sample(name, &[("session", session)], &seconds(time.since(now)));
        }
    }

    fn histogram<'s>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[Duration],
        all: impl Iterator<Item = (Vec<(&'static str, String)>, &'s Series)>,
    ) {
        self.family(name, "histogram", help);
        for (labels, series) in all {
            let of = |extra: Option<String>| {
                let mut labels = labels.clone();
                labels.extend(extra.map(|bound| ("le", bound)));
                labels
            };
            let bounds = bounds.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
            let mut below = 0;
            for (bound, count) in bounds.zip(&series.counts) {
                below += count;
                self.labelled(&format!("{name}_bucket"), &of(Some(bound)), &below.to_string());
            }
            self.labelled(&format!("{name}_count"), &labels, &series.count().to_string());
            self.labelled(&format!("{name}_sum"), &labels, &seconds(series.total));
        }
    }

    /// The lines before the samples of a family. The unit is part of its name, where it has one.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        if name.ends_with("_seconds") {
            self.line(format_args!("# UNIT {name} seconds"));
        }
        self.line(format_args!("# HELP {name} {help}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&'static str, &str)], value: &str) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.labelled(name, &labels, value);
    }

    fn labelled(&mut self, name: &str, labels: &[(&'static str, String)], value: &str) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            // Nothing that is shown has a line break in it.
            self.0.push_str(&shown(text).to_string().replace('\\', r"\\").replace('"', "\\\""));
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A text in memory takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}

/// With a point, as a number of seconds has.
fn seconds(duration: Duration) -> String {
    format!("{:?}", duration.as_secs_f64())
}

const fn word(state: SessionState) -> &'static str {
    match state {
        SessionState::SignedOut => "signed_out",
        SessionState::Sealed => "sealed",
        SessionState::Pending => "pending",
        SessionState::SignedIn => "signed_in",
        SessionState::Ending => "ending",
        SessionState::Ended => "ended",
        SessionState::Unknown => "unknown",
    }
}

const STATES: [SessionState; 6] = [
    SessionState::SignedOut,
    SessionState::Sealed,
    SessionState::Pending,
    SessionState::SignedIn,
    SessionState::Ending,
    SessionState::Ended,
];

/// Almost every answer.
const AT_ONCE: (&str, u16) = ("credentials", 200);
/// An answer from memory takes microseconds; one that waits for AWS or for a person takes seconds.
const BOUNDS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_inside_its_label() {
        let mut page = Page(String::new());
        page.sample("m", &[("session", "a\"} 1\n# \\"), ("b", "c")], "7");
        assert_eq!(page.0, "m{session=\"a\\\"} 1\u{fffd}# \\\\\",b=\"c\"} 7\n");
    }
}
