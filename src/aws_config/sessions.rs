//! What a session is, as far as it is written down: start URL, region, scopes.
//!
//! Owns: `[sso-session]` sections and the sessions that legacy profiles make. Refuses to know about endpoints.
//! Invariant: a session is defined once; whoever says something else about it is told where it is defined.

use std::collections::BTreeMap;

use http::Uri;

use super::catalog::Rejected;
use super::sections::{At, Files, Section, Sections, Value};
use crate::identity_center::endpoint::is_loopback_host;
use crate::ids::{Region, SessionName};
use crate::untrusted::shown;

/// A session without its endpoints.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) at: At,
    pub(super) start_url: String,
    pub(super) region: Region,
    region_at: At,
    pub(super) scopes: Vec<String>,
}

/// All sessions so far.
pub(super) type Drafts = BTreeMap<SessionName, Result<Draft, Rejected>>;

/// The `[sso-session]` sections. One whose name is no name is reported by the second value.
pub(super) fn explicit(sections: &Sections<'_>, files: &Files) -> (Drafts, Vec<Rejected>) {
    let mut drafts = Drafts::new();
    let mut nameless = Vec::new();
    for (name, section) in sections.sso_sessions.iter() {
        match name.parse::<SessionName>() {
            Ok(name) => {
                let draft = draft(&format!("[sso-session {}]", shown(name.as_str())), section, files);
                drafts.insert(name, draft);
            }
            Err(error) => nameless.push(Rejected { place: files.place(section.at), message: error.to_string() }),
        }
    }
    (drafts, nameless)
}

/// The session of a legacy profile, which is made of the profile's own `sso_start_url` and `sso_region`.
pub(super) fn legacy(
    profile: &str,
    section: &Section<'_>,
    start_url: &Value<'_>,
    drafts: &mut Drafts,
    sections: &Sections<'_>,
    files: &Files,
) -> Result<SessionName, Rejected> {
    let reject = |at, message| Rejected { place: files.place(at), message };
    let name: SessionName = start_url.text.parse().map_err(|error| reject(start_url.at, format!("{error}")))?;
    let written = draft(&format!("[profile {}]", shown(profile)), section, files).map(|written| Draft {
        at: start_url.at,
        // AWS has no such key in legacy profiles.
        scopes: vec![DEFAULT_SCOPE.to_owned()],
        ..written
    });
    let is_explicit = sections.sso_sessions.get(name.as_str()).is_some();
    match (drafts.get(&name), written) {
        (None, written) => {
            let outcome = written.as_ref().map(|_| name.clone()).map_err(Clone::clone);
            drafts.insert(name, written);
            outcome
        }
        (Some(_), Err(rejected)) => Err(rejected),
        (Some(Ok(first)), Ok(written)) => {
            if first.start_url != written.start_url {
                let place = files.place(first.at);
                return Err(reject(start_url.at, format!("there is an [sso-session] of that name, see {place}")));
            }
            if first.region != written.region {
                let place = files.place(first.region_at);
                let message = format!(
                    "sso_region is {} here, but {} at {place} for the same sso_start_url: make them equal",
                    written.region, first.region
                );
                return Err(reject(written.region_at, message));
            }
            Ok(name)
        }
        (Some(Err(_)), Ok(_)) if is_explicit => Ok(name),
        (Some(Err(_)), Ok(written)) => {
            drafts.insert(name.clone(), Ok(written));
            Ok(name)
        }
    }
}

fn draft(what: &str, section: &Section<'_>, files: &Files) -> Result<Draft, Rejected> {
    let reject = |at, message| Rejected { place: files.place(at), message };
    let missing =
        |key, example| reject(section.at, format!("{what} has no {key}: add a line such as `{key} = {example}`"));
    let start_url =
        section.get("sso_start_url").ok_or_else(|| missing("sso_start_url", "https://example.awsapps.com/start"))?;
    check_start_url(&start_url.text)
        .map_err(|problem| reject(start_url.at, format!("sso_start_url of {what}: {problem}")))?;
    let region = section.get("sso_region").ok_or_else(|| missing("sso_region", "eu-west-1"))?;
    Ok(Draft {
        at: section.at,
        start_url: start_url.text.clone().into_owned(),
        region: region
            .text
            .parse()
            .map_err(|error| reject(region.at, format!("sso_region of {what} is {error}, such as eu-west-1")))?,
        region_at: region.at,
        scopes: section.get("sso_registration_scopes").map_or_else(default_scopes, |value| scopes(&value.text)),
    })
}

fn check_start_url(text: &str) -> Result<(), &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it contains characters that do not belong in a URL");
    }
    let uri: Uri = text.parse().map_err(|_| NOT_A_URL)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(NOT_A_URL) };
    if authority.as_str().contains('@') {
        return Err("a user name or password does not belong in it");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match scheme {
        _ if host.is_empty() => Err(NOT_A_URL),
        "https" => Ok(()),
        "http" if is_loopback_host(host) => Ok(()),
        "http" => Err("plain http is accepted for this machine only: write https"),
        _ => Err(NOT_A_URL),
    }
}

fn scopes(text: &str) -> Vec<String> {
    let scopes: Vec<String> =
        text.split(',').map(str::trim).filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    if scopes.is_empty() { default_scopes() } else { scopes }
}

fn default_scopes() -> Vec<String> {
    vec![DEFAULT_SCOPE.to_owned()]
}

/// Without a scope the service hands out no refresh token.
const DEFAULT_SCOPE: &str = "sso:account:access";
const NOT_A_URL: &str = "not a URL: write it as https://example.awsapps.com/start";
