//! What the benchmarks share: an agent in miniature (the real server before an engine that always knows the answer),
//! medians, and the table they print.

use std::future::pending;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sso_agent::api::{CredentialDocument, Response};
use sso_agent::engine::Handle;
use sso_agent::paths::SocketPath;
use sso_agent::secret::Secret;
use sso_agent::server::{Limits, serve};
use sso_agent::time::Timestamp;

/// A private directory that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ssoa-{name}-{}", std::process::id()));
        sso_agent::paths::make_private_directory(&path).expect("a temporary directory can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The document every reference serves too.
pub(crate) fn document() -> CredentialDocument {
    CredentialDocument {
        version: 1,
        access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
        secret_access_key: Secret::new("s".repeat(40)),
        session_token: Secret::new("t".repeat(1100)),
        expiration: Timestamp::from_secs(4_000_000_000),
        account_id: "111122223333".parse().ok(),
    }
}

/// Serves for ever; `ready` is called once the socket is there.
pub(crate) fn serve_document(socket: &Path, limits: Limits, ready: impl FnOnce()) {
    runtime().block_on(async {
        let socket = SocketPath::explicit(socket).expect("the socket's path is short");
        let (listener, _place) = sso_agent::listener::bind(&socket).expect("the socket can be bound");
        let listener = tokio::net::UnixListener::from_std(listener).expect("the listener does not block");
        let (handle, mut questions) = Handle::channel(1024);
        tokio::spawn(async move {
            let answer = Response::encoded(&document()).expect("the document can be encoded");
            while let Some(question) = questions.recv().await {
                let _ = question.answer.send(Ok(answer.clone()));
            }
        });
        ready();
        serve(listener, handle, limits, pending()).await;
    });
}

/// The runtime the agent uses.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// Without it, `cargo test --all-targets` would measure.
pub(crate) fn is_wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// CPU time a process has used so far, alive or not yet reaped.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line of the table. The budget is the range in which the ratio must lie.
pub(crate) fn line(what: &str, unit: &str, ours: f64, reference: f64, budget: Option<RangeInclusive<f64>>) {
    let ratio = ours / reference;
    let verdict = budget.map_or_else(String::new, |budget| {
        let met = if budget.contains(&ratio) { "met" } else { "MISSED" };
        if budget.end().is_finite() {
            format!("budget <= {} {met}", budget.end())
        } else {
            format!("budget >= {} {met}", budget.start())
        }
    });
    println!(
        "{what:<44} ours {ours:>10.1} {unit:<4} reference {reference:>10.1} {unit:<4} ratio {ratio:>5.2}  {verdict}"
    );
}
