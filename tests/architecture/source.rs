//! Sources as text: which lines are code, which modules a file uses.
//!
//! Knows Rust only as far as this project writes it: `rustfmt` has been over it, and tests are the last item of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Before a module that is compiled for tests and for the fuzzer only.
pub(crate) const FOR_FUZZING: &str = r#"#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]"#;

/// A source file.
pub(crate) struct SourceFile {
    /// From the package's root.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl SourceFile {
    /// The top-level module it belongs to, if it is part of the library.
    pub(crate) fn module(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib" && name != "bin").then_some(name)
    }

    /// Whether all of it is compiled for tests only, or for tests and the fuzzer.
    pub(crate) fn is_for_tests(&self) -> bool {
        let stem = self.path.trim_end_matches(".rs");
        let (directory, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let parent = ["mod.rs", "lib.rs"].iter().map(|file| format!("{directory}/{file}"));
        let declarations = parent.chain([format!("{directory}.rs")]).filter(|path| Path::new(&root(path)).exists());
        let declared = [format!("#[cfg(test)]\nmod {name};"), format!("{FOR_FUZZING}\npub(crate) mod {name};")];
        let here =
            declarations.map(|path| read(&path)).any(|text| declared.iter().any(|declared| text.contains(declared)))
                || stem.starts_with("src/fuzzing/");
        // By its name where it is declared with `#[path]`.
        here || stem.contains("/tests/") || stem.ends_with("/tests") || stem.ends_with("_tests")
    }

    /// Its lines of code.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.trim_start().starts_with("//"))
    }

    /// The lines of code that are not tests.
    pub(crate) fn product_code(&self) -> impl Iterator<Item = &str> {
        let product = if self.is_for_tests() { "" } else { self.before_tests() };
        product.lines().filter(|line| !line.trim_start().starts_with("//"))
    }

    /// How long it is without its tests.
    pub(crate) fn lines_before_tests(&self) -> usize {
        self.before_tests().lines().count()
    }

    /// The top-level modules it uses, tests included.
    pub(crate) fn modules_used(&self, known: &BTreeMap<String, usize>) -> BTreeSet<String> {
        let code = self.lines().collect::<Vec<_>>().join("\n");
        let mut used = BTreeSet::new();
        for (at, path) in code.match_indices("crate::") {
            if let Some(group) = code[at + path.len()..].strip_prefix('{') {
                used.extend(first_words(group));
            } else {
                used.extend(first_word(&code[at + path.len()..]));
            }
        }
        // `super` leads to the root as well, if there is enough of it.
        let depth = self.path.trim_end_matches("/mod.rs").matches('/').count();
        let upwards = "super::".repeat(depth);
        used.extend(code.match_indices(&upwards).filter_map(|(at, path)| first_word(&code[at + path.len()..])));
        used.retain(|module| known.contains_key(module));
        used
    }

    fn before_tests(&self) -> &str {
        let tests = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        &self.text[..tests]
    }
}

/// Every source file below this directory.
pub(crate) fn sources_below(directory: &str) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(root(directory)) else { return found };
    for entry in entries {
        let name = entry.expect("the sources can be listed").file_name().into_string().expect("names are text");
        let path = format!("{directory}/{name}");
        if Path::new(&root(&path)).is_dir() {
            found.extend(sources_below(&path));
        } else if name.ends_with(".rs") {
            found.push(SourceFile { text: read(&path), path });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// A file of the package.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn first_word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first word of each path of a group; `text` begins after the opening brace.
fn first_words(text: &str) -> Vec<String> {
    let (mut words, mut depth, mut expected) = (Vec::new(), 1, true);
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => expected = depth == 1,
            _ if character.is_whitespace() => {}
            _ if expected && depth == 1 => {
                words.extend(first_word(&text[at..]));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    words
}

#[test]
fn the_paths_of_a_source_are_found() {
    let known: BTreeMap<String, usize> =
        ["api", "engine", "store", "time"].into_iter().map(|name| (name.to_owned(), 0)).collect();
    let used = |path: &str, text: &str| {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        file.modules_used(&known).into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(used("src/a.rs", "use crate::api::Code;\n// crate::engine\n"), "api");
    assert_eq!(
        used("src/a.rs", "use crate::{api::{Code, time}, store};\nfn f() { crate::time::now() }"),
        "api store time"
    );
    assert_eq!(used("src/a.rs", "use super::engine::State;"), "engine");
    assert_eq!(used("src/a/b.rs", "use super::engine::State;"), "");
    assert_eq!(used("src/a/b.rs", "use super::super::engine::State;"), "engine");
    assert_eq!(used("src/a/mod.rs", "use super::engine::State;"), "engine");
}
