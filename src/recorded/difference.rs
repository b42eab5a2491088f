//! Where two environments differ, in words that hold no password.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;

use super::twin;
use crate::untrusted::shown;

/// A variable that the agent's environment has otherwise than this one. The values are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The variable.
    pub name: String,
    /// What was recorded for the agent.
    pub recorded: Option<String>,
    /// What is set here.
    pub here: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shown(&self.name);
        match (&self.recorded, &self.here) {
            (Some(recorded), Some(here)) if recorded == here => {
                write!(formatter, "{name}: the agent has another {recorded} than this shell")
            }
            (Some(recorded), Some(here)) => {
                write!(formatter, "{name}: the agent has {recorded}, this shell {here}")
            }
            (Some(recorded), None) => write!(formatter, "{name}: the agent has {recorded}, this shell has none"),
            (None, Some(here)) => write!(formatter, "{name}: this shell has {here}, the agent has none"),
            (None, None) => write!(formatter, "{name}"),
        }
    }
}

/// A value as it may be shown: of URLs without userinfo, query and fragment, and without what could steer a terminal.
#[must_use]
pub fn masked(name: &str, value: &OsStr) -> String {
    let value = value.to_string_lossy();
    let url = name.starts_with("AWS_ENDPOINT_URL") || name.to_ascii_uppercase().ends_with("_PROXY");
    if url || value.contains("://") { shown(&without_secrets(&value)).to_string() } else { shown(&value).to_string() }
}

/// Rather too little is left than too much: a password may hold any of the characters that end it.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) =
        url.split_once("://").map_or((String::new(), url), |(scheme, rest)| (format!("{scheme}://"), rest));
    let (userinfo, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    match rest.split_once(['?', '#']) {
        Some((rest, _)) => format!("{scheme}{userinfo}{rest}?***"),
        None => format!("{scheme}{userinfo}{rest}"),
    }
}

pub(super) fn between(recorded: &BTreeMap<&str, &OsStr>, here: &BTreeMap<&str, &OsStr>) -> Vec<Difference> {
    let names: BTreeSet<&str> = recorded.keys().chain(here.keys()).copied().collect();
    let of = |side: &BTreeMap<&str, &OsStr>, name: &str| {
        // A proxy written in the other case is the same proxy.
        let value = side.get(name).copied();
        value.or_else(|| side.get(twin(name)?.as_str()).copied()).map(OsStr::to_owned)
    };
    let mut differences = Vec::new();
    for &name in &names {
        // Both cases of a proxy are one difference.
        if name.bytes().all(|byte| !byte.is_ascii_uppercase())
            && twin(name).is_some_and(|twin| names.contains(twin.as_str()))
        {
            continue;
        }
        let (there, here) = (of(recorded, name), of(here, name));
        if there != here {
            let shown = |value: Option<std::ffi::OsString>| value.map(|value| masked(name, &value));
            differences.push(Difference { name: name.to_owned(), recorded: shown(there), here: shown(here) });
        }
    }
    differences
}
