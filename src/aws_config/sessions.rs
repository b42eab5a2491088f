//! What a session is, as far as it is written down: start URL, region, scopes.
//!
//! Owns: `[sso-session]` sections and the sessions that legacy profiles make. Refuses to know about endpoints.
//! Invariant: a session is defined once; whoever says something else about it is told where it is defined.

use std::collections::BTreeMap;

use http::Uri;

use super::catalog::Rejected;
use super::sections::{At, Files, Section, Sections, Value};
use crate::identity_center::endpoint::is_loopback_host;
use crate::identity_center::partition::meant_region;
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
    start_url: Value<'_>,
    drafts: &mut Drafts,
    sections: &Sections<'_>,
    files: &Files,
) -> Result<SessionName, Rejected> {
    let reject = |at, message| Rejected { place: files.place(at), message };
    // A session goes by its name everywhere, and a password must not.
    if start_url.text.contains('@')
        && let Err(problem) = check_start_url(start_url.text)
    {
        return Err(reject(start_url.at, format!("sso_start_url of [profile {}]: {problem}", shown(profile))));
    }
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
    check_start_url(start_url.text)
        .map_err(|problem| reject(start_url.at, format!("sso_start_url of {what}: {problem}")))?;
    let region = section.get("sso_region").ok_or_else(|| missing("sso_region", "eu-west-1"))?;
    Ok(Draft {
        at: section.at,
        start_url: start_url.text.to_owned(),
        region: region.text.parse().map_err(|error| {
            reject(region.at, format!("sso_region of {what} is {error}, such as eu-west-1{}", meant(region.text)))
        })?,
        region_at: region.at,
        scopes: section.get("sso_registration_scopes").map_or_else(default_scopes, |value| scopes(value.text)),
    })
}

fn meant(region: &str) -> String {
    meant_region(region).map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use crate::aws_config::Catalog;

    fn session(lines: &str) -> Result<Vec<String>, String> {
        let catalog = Catalog::of(&format!("[sso-session s]\n{lines}"), &[]);
        catalog.session_named("s").map(|session| session.scopes.clone())
    }

    const URL: &str = "sso_start_url = https://example.awsapps.com/start#/\n";

    #[test]
    fn a_session_is_its_start_url_region_and_scopes() {
        let text = format!("[sso-session s]\n{URL}sso_region = eu-west-1\nsso_registration_scopes = a, b ,,\n  c\n");
        let catalog = Catalog::of(&text, &[]);
        let session = catalog.session_named("s").unwrap();
        assert_eq!(session.start_url, "https://example.awsapps.com/start#/");
        assert_eq!(session.region.as_str(), "eu-west-1");
        assert_eq!(session.scopes, ["a", "b", "c"]);
        assert_eq!(session.endpoints.oidc.as_str(), "https://oidc.eu-west-1.amazonaws.com");
        assert_eq!((session.endpoints_from.as_str(), session.place.line), ("the region", 1));
    }

    #[test]
    fn without_scopes_the_one_that_brings_a_refresh_token_is_asked_for() {
        for scopes in ["", "sso_registration_scopes =\n", "sso_registration_scopes = ,\n"] {
            assert_eq!(session(&format!("{URL}sso_region = eu-west-1\n{scopes}")).unwrap(), ["sso:account:access"]);
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_place_and_what_to_write() {
        let error = session(URL).unwrap_err();
        assert_eq!(error, "/config:1: [sso-session s] has no sso_region: add a line such as `sso_region = eu-west-1`");
        let error = session("sso_region = eu-west-1").unwrap_err();
        assert!(error.starts_with("/config:1: [sso-session s] has no sso_start_url"), "{error}");
        let error = session(&format!("{URL}sso_region = EU West 1")).unwrap_err();
        assert!(error.ends_with("(did you mean eu-west-1?)"), "{error}");
        let error = session(&format!("{URL}sso_region = EU West")).unwrap_err();
        assert!(error.starts_with("/config:3: sso_region of [sso-session s] is not a valid region"), "{error}");
    }

    #[test]
    fn a_password_in_the_start_url_of_a_legacy_profile_is_no_session_name() {
        let keys = "sso_region = eu-west-1\nsso_account_id = 111122223333\nsso_role_name = Dev\n";
        let text = format!("[profile old]\nsso_start_url = https://u:hunter2@a.example/start\n{keys}");
        let catalog = Catalog::of(&text, &[]);
        assert!(catalog.sessions.is_empty() && !format!("{catalog:?}").contains("hunter2"), "{catalog:?}");
        let error = catalog.target_of("old").unwrap_err();
        assert!(error.starts_with("/config:2: ") && error.contains("password does not belong"), "{error}");
    }

    #[test]
    fn a_start_url_is_https_or_on_this_machine_and_carries_no_password() {
        for good in ["https://a.example/start/", "http://127.0.0.1:4566/start", "http://localhost/", "http://[::1]:1/"]
        {
            let lines = format!("sso_start_url = {good}\nsso_region = eu-west-1\n");
            assert!(session(&lines).is_ok(), "{good}");
        }
        for wrong in
            ["http://a.example/start", "a.example/start", "ftp://a.example", "https://u:hunter2@a.example", "https://é"]
        {
            let error = session(&format!("sso_start_url = {wrong}\nsso_region = eu-west-1\n")).unwrap_err();
            assert!(error.starts_with("/config:2: sso_start_url of") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_legacy_session_is_its_start_url_exactly_as_written() {
        let profile = |name: &str, url: &str| {
            format!(
                "[profile {name}]\nsso_start_url = {url}\nsso_region = eu-west-1\nsso_account_id = 111122223333\n\
                 sso_role_name = R\n"
            )
        };
        let (one, two) = ("https://e.example/start", "https://e.example/start/");
        let catalog = Catalog::of(&(profile("a", one) + &profile("b", two) + &profile("c", one)), &[]);
        assert_eq!(catalog.sessions.len(), 2);
        assert_eq!(catalog.target_of("a"), Ok(format!("{one} 111122223333 R")));
        assert_eq!(catalog.target_of("b"), Ok(format!("{two} 111122223333 R")));
        assert_eq!(catalog.session_named(one).unwrap().place.line, 2);
    }

    #[test]
    fn of_two_regions_for_one_start_url_the_first_counts_and_the_other_is_told_both_lines() {
        let url = "https://e.example/start";
        let text = format!(
            "[profile a]\nsso_start_url = {url}\nsso_region = eu-west-1\n\
             [profile b]\nsso_start_url = {url}\nsso_region = eu-west-2\n"
        );
        let catalog = Catalog::of(&text, &[]);
        assert_eq!(catalog.session_named(url).unwrap().region.as_str(), "eu-west-1");
        assert!(catalog.target_of("a").is_ok());
        let error = catalog.target_of("b").unwrap_err();
        assert!(error.starts_with("/config:6: ") && error.contains("/config:3"), "{error}");
    }

    #[test]
    fn a_legacy_profile_without_region_does_not_spoil_the_session_for_the_next() {
        let url = "https://e.example/start";
        let text =
            format!("[profile a]\nsso_start_url = {url}\n[profile b]\nsso_start_url = {url}\nsso_region = eu-west-2\n");
        let catalog = Catalog::of(&text, &[]);
        assert!(catalog.session_named(url).is_ok());
        assert!(catalog.target_of("a").unwrap_err().contains("has no sso_region"));
        assert_eq!(catalog.target_of("b"), Ok(format!("{url} only")));
        let alone = Catalog::of(&format!("[profile a]\nsso_start_url = {url}\n"), &[]);
        assert!(alone.session_named(url).unwrap_err().contains("has no sso_region"));
    }

    #[test]
    fn an_sso_session_that_is_named_like_a_start_url_is_not_redefined_by_a_profile() {
        let url = "https://e.example/start";
        let legacy = format!("[profile a]\nsso_start_url = {url}\nsso_region = eu-west-1\n");
        let section = |target: &str| format!("[sso-session {url}]\nsso_region = eu-west-1\nsso_start_url = {target}\n");
        let same = Catalog::of(&(section(url) + &legacy), &[]);
        assert!(same.target_of("a").is_ok());
        let other = Catalog::of(&(section("https://other.example/start") + &legacy), &[]);
        assert_eq!(other.session_named(url).unwrap().start_url, "https://other.example/start");
        assert!(other.target_of("a").unwrap_err().contains("there is an [sso-session] of that name"));
        let broken = Catalog::of(&(section("ftp://x") + &legacy), &[]);
        assert!(broken.session_named(url).is_err());
    }
}
