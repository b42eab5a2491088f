//! Every target over its committed corpus, and over a short run of mutations that is the same each time.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::{TARGETS, Target};

#[test]
fn answer_holds() {
    hold("answer");
}

#[test]
fn config_holds() {
    hold("config");
}

#[test]
fn connection_holds() {
    hold("connection");
}

#[test]
fn document_holds() {
    hold("document");
}

#[test]
fn link_holds() {
    hold("link");
}

#[test]
fn record_holds() {
    hold("record");
}

#[test]
fn request_holds() {
    hold("request");
}

#[test]
fn service_holds() {
    hold("service");
}

#[test]
fn settings_holds() {
    hold("settings");
}

#[test]
fn words_holds() {
    hold("words");
}

#[test]
fn every_target_has_a_program_a_corpus_and_a_test() {
    let programs = stems(&root().join("fuzz/fuzz_targets"));
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(programs, names);
    assert_eq!(stems(&root().join("fuzz/corpus")), names);
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in &names {
        let program = std::fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzzing::{name}(bytes)")), "{program}");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        assert!(include_str!("tests.rs").contains(&format!("    hold(\"{name}\");")), "{name}");
    }
}

#[test]
fn the_corpus_is_small() {
    let sizes = TARGETS.iter().flat_map(|(name, _)| corpus(name)).map(|(_, bytes)| bytes.len());
    assert!(sizes.sum::<usize>() < 512 * 1024);
}

/// Runs the target over all of its corpus, then over mutations of it.
fn hold(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let corpus = corpus(name);
    assert!(!corpus.is_empty());
    for (path, bytes) in &corpus {
        run(*target, bytes, &path.display().to_string());
    }
    let seeds: Vec<&[u8]> = corpus.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let mut mutator = Mutator(Dice::new());
    for round in 0..MUTATIONS {
        run(*target, &mutator.next(&seeds), &format!("mutation {round}"));
    }
}

fn run(target: Target, bytes: &[u8], which: &str) {
    assert!(catch_unwind(|| target(bytes)).is_ok(), "{which}: \"{}\"", bytes.escape_ascii());
}

/// What libFuzzer does, without its coverage: pieces of known inputs, changed a little and put together.
struct Mutator(Dice);

impl Mutator {
    fn next(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let Self(dice) = self;
        let mut bytes = dice.pick(seeds).to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len() + 1);
            match dice.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
                1 if at < bytes.len() => bytes[at] = *dice.pick(b"\0\n\r\t \"'#;=:[]{}\\/%?&@$\x1b\x7f\xff\xc3"),
                2 => {
                    let end = (at + 1 + dice.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                3 => bytes.truncate(at),
                4 => {
                    let word = *dice.pick(&WORDS);
                    bytes.splice(at..at, word.bytes());
                }
                5 => {
                    let other = *dice.pick(seeds);
                    let from = dice.below(other.len() + 1);
                    let piece = other[from..].iter().take(1 + dice.below(64)).copied();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + 1 + dice.below(64)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = root().join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    files.sort();
    files
}

fn stems(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

const WORDS: [&str; 24] = [
    "\r\n",
    "\r\n\r\n",
    "-",
    "%2d",
    "%ff",
    "0",
    "18446744073709551616",
    "-1",
    "null",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "ß",
    "sso_session = corp\n",
    "[profile dev]\n",
    "[sso-session corp]\n",
    "https://",
    "@",
    "content-length: 1\r\n",
    "transfer-encoding: chunked\r\n",
    "HTTP/1.1 ",
    "x-amzn-ErrorType: InvalidGrantException\n",
    "{\"error\":\"invalid_grant\"}",
    "GET /v1/health HTTP/1.1\r\n\r\n",
];
const MUTATIONS: usize = 2000;
