//! The recorded environment: what counts, what is believed, what is shown.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::scratch::Scratch;

fn env(variables: &[(&str, &str)]) -> Env {
    variables.iter().copied().collect()
}

fn shell() -> Env {
    env(&[
        ("AWS_ENDPOINT_URL_SSO_OIDC", "http://127.0.0.1:1"),
        ("https_proxy", "http://user:pass@proxy:3128"),
        ("NO_PROXY", "localhost"),
        ("AWS_CA_BUNDLE", "/etc/company's ca.pem"),
        ("SSO_AGENT_LOG", "debug"),
        ("SSO_AGENT_SOCK", "/run/s"),
        ("SSO_AGENT_AUTOSTART", "0"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_PROFILE", "dev"),
        ("LD_PRELOAD", "/tmp/x.so"),
        ("RUST_LOG", "trace"),
        ("PATH", "/bin"),
    ])
}

#[test]
fn what_matters_to_the_agent_is_recorded_and_nothing_else() {
    let dir = Scratch::new();
    let recorded = Recorded::of(&shell()).unwrap();
    recorded.write(dir.path()).unwrap();
    let file = Recorded::path(dir.path());
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "AWS_CA_BUNDLE=/etc/company's ca.pem",
            "AWS_ENDPOINT_URL_SSO_OIDC=http://127.0.0.1:1",
            "NO_PROXY=localhost",
            "SSO_AGENT_LOG=debug",
            "https_proxy=http://user:pass@proxy:3128",
        ]
    );
    assert_eq!(Recorded::read(dir.path()).unwrap(), Some(recorded));
}

#[test]
fn what_is_set_to_nothing_is_not_recorded_and_relative_paths_are_meant_from_here() {
    let shell = env(&[
        ("HTTPS_PROXY", ""),
        ("AWS_CA_BUNDLE", "ca.pem"),
        ("AWS_CONFIG_FILE", "~/other"),
        ("NO_PROXY", "localhost"),
        ("SSO_AGENT_EXEC", "dev"),
    ]);
    let recorded = Recorded::of(&shell).unwrap();
    let path = std::env::current_dir().unwrap().join("ca.pem");
    let masked: Vec<_> = recorded.masked().collect();
    let wanted = [("AWS_CA_BUNDLE", path.to_str().unwrap()), ("AWS_CONFIG_FILE", "~/other"), ("NO_PROXY", "localhost")];
    assert_eq!(masked, wanted.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(recorded.differences(&shell), []);
}

#[test]
fn what_is_set_explicitly_wins_over_what_was_recorded() {
    let dir = Scratch::new();
    Recorded::of(&shell()).unwrap().write(dir.path()).unwrap();
    let explicit =
        env(&[("HOME", "/h"), ("HTTPS_PROXY", "http://other:1"), ("SSO_AGENT_LOG", "info"), ("NO_PROXY", "")]);
    let merged = recorded_env(dir.path(), &explicit).unwrap();
    assert_eq!(merged.get("HOME"), Some("/h"));
    assert_eq!(merged.get("SSO_AGENT_LOG"), Some("info"));
    assert_eq!(merged.get("AWS_ENDPOINT_URL_SSO_OIDC"), Some("http://127.0.0.1:1"));
    assert_eq!((merged.get("HTTPS_PROXY"), merged.get("https_proxy")), (Some("http://other:1"), None));
    assert_eq!(merged.get("NO_PROXY"), Some("localhost"), "set to nothing counts as not set");
}

#[test]
fn without_a_record_the_environment_is_as_it_is() {
    let dir = Scratch::new();
    assert_eq!(recorded_env(dir.path(), &shell()).unwrap(), shell());
    assert!(!Recorded::remove(dir.path()).unwrap());
    assert_eq!(recorded_env(&dir.path().join("none"), &shell()).unwrap(), shell());
}

#[test]
fn a_record_that_names_another_variable_is_refused() {
    let dir = Scratch::new();
    for line in [
        "LD_PRELOAD=/tmp/x.so",
        "PATH=/tmp",
        "RUST_LOG=trace",
        "SSO_AGENT_SOCK=/tmp/s",
        "SSO_AGENT_STATE_DIR=/tmp",
        "AWS_SECRET_ACCESS_KEY=x",
        "Https_Proxy=x",
        "AWS_ENDPOINT_URL_\u{a0}=x",
        "NO_PROXY",
        "NO_PROXY=a\nNO_PROXY=b",
        "NO_PROXY=a\0b",
    ] {
        whole_file::replace(&Recorded::path(dir.path()), format!("# x\n\n{line}\n").as_bytes(), 0o600).unwrap();
        let error = recorded_env(dir.path(), &Env::default()).unwrap_err();
        assert!(matches!(error, RecordedError::Malformed { line: 3 | 4, .. }), "{line}: {error:?}");
        assert!(error.hint().unwrap().contains("service install"));
    }
}

#[test]
fn a_record_that_is_not_ours_alone_is_refused() {
    let dir = Scratch::new();
    Recorded::of(&shell()).unwrap().write(dir.path()).unwrap();
    let file = Recorded::path(dir.path());
    for mode in [0o620, 0o602, 0o640, 0o604] {
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let error = recorded_env(dir.path(), &Env::default()).unwrap_err();
        assert!(matches!(error, RecordedError::NotOurs { .. }), "{mode:o}: {error:?}");
        assert!(error.hint().unwrap().contains("chmod 600 "));
    }
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/null", &file).unwrap();
    assert!(recorded_env(dir.path(), &Env::default()).is_err(), "a link is not followed");
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, Mode::from_raw_mode(0o600)).unwrap();
    let error = recorded_env(dir.path(), &Env::default()).unwrap_err();
    assert!(matches!(error, RecordedError::NotOurs { .. }), "a pipe is not waited for: {error:?}");
}

#[test]
fn a_value_of_two_lines_would_be_another_variable_and_is_not_recorded() {
    let error = Recorded::of(&env(&[("NO_PROXY", "a\nLD_PRELOAD=/tmp/x.so")])).unwrap_err();
    assert_eq!(error.to_string(), "the value of NO_PROXY goes over more than one line");
}

#[test]
fn differences_name_the_variable_and_keep_passwords_to_themselves() {
    let recorded = Recorded::of(&shell()).unwrap();
    assert_eq!(recorded.differences(&shell()), []);
    let here = env(&[
        ("AWS_ENDPOINT_URL_SSO_OIDC", "https://a:b@host/path?token=t#f"),
        ("HTTPS_PROXY", "http://user:other@proxy:3128"),
        ("NO_PROXY", "localhost"),
        ("AWS_CA_BUNDLE", "/etc/company's ca.pem"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
    ]);
    let differences: Vec<String> = recorded.differences(&here).iter().map(ToString::to_string).collect();
    assert_eq!(
        differences,
        [
            "AWS_ENDPOINT_URL_SSO_OIDC: the agent has http://127.0.0.1:1, this shell https://***@host/path?***",
            "AWS_USE_FIPS_ENDPOINT: this shell has true, the agent has none",
            "HTTPS_PROXY: the agent has another http://***@proxy:3128 than this shell",
            "SSO_AGENT_LOG: the agent has debug, this shell has none",
        ]
    );
    let debug = format!("{recorded:?} {:?}", recorded.masked().collect::<Vec<_>>());
    assert!(!debug.contains("pass"), "{debug}");
}

#[test]
fn a_proxy_in_the_other_case_is_the_same_proxy() {
    let recorded = Recorded::of(&env(&[("https_proxy", "http://p:1")])).unwrap();
    assert_eq!(recorded.differences(&env(&[("HTTPS_PROXY", "http://p:1")])), []);
}

#[test]
fn of_a_url_only_what_cannot_be_a_secret_is_shown() {
    for (value, shown) in [
        ("http://proxy:3128", "http://proxy:3128"),
        ("user:pass@proxy:3128", "***@proxy:3128"),
        ("http://u:p/w?x#y@proxy:1", "http://***@proxy:1"),
        ("http://proxy:1/?secret", "http://proxy:1/?***"),
        ("http://proxy:1/#secret", "http://proxy:1/?***"),
        ("http://proxy:1/?a@b", "http://***@b"),
    ] {
        assert_eq!(masked("HTTPS_PROXY", OsStr::new(value)), shown);
    }
    assert_eq!(masked("AWS_CONFIG_FILE", OsStr::new("/a@b?c")), "/a@b?c");
    assert_eq!(masked("AWS_CA_BUNDLE", OsStr::new("/a\x1b[2J")), "/a\u{fffd}[2J");
}
