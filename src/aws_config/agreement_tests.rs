//! botocore and this reader read the same in every file that botocore accepts, but for what was decided otherwise.
//!
//! The other reader is the real one, in the Python environment that `tests/all` installs. All files of a test go to it
//! at once.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::ini;
use super::sections::{Files, Named, Sections};
use super::{SourceFile, Sources};
use crate::fuzzing::dice::Dice;

#[test]
fn what_both_accept_is_read_the_same() {
    let mut author = Author(Dice::new());
    let files: Vec<String> = (0..1500).map(|_| author.file()).collect();
    let mut accepted = 0;
    for (text, theirs) in files.iter().zip(botocore(&files)) {
        let theirs = theirs.unwrap_or_else(|| panic!("the generator writes what botocore accepts:\n{text}"));
        agree(text, &theirs);
        accepted += usize::from(!theirs["profiles"].as_object().unwrap().is_empty());
    }
    assert!(accepted > 800, "{accepted} of the files have profiles");
}

#[test]
fn files_with_slips_are_read_the_same_but_for_what_was_decided_otherwise() {
    let mut author = Author(Dice::new());
    let correct: Vec<String> = (0..2000).map(|_| author.file()).collect();
    let files: Vec<String> = correct.iter().map(|text| author.slip(text)).collect();
    let (mut compared, mut decided, mut refused) = (0, BTreeMap::<_, usize>::new(), 0);
    for (text, theirs) in files.iter().zip(botocore(&files)) {
        match (theirs, decided_otherwise(text)) {
            (None, _) => refused += 1,
            (Some(_), Some(reason)) => *decided.entry(reason).or_default() += 1,
            (Some(theirs), None) => {
                agree(text, &theirs);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared} compared, {refused} refused by botocore, {decided:?}");
}

/// Each with what botocore makes of `k` in the profile `t`, and what we do.
#[test]
fn what_was_decided_otherwise_is_what_the_documentation_says() {
    let cases = [
        ("a comment after a value is none", "[profile t]\nk = 1 # c\n", Some("1 # c"), Some("1")),
        ("likewise with a semicolon", "[profile t]\nk = 1 ; c\n", Some("1 ; c"), Some("1")),
        ("a value that is a comment", "[profile t]\nk = # c\n", Some("# c"), None),
        ("an indented header continues the value", "[profile a]\nk = 1\n [profile t]\n k = 2\n", None, Some("2")),
        ("a repeated key", "[profile t]\nk = 1\nk = 2\n", None, Some("2")),
        ("a repeated section", "[profile t]\nk = 1\n[profile t]\nl = 2\n", None, Some("1")),
        ("one unreadable line", "[profile t]\ngarbage\nk = 1\n", None, Some("1")),
        ("a byte order mark", "\u{feff}[profile t]\nk = 1\n", None, Some("1")),
        ("space around the name", "[ profile t ]\nk = 1\n", None, Some("1")),
        ("[DEFAULT]", "[DEFAULT]\nk = 1\n[profile t]\nl = 2\n", Some("1"), None),
        ("another word that begins with profile", "[profiles t]\nk = 1\n", Some("1"), None),
        ("quotes and backslashes in the middle", "[profile \\t]\nk = 1\n", Some("1"), None),
        ("two spellings of a name", "[profile t]\nk = 1\n[profile 't']\nl = 2\n", None, Some("1")),
        ("old line ends", "[profile t]\rk = 1\r", Some("1"), None),
        ("blank lines within a value", "[profile t]\nk = 1\n\n  2\n", Some("1\n\n2"), Some("1\n2")),
    ];
    let texts: Vec<String> = cases.iter().map(|(_, text, _, _)| (*text).to_owned()).collect();
    for ((what, text, theirs, ours), read) in cases.into_iter().zip(botocore(&texts)) {
        let read = read.unwrap_or_default();
        assert_eq!(read["profiles"]["t"]["k"].as_str(), theirs, "botocore: {what}");
        with(text, |sections| {
            let profile = sections.profiles.get("t");
            assert_eq!(profile.and_then(|profile| profile.get("k")).map(|value| value.text), ours, "we: {what}");
        });
    }
    let (first, last) =
        ("[default]\nk = 1\n[profile default]\nk = 2\n", "[profile default]\nk = 2\n[default]\nk = 1\n");
    let read = botocore(&[first, last].map(str::to_owned));
    for ((text, theirs), read) in [(first, "2"), (last, "1")].into_iter().zip(read) {
        assert_eq!(read.unwrap()["profiles"]["default"]["k"], theirs);
        with(text, |sections| assert_eq!(sections.profiles.get("default").unwrap().get("k").unwrap().text, "2"));
    }
}

/// `sections` holds what we read against the matrix; this holds the matrix against the botocore of today.
#[test]
fn the_captured_matrix_is_still_what_botocore_reads() {
    let matrix = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/ini-parser-matrix.json"));
    let mut cases: Vec<Value> = serde_json::from_str(matrix).unwrap();
    // Two have a second file, two are bytes that are no text.
    cases.retain(|case| case["credentials"].is_null() && !case["config"].as_str().unwrap().starts_with("b'"));
    let texts: Vec<String> = cases.iter().map(|case| case["config"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts.len(), 38);
    for (case, read) in cases.iter().zip(botocore(&texts)) {
        let read = read.unwrap_or_default();
        let key = read["profiles"][case["profile"].as_str().unwrap()]["aws_access_key_id"].as_str();
        assert_eq!(key, case["result"]["botocore"].as_str().unwrap().strip_prefix("OK "), "{case}");
    }
}

/// Compares section by section and key by key, in both directions.
fn agree(text: &str, theirs: &Value) {
    with(text, |sections| {
        let keys: Vec<String> = ini::parse(text)
            .sections
            .into_iter()
            .flat_map(|section| section.properties)
            .map(|property| property.key.into_owned())
            .collect();
        for (kind, ours) in [
            ("profiles", &sections.profiles),
            ("sso_sessions", &sections.sso_sessions),
            ("services", &sections.services),
        ] {
            agree_on_kind(&format!("{kind} of\n{text}"), &keys, ours, &theirs[kind]);
        }
    });
}

fn agree_on_kind(place: &str, keys: &[String], ours: &Named<'_>, theirs: &Value) {
    let theirs = theirs.as_object().unwrap();
    let (mut names, mut expected): (Vec<&str>, Vec<&str>) =
        (ours.iter().map(|(name, _)| name).collect(), theirs.keys().map(String::as_str).collect());
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "{place}");
    for (name, properties) in theirs {
        let section = ours.get(name).unwrap();
        for key in keys {
            let (plain, block) = (section.get(key).map(|value| value.text), section.block(key));
            match properties.get(key) {
                None => assert!(plain.is_none() && block.is_none(), "{key} of {name} in {place}"),
                Some(Value::Object(children)) => {
                    assert_eq!(plain, None, "{key} of {name} in {place}");
                    let block = block.unwrap_or_else(|| panic!("{key} of {name} in {place}"));
                    for (child, value) in children {
                        let value = value.as_str().filter(|value| !value.is_empty());
                        assert_eq!(
                            block.child(&child.to_ascii_lowercase()).map(|value| value.text),
                            value,
                            "{key}.{child} in {place}"
                        );
                    }
                }
                Some(value) => {
                    let value = value.as_str().unwrap();
                    let lines: Vec<&str> = value.split('\n').filter(|line| !line.is_empty()).collect();
                    let expected = Some(lines.join("\n")).filter(|text| !text.is_empty());
                    assert_eq!(plain.map(str::to_owned), expected, "{key} of {name} in {place}");
                    assert!(block.is_none(), "{key} of {name} in {place}");
                }
            }
        }
        let known = |key: &String| keys.contains(key);
        assert!(properties.as_object().unwrap().keys().all(known), "{name} in {place}");
    }
}

/// Why a file that botocore accepts is read differently here, if it may be: see `ini` and `sections`.
fn decided_otherwise(text: &str) -> Option<&'static str> {
    if text.replace("\r\n", "\n").contains('\r') {
        return Some("an old line end");
    }
    let (mut names, mut keys) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let trimmed = line.trim();
        let comment =
            |(at, _): (usize, &str)| at > 0 && line[..at].ends_with([' ', '\t']) && !line[..at].trim().is_empty();
        if !trimmed.starts_with('[') {
            if line.match_indices(['#', ';']).any(comment) {
                return Some("a comment after a value");
            }
            let key = trimmed.split(['=', ':']).next().unwrap_or_default().trim_end();
            let other_case = |known: &&str| *known != key && known.eq_ignore_ascii_case(key);
            if key.is_empty() && !trimmed.is_empty() || keys.iter().any(other_case) {
                return Some("a sub-property without a key, or twice but for capitals");
            }
            keys.push(key);
            continue;
        }
        if !line.starts_with('[') {
            return Some("an indented header");
        }
        let Some((header, rest)) = trimmed[1..].split_once(']') else { return Some("a broken header") };
        let words: Vec<&str> = header.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        let kind = words.first().copied().unwrap_or_default();
        let known = ["profile", "sso-session", "services"];
        let name = header[kind.len().min(header.len())..].trim();
        let quoted = name.len() > 1 && ['"', '\''].iter().any(|it| name.starts_with(*it) && name.ends_with(*it));
        let inside = if quoted { &name[1..name.len() - 1] } else { name };
        if rest.contains(']')
            || inside.contains(['"', '\'', '\\', '[', '#', ';'])
            || header.trim() != header
            || header == "DEFAULT"
        {
            return Some("a header with something strange in it");
        }
        if !known.contains(&kind) && known.iter().any(|word| kind.starts_with(word)) || quoted && inside.is_empty() {
            return Some("a header that begins like another");
        }
        let name =
            (if kind == "default" { "profile" } else { kind }, if kind == "default" { "default" } else { inside });
        if names.contains(&name) {
            return Some("a section in two spellings");
        }
        names.push(name);
    }
    None
}

/// Writes files as people do, with all that is read alike.
struct Author(Dice);

impl Author {
    fn file(&mut self) -> String {
        let mut text = self.filler();
        let mut seen = Vec::new();
        for _ in 0..self.0.below(7) {
            let Some(header) = self.header(&mut seen) else { continue };
            text += &header;
            let after = *self.0.pick(&["", "", " ", "#c", " # c", "\t; c", " ;c"]);
            text += after;
            text.push('\n');
            let indent = *self.0.pick(&["", "", "", " ", "\t"]);
            let mut keys = Vec::new();
            for _ in 0..self.0.below(6) {
                let key = *self.0.pick(&KEYS);
                if !keys.contains(&key) {
                    keys.push(key);
                    text += &self.property(indent, key);
                }
            }
            text += &self.filler();
        }
        if self.0.below(3) == 0 { text.replace('\n', "\r\n") } else { text }
    }

    /// A header that is not there yet.
    fn header(&mut self, seen: &mut Vec<(&'static str, &'static str)>) -> Option<String> {
        let other = self.0.below(5) == 0;
        let (kind, name) =
            if other { (*self.0.pick(&OTHERS), "") } else { (*self.0.pick(&KINDS), *self.0.pick(&NAMES)) };
        if seen.contains(&(kind, name)) {
            return None;
        }
        seen.push((kind, name));
        if other {
            return Some(format!("[{kind}]"));
        }
        let space = self.0.pick(&[" ", "  ", "\t", " \t "]);
        let quote = self.0.pick(if name.contains(' ') { &["\"", "'"] } else { &["", "\""] });
        Some(format!("[{kind}{space}{quote}{name}{quote}]"))
    }

    fn property(&mut self, indent: &str, key: &str) -> String {
        let mut text = format!("{indent}{key}{}", self.0.pick(&["=", " = ", ": ", ":", "  =\t", " :"]));
        for _ in 0..self.0.below(12) {
            let piece = *self.0.pick(&PIECES);
            // After white space it would begin a comment, which is one of the things that are read differently.
            let comment = piece.starts_with(['#', ';']) && text.ends_with([' ', '\t']);
            text += if comment { "x" } else { piece };
        }
        text.push('\n');
        for _ in 0..self.0.below(3) {
            let (child, equals, value) = (self.0.pick(&WORDS), self.0.pick(&["=", " = "]), self.0.pick(&WORDS));
            text += &format!("{indent}  {child}{equals}{value}\n");
        }
        text + &self.filler()
    }

    fn filler(&mut self) -> String {
        let lines = ["\n", "# a comment\n", "; another = one\n", "   # indented\n", "  \n", "\t\n"];
        (0..self.0.below(3)).map(|_| *self.0.pick(&lines)).collect()
    }

    /// The same after a slip or three of the hand.
    fn slip(&mut self, text: &str) -> String {
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..=self.0.below(3) {
            let at = self.0.below(text.len() + 1);
            let character = *self.0.pick(&[' ', '\t', '\n', '[', ']', '=', ':', '"', 'x', '#']);
            match self.0.below(3) {
                0 => text.insert(at, character),
                1 if at < text.len() => text[at] = character,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        text.into_iter().collect()
    }
}

const KINDS: [&str; 5] = ["profile", "profile", "profile", "sso-session", "services"];
const OTHERS: [&str; 6] = ["default", "preview", "plugins", "t", "a b c", "Profile x"];
const NAMES: [&str; 10] =
    ["dev", "a.b-c_d", "a/b@c:d+e%f", "tést", "two words", "x", "111122223333", "ß", "DEFAULT", "."];
const KEYS: [&str; 11] = [
    "sso_session",
    "sso_account_id",
    "Region",
    "S3",
    "role_arn",
    "x-y",
    "a.b",
    "k",
    "two words",
    "CREDENTIAL_PROCESS",
    "é",
];
const PIECES: [&str; 22] = [
    "a", "Z", "9", " ", " ", "/", "\"", "'", "%(x)s", "$HOME", "~", "\\", "é", "(", "*", "=", ":", "[", "]", "#", ";",
    "日本",
];
const WORDS: [&str; 6] = ["max", "endpoint_url", "a.b", "http://127.0.0.1:1/", "x", "20MB/s"];

fn with<T>(text: &str, look: impl FnOnce(&Sections<'_>) -> T) -> T {
    let source = SourceFile { path: "/config".into(), bytes: text.into() };
    let (decoded, _) = ini::decode(&source.bytes);
    let files = Files::of(&Sources { config: Some(source.clone()), credentials: None });
    look(&Sections::read(&decoded, "", &files, &mut Vec::new()))
}

/// What botocore reads in each file; `None` where it refuses.
fn botocore(files: &[String]) -> Vec<Option<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-clients/python/bin/python");
    assert!(python.exists(), "{} is not there: run tests/all, which installs it", python.display());
    let mut command = Command::new(python);
    // No byte code beside the sources; files are UTF-8 whatever the locale.
    command.args(["-B", "-X", "utf8"]).arg(root.join("tests/clients/read_config.py"));
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let hex = |text: &String| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let input = serde_json::to_vec(&files.iter().map(hex).collect::<Vec<_>>()).unwrap();
    process.stdin.take().unwrap().write_all(&input).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    let read: Vec<Option<Value>> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read.len(), files.len());
    read
}
