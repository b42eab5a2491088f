//! Configuration, AWS's and ours, and the links the service wants people to follow.

use http::Uri;

use super::{halves, is_one_line};
use crate::aws_config::work;
use crate::aws_config::{Catalog, Diff, Place, SourceFile, Sources};
use crate::env::Env;
use crate::identity_center::Endpoint;
use crate::identity_center::link::{is_aws_owned, is_presentable};
use crate::settings::Settings;

/// `~/.aws/config`, and after the first NUL `~/.aws/credentials`: any bytes can be read, in work that grows with them
/// and no faster; what comes of them can be used.
pub fn config(bytes: &[u8]) {
    let (config, credentials) = halves(bytes, 0);
    let file = |path: &str, bytes: &[u8]| SourceFile { path: path.into(), bytes: bytes.to_vec() };
    let sources = Sources { config: Some(file(CONFIG, config)), credentials: Some(file(CREDENTIALS, credentials)) };
    let env = Env::from_iter([("HOME", "/home/u")]);
    let settings = Settings::default();
    let (catalog, steps) = work::of(|| Catalog::read(&sources, &env, &settings));
    let weight = work::weight(&catalog);
    assert!(steps <= MOST_STEPS.0 * bytes.len() + MOST_STEPS.1, "{steps} steps for {} bytes", bytes.len());
    assert!(weight <= MOST_WEIGHT.0 * bytes.len() + MOST_WEIGHT.1, "{weight} bytes of {}", bytes.len());

    assert_eq!(catalog, Catalog::read(&sources, &env, &settings), "read again, it is the same");
    assert_eq!(catalog.diff(&catalog), Diff::default());
    let lines = [config, credentials].map(|file| file.iter().filter(|byte| **byte == b'\n').count() + 1);
    let check_place = |place: &Place| {
        let lines = if place.file.as_os_str() == CONFIG { lines[0] } else { lines[1] };
        assert!((1..=lines).contains(&place.line), "{place}");
    };
    let check = |place: &Place, message: &str| {
        check_place(place);
        assert!(is_one_line(message), "{message:?}");
    };
    for warning in &catalog.warnings {
        check(&warning.place, &warning.message);
    }
    for (name, session) in &catalog.sessions {
        match session {
            Ok(session) => {
                assert_eq!(session.name, *name);
                check_place(&session.place);
                let start_url: Uri = session.start_url.parse().expect("a start URL is a URL");
                let authority = start_url.authority().expect("it leads somewhere");
                assert!(!session.scopes.is_empty() && !authority.as_str().contains('@'));
                assert_eq!(catalog.session(Some(name)).ok(), Some(session));
            }
            Err(rejected) => check(&rejected.place, &rejected.message),
        }
    }
    for (name, profile) in &catalog.profiles {
        assert!(catalog.other_profiles.binary_search(name).is_ok());
        match profile {
            Ok(profile) => {
                assert_eq!(profile.name, *name);
                check_place(&profile.place);
                assert!(catalog.sessions.contains_key(&profile.session), "its session is there too");
                if let Some(target) = &profile.target {
                    assert_eq!(target.session, profile.session);
                }
            }
            Err(rejected) => check(&rejected.place, &rejected.message),
        }
        if let Err(error) = catalog.target(name) {
            assert!(is_one_line(&error.to_string()), "{error}");
        }
    }
}

/// `config.toml`: any text is either settings or one line that says what is wrong and where.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = Settings::parse(text);
    assert_eq!(read, Settings::parse(text));
    match read {
        Ok(settings) => {
            let lines = text.lines().count();
            for session in settings.sessions.values() {
                assert!((1..=lines).contains(&session.line));
                assert!(session.refresh_margin.is_none_or(|margin| !margin.is_zero()));
            }
        }
        Err(error) => {
            assert!((1..=text.split('\n').count()).contains(&error.line), "{error}");
            assert!(is_one_line(&error.to_string()), "{error}");
        }
    }
}

/// Three lines: a URL the service sent, the endpoint of sso-oidc, the start URL. A link that is shown leads where
/// another reader of URLs says that it leads, and there is a place the user knows or AWS's own.
pub fn link(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (url, oidc, start_url) = (next(), next(), next());
    let Ok(oidc) = oidc.parse::<Endpoint>() else { return };
    assert_eq!(oidc.as_str().parse::<Endpoint>().ok().as_ref(), Some(&oidc), "an endpoint is written as it is read");
    assert!(oidc.as_str().starts_with("https://") || oidc.is_loopback());
    assert!(!oidc.as_str().contains(['?', '#', ' ']) && !oidc.as_str().ends_with('/'), "{oidc}");
    assert!(!oidc.host().is_empty() && !oidc.host().contains(['@', '\\', '%']), "{oidc}");
    assert!(is_one_line(oidc.as_str()));
    let as_requested: Uri = oidc.as_str().parse().expect("requests are sent there");
    let authority = as_requested.authority().map_or("", |authority| authority.as_str());
    let port = authority.strip_prefix(as_requested.host().unwrap_or_default()).unwrap_or_default();
    assert_eq!(port.is_empty(), as_requested.port_u16().is_none(), "{oidc} has a port that counts");
    if !is_presentable(url, &oidc, start_url) {
        return;
    }
    assert!(url.len() <= 4096 && url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
    let uri: Uri = url.parse().expect("a link that is shown is a URL");
    let host = |uri: &Uri| uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let there = host(&uri);
    assert!(!uri.authority().is_some_and(|authority| authority.as_str().contains('@')), "{url}");
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") => assert!(oidc.is_loopback(), "{url}"),
        other => panic!("{other:?} is shown"),
    }
    let address =
        |host: &str| host.parse::<std::net::Ipv6Addr>().map_or(host.to_owned(), |address| address.to_string());
    let is_start = || start_url.parse().is_ok_and(|start| address(&host(&start)) == address(&there));
    assert!(address(&there) == address(oidc.host()) || is_start() || is_aws_owned(&there), "{url} leads to {there}");
}

/// How much reading a byte may cost, and a file.
const MOST_STEPS: (usize, usize) = (200, 20_000);
/// How large the outcome may be: for a byte, and for a file.
const MOST_WEIGHT: (usize, usize) = (1000, 20_000);
const CONFIG: &str = "/config";
const CREDENTIALS: &str = "/credentials";
