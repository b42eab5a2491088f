//! Edits of files as people and other programs leave them.

use proptest::prelude::*;

use super::error::MarkerProblem;
use super::*;
use crate::aws_config::{Catalog, SourceFile, Sources};
use crate::env::Env;
use crate::ids::{Grant, SessionName};
use crate::settings::Settings;

fn session() -> SessionName {
    "corp".parse().unwrap()
}

fn settings(url: &str, region: &str) -> Vec<Setting> {
    vec![Setting::new("sso_start_url", url).unwrap(), Setting::new("sso_region", region).unwrap()]
}

/// The file after an edit of the session, as text.
fn set(file: &str) -> Result<String, EditError> {
    let new = set_session(file.as_bytes(), "corp", &settings("https://e.example/start", "eu-west-1")).unwrap()?;
    Ok(String::from_utf8(new).unwrap())
}

fn entry(name: &str, account: u64, role: &str) -> ProfileEntry {
    let account = format!("{account:012}");
    let line = format!("/usr/bin/sso-credential-process --session corp --account {account} --role {role}");
    let settings =
        vec![Setting::new("credential_process", line).unwrap(), Setting::new("region", "eu-west-1").unwrap()];
    let grant = Grant::Role { account: account.parse().unwrap(), role: role.parse().unwrap() };
    ProfileEntry::new(name, grant, settings).unwrap()
}

fn replace(file: &[u8], entries: &[ProfileEntry]) -> Result<Vec<u8>, EditError> {
    replace_profiles(file, &session(), entries)
}

const SECTION: &str = "[sso-session corp]\nsso_start_url = https://e.example/start\nsso_region = eu-west-1\n";

#[test]
fn a_session_that_is_new_goes_to_the_end() {
    assert_eq!(set("").unwrap(), SECTION);
    assert_eq!(set("# mine\n").unwrap(), format!("# mine\n\n{SECTION}"));
    assert_eq!(set("[profile a]\nk = 1").unwrap(), format!("[profile a]\nk = 1\n\n{SECTION}"));
    let dos = SECTION.replace('\n', "\r\n");
    assert_eq!(set("[profile a]\r\nk = 1\r\n\r\n").unwrap(), format!("[profile a]\r\nk = 1\r\n\r\n{dos}"));
    assert_eq!(set("\u{feff}").unwrap(), format!("\u{feff}{SECTION}"));
}

#[test]
fn a_session_that_is_there_is_changed_in_place_and_keeps_everything_else() {
    let before = "\u{feff}; top\r\n[sso-session other]\r\nsso_region = x\r\n\r\n[sso-session  \"corp\"] # ours\r\n\
                  # why\r\nSSO_Region=us-east-1 ; old\r\nsso_registration_scopes = a, b\r\nsso_start_url :  \r\n\
                  x_other = 1\r\n[profile a]\r\n  k = 1";
    let after = before
        .replace("SSO_Region=us-east-1", "SSO_Region=eu-west-1")
        .replace("sso_start_url :", "sso_start_url : https://e.example/start");
    assert_eq!(set(before).unwrap(), after);
    assert_eq!(set(&after).unwrap(), after, "nothing is left to do");
}

#[test]
fn a_key_that_is_missing_goes_below_the_header_as_the_others_are_indented() {
    let before = "[sso-session corp]\n\n  # why\n  sso_region = eu-west-1\n[profile a]\n";
    let after = before.replace("corp]\n", "corp]\n  sso_start_url = https://e.example/start\n");
    assert_eq!(set(before).unwrap(), after);
    assert_eq!(set("[sso-session corp]").unwrap(), SECTION);
    assert_eq!(set("[sso-session corp]\n [profile a]\n").unwrap(), format!("{SECTION} [profile a]\n"));
}

#[test]
fn the_value_that_counts_is_the_one_that_is_changed() {
    let before =
        "[sso-session corp]\nsso_region = a\nsso_region = b\n[profile x]\n[sso-session corp]\nsso_region = c\n";
    let after = before.replace("region = c", "region = eu-west-1").replace(
        "[profile x]\n[sso-session corp]\n",
        "[profile x]\n[sso-session corp]\nsso_start_url = https://e.example/start\n",
    );
    assert_eq!(set(before).unwrap(), after);
}

#[test]
fn a_value_that_is_more_than_a_line_is_left_to_people() {
    let continued = "[sso-session corp]\nsso_region = eu-west-1\n  more\n";
    assert_eq!(set(continued), Err(EditError::Value { line: 2, key: "sso_region" }));
    let nested = "[sso-session corp]\nsso_region =\n  x = y\n";
    assert_eq!(set(nested), Err(EditError::Value { line: 2, key: "sso_region" }));
    assert_eq!(set_session(b"\xff\xfe[\0", "corp", &[]), Ok(Err(EditError::Utf16)));
    assert!(set_session(b"", "a b", &[]).is_err(), "no section is made that some clients cannot read");
}

#[test]
fn what_stands_there_is_told() {
    let file = "[sso-session corp]\nsso_start_url = https://x.example\n[default]\nregion = eu-north-1\n";
    let text = session_text(file.as_bytes(), "corp").unwrap().unwrap();
    assert_eq!((text.start_url.as_deref(), text.region), (Some("https://x.example"), None));
    assert_eq!(session_text(file.as_bytes(), "crop"), Ok(None));
    assert_eq!(default_region(file.as_bytes()).unwrap().as_str(), "eu-north-1");
    assert_eq!(default_region(b"[default]\nregion = a b\n"), None);
}

#[test]
fn the_region_is_appended_then_replaced_then_taken_away() {
    let file = b"[profile mine]\nregion = x\n\xff\xfe # not text\n".to_vec();
    let two = replace(&file, &[entry("A", 1, "R"), entry("B", 2, "R")]).unwrap();
    let region = "\n# sso-agent: begin profiles of session corp (written by \"sso-agent configure profiles\"; edits \
                  inside are lost)\n\n[profile A]\ncredential_process = /usr/bin/sso-credential-process --session corp \
                  --account 000000000001 --role R\nregion = eu-west-1\n\n[profile B]\ncredential_process = \
                  /usr/bin/sso-credential-process --session corp --account 000000000002 --role R\nregion = eu-west-1\n\
                  \n# sso-agent: end profiles of session corp\n";
    assert_eq!(two, [&file[..], region.as_bytes()].concat());
    assert_eq!(replace(&two, &[entry("A", 1, "R"), entry("B", 2, "R")]).unwrap(), two);
    let standing = standing(&two, &session()).unwrap();
    assert_eq!(standing.iter().map(|standing| standing.name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(standing[1].grant.as_ref(), Some(entry("B", 2, "R").grant()));

    let later = [&two[..], b"\n[profile later]\nregion = y"].concat();
    let one = replace(&later, &[entry("C", 3, "R")]).unwrap();
    assert!(one.starts_with(&file) && one.ends_with(b"\n\n[profile later]\nregion = y"));
    let gone = replace(&later, &[]).unwrap();
    assert_eq!(gone, [&file[..], b"\n\n[profile later]\nregion = y"].concat());
    assert_eq!(replace(&gone, &[]).unwrap(), gone);
}

#[test]
fn regions_of_several_sessions_stand_beside_each_other() {
    let legacy: SessionName = "https://e.example/start#/ x".parse().unwrap();
    let first = replace(b"", &[entry("A", 1, "R")]).unwrap();
    let both = replace_profiles(&first, &legacy, &[entry("B", 2, "R")]).unwrap();
    assert!(both.starts_with(&first));
    assert!(String::from_utf8_lossy(&both).contains("of session https://e.example/start%23/%20x\n"));
    assert_eq!(standing(&both, &session()).unwrap().len(), 1);
    let taken = taken_names(&both, b"", &session()).unwrap();
    assert!(taken.contains("B") && !taken.contains("A"));
    assert_eq!(replace_profiles(&both, &legacy, &[]).unwrap(), [&first[..], b"\n"].concat());
}

#[test]
fn whatever_any_client_takes_for_a_name_is_taken() {
    let config = "[profile a]\n[profile \"b c\"]\n[profile 'd']\n[ profile e ]\n[profile\tf]\n[g]\n[profile h]#c\n\
                  [profiles i]\n[profile \\j]\n [profile k]\n[default]\n[sso-session l]\n";
    let credentials = "[m]\n[profile n]\n";
    let taken = taken_names(config.as_bytes(), credentials.as_bytes(), &session()).unwrap();
    for name in ["a", "b c", "d", "e", "f", "g", "h", "i", "j", "k", "default", "m", "n"] {
        assert!(taken.contains(name), "{name}: {taken:?}");
    }
    assert!(!taken.contains("o"));
}

#[test]
fn a_marker_without_its_partner_stops_everything() {
    let whole = String::from_utf8(replace(b"[profile x]\n", &[entry("A", 1, "R")]).unwrap()).unwrap();
    let other = whole.replace("session corp", "session crop");
    let begin = whole.lines().nth(2).unwrap();
    let end = whole.lines().last().unwrap();
    let cases = [
        (whole.replace(end, ""), 3, MarkerProblem::NoEnd),
        (whole.replace(begin, ""), 9, MarkerProblem::NoBegin),
        (whole.replace(end, begin), 9, MarkerProblem::Nested(3)),
        (format!("{whole}{whole}"), 12, MarkerProblem::Doubled(3)),
        (whole.replace(end, "# sso-agent: end profiles of session crop"), 9, MarkerProblem::OtherEnd(3)),
        (whole.replace(begin, &format!(" {begin}")), 3, MarkerProblem::Unreadable),
        (whole.replace(end, "# sso-agent: the end"), 9, MarkerProblem::Unreadable),
        (format!("{other}{}", whole.replace(end, "")), 12, MarkerProblem::NoEnd),
    ];
    for (file, line, problem) in cases {
        let refused = EditError::Marker { line, problem };
        assert_eq!(replace(file.as_bytes(), &[entry("A", 1, "R")]), Err(refused.clone()), "{file}");
        assert_eq!(standing(file.as_bytes(), &session()).unwrap_err(), refused);
        assert!(refused.to_string().starts_with(&format!("line {line}: ")));
    }
}

#[test]
fn lines_after_the_region_that_belong_to_its_last_profile_stop_everything() {
    let whole = replace(b"", &[entry("A", 1, "R")]).unwrap();
    let attached = [&whole[..], b"output = json\n"].concat();
    let last = whole.split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(replace(&attached, &[entry("B", 1, "R")]), Err(EditError::Attached { line: last }));
    let own = [&whole[..], b"# a comment\n[profile x]\noutput = json\n"].concat();
    assert!(replace(&own, &[entry("B", 1, "R")]).unwrap().ends_with(b"\n# a comment\n[profile x]\noutput = json\n"));
}

/// The rules that the readers of Go and Java add: every line is of the plainest kind, nothing is written twice.
fn assert_plain(region: &str) {
    let mut names = std::collections::BTreeSet::new();
    let mut keys = std::collections::BTreeSet::new();
    for line in region.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(name) = line.strip_prefix("[profile ").and_then(|rest| rest.strip_suffix(']')) {
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte)), "{line}");
            assert!(names.insert(name), "{line} twice");
            keys.clear();
        } else {
            let (key, value) = line.split_once(" = ").unwrap();
            assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(
                !value.contains(['"', '\'', '\\', '#', ';']) && value.trim() == value && value.is_ascii(),
                "{line}"
            );
            assert!(keys.insert(key), "{line} twice");
        }
    }
}

/// Files that say something, and files that do not.
fn files() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => proptest::sample::select(LINES.to_vec()).prop_map(|line| line.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>().prop_filter("one line", |byte| *byte != b'\n'), 0..12),
    ];
    let end = proptest::sample::select(vec![&b"\n"[..], b"\n", b"\r\n"]);
    (any::<bool>(), proptest::collection::vec((line, end), 0..14), any::<bool>()).prop_map(|(mark, lines, open)| {
        let mut file = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        for (line, end) in lines {
            file.extend(line);
            file.extend(end);
        }
        if open && file.ends_with(b"\n") {
            file.pop();
        }
        file
    })
}

const LINES: [&str; 22] = [
    "[sso-session corp]",
    "[sso-session other]",
    "[profile x]",
    "[profile \"A\"]",
    "[default]",
    " [profile y]",
    "[broken",
    "sso_start_url = https://a.example/start",
    "  sso_region = us-east-1",
    "sso_region=",
    "sso_region = us-east-1 # why",
    "SSO_REGION: x",
    "region = eu-north-1",
    "\tcontinued",
    "  nested = yes",
    "s3 =",
    "garbage",
    "# comment",
    "   ; comment",
    "",
    "   ",
    "größe = ü",
];

fn entries() -> impl Strategy<Value = Vec<ProfileEntry>> {
    proptest::collection::btree_map("[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]{0,8}", (0..9_u64, "[A-Za-z0-9_+=,.@-]{1,9}"), 1..5)
        .prop_map(|profiles| {
            let legal = profiles.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("default"));
            legal.map(|(name, (account, role))| entry(&name, account, &role)).collect()
        })
        .prop_filter("some", |entries: &Vec<_>| !entries.is_empty())
}

proptest! {
    #[test]
    fn profiles_are_written_into_any_file_and_everything_else_stays(
        (before, after) in (files(), files()),
        (first, second) in (entries(), entries()),
    ) {
        prop_assume!(!before.starts_with(b"\xff\xfe") && !before.starts_with(b"\xfe\xff"));
        let written = replace(&before, &first).unwrap();
        prop_assert!(written.starts_with(&before));
        prop_assert_eq!(&replace(&written, &first).unwrap(), &written);

        // Somebody writes below it.
        let longer = [&written[..], &after[..]].concat();
        let Ok(again) = replace(&longer, &second) else { return Ok(()) };
        prop_assert!(again.ends_with(&after));
        let room = written.windows(BEGIN.len()).position(|bytes| bytes == BEGIN).unwrap();
        prop_assert_eq!(&again[..room], &written[..room]);
        let region = String::from_utf8(again[room..again.len() - after.len()].to_vec()).unwrap();
        assert_plain(&region.replace("\r\n", "\n"));
        let mut removed = again[..room].to_vec();
        removed.extend(&after);
        prop_assert_eq!(replace(&again, &[]).ok(), Some(removed));
    }

    #[test]
    fn what_was_written_is_read_back_as_it_was_meant(file in files(), entries in entries()) {
        prop_assume!(!file.starts_with(b"\xff\xfe") && !file.starts_with(b"\xfe\xff"));
        let settings = settings("https://e.example/start#/", "eu-west-1");
        let Ok(written) = set_session(&file, "corp", &settings).unwrap() else { return Ok(()) };
        prop_assert_eq!(&set_session(&written, "corp", &settings).unwrap().unwrap(), &written);
        let taken = taken_names(&written, b"", &session()).unwrap();
        let free: Vec<ProfileEntry> = entries.into_iter().filter(|entry| !taken.contains(entry.name())).collect();
        let written = replace(&written, &free).unwrap();
        let config = Some(SourceFile { path: "/config".into(), bytes: written });
        let catalog = Catalog::read(&Sources { config, credentials: None }, &Env::default(), &Settings::default());
        let definition = catalog.sessions[&session()].as_ref().unwrap();
        prop_assert_eq!(definition.start_url.as_str(), "https://e.example/start#/");
        for entry in free {
            let profile = catalog.profiles[&entry.name().parse().unwrap()].as_ref().unwrap();
            let target = profile.target.as_ref().unwrap();
            prop_assert_eq!((&target.session, &target.grant), (&session(), entry.grant()));
        }
    }

    #[test]
    fn an_edit_of_a_session_touches_only_its_keys(file in files()) {
        let settings = settings("https://e.example/start", "eu-west-1");
        let Ok(written) = set_session(&file, "corp", &settings).unwrap() else { return Ok(()) };
        let others = |file: &[u8]| -> Vec<Vec<u8>> {
            let lines = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec());
            let ours = |line: &Vec<u8>| {
                let text = String::from_utf8_lossy(line).to_lowercase();
                text.contains("sso_start_url") || text.contains("sso_region") || text.is_empty()
            };
            lines.filter(|line| !ours(line)).collect()
        };
        let (mut old, new) = (others(&file), others(&written));
        if new.len() > old.len() {
            old.push(b"[sso-session corp]".to_vec());
        }
        prop_assert_eq!(old, new);
    }
}

const BEGIN: &[u8] = b"# sso-agent: begin";
