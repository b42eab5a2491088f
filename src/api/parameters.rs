//! The query of a request, and percent-encoding: what the route table is written in.
//!
//! Owns: how parameters travel. Refuses to know which there are. Invariant: nothing is overlooked; a parameter that
//! comes twice, or that nobody has taken at the end, is an error.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::problem::{Code, Problem};
use crate::untrusted::shown;

/// A query that is being written.
#[derive(Default)]
pub(super) struct Query(pub(super) String);

impl Query {
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encode(value));
    }

    pub(super) fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    pub(super) fn add_seconds(&mut self, name: &str, value: Option<Duration>) {
        self.add_some(name, value.map(|value| value.as_secs().to_string()).as_deref());
    }
}

/// A query that is being read: each parameter is taken once.
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    pub(super) fn parse(query: &'a str) -> Result<Self, Problem> {
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(invalid(format!("{} is there twice", shown(&name))));
            }
            pairs.push((name, decode(value)?));
        }
        Ok(Self(pairs))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(index).1)
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        self.take(name)
            .map(|text| {
                text.parse().map_err(|_| invalid(format!("{name}: expected a whole number, got {}", shown(&text))))
            })
            .transpose()
    }

    pub(super) fn seconds(&mut self, name: &str, most: Duration) -> Result<Option<Duration>, Problem> {
        match self.number(name)? {
            None => Ok(None),
            Some(seconds) if seconds <= most.as_secs() => Ok(Some(Duration::from_secs(seconds))),
            Some(_) => Err(invalid(format!("{name}: at most {} seconds", most.as_secs()))),
        }
    }

    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("unknown parameter {}", shown(name)))),
        }
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(text).decode_utf8().map_err(|_| invalid("the path or query is not UTF-8"))
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
