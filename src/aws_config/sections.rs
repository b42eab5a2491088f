//! Both files, put together: profiles, sso-sessions and services by name.
//!
//! Owns: what a header means and which of two values of a key counts (the credentials file's; within a file the
//! last). Refuses to know what the keys mean. Invariant: every value knows the file and line it came from.
//!
//! `[profile default]` replaces `[default]`. `[DEFAULT]` is not inherited by the other sections: only Python's reader
//! does that, and a key that turns up in every profile of one client alone is not what anybody relies on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use super::catalog::{Place, Sources, Warning};
use super::ini::{self, Complaint, Document, Property};
use super::work;
use crate::untrusted::shown;

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum File {
    Config,
    Credentials,
}

/// A line of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    file: File,
    line: usize,
}

/// Where the two files are, to say so.
#[derive(Debug)]
pub(super) struct Files {
    config: PathBuf,
    credentials: PathBuf,
}

impl Files {
    pub(super) fn of(sources: &Sources) -> Self {
        let path = |file: &Option<super::SourceFile>| file.as_ref().map(|file| file.path.clone()).unwrap_or_default();
        Self { config: path(&sources.config), credentials: path(&sources.credentials) }
    }

    pub(super) fn place(&self, at: At) -> Place {
        let file = match at.file {
            File::Config => &self.config,
            File::Credentials => &self.credentials,
        };
        Place { file: file.clone(), line: at.line }
    }
}

/// A value and where it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'s> {
    pub(super) text: &'s str,
    pub(super) at: At,
    children: &'s [Property<'s>],
}

impl<'s> Value<'s> {
    fn of(file: File, property: &'s Property<'s>) -> Self {
        let Property { value, line, children, .. } = property;
        Self { text: value, at: At { file, line: *line }, children }
    }

    /// A sub-property that is not empty.
    pub(super) fn child(self, key: &str) -> Option<Self> {
        let child = Self::of(self.at.file, last(self.children, key)?);
        (!child.text.is_empty()).then_some(child)
    }
}

/// A profile, sso-session or services section, put together from all that is written of it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// Its first header.
    pub(super) at: At,
    config: Vec<Property<'a>>,
    credentials: Vec<Property<'a>>,
}

impl<'a> Section<'a> {
    const fn new(at: At) -> Self {
        Self { at, config: Vec::new(), credentials: Vec::new() }
    }

    /// The value of a key; an empty one counts as not written.
    pub(super) fn get(&self, key: &str) -> Option<Value<'_>> {
        self.find(key).filter(|value| !value.text.is_empty())
    }

    /// A key that has sub-properties.
    pub(super) fn block(&self, key: &str) -> Option<Value<'_>> {
        self.find(key).filter(|value| !value.children.is_empty())
    }

    fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.get(key).is_some())
    }

    fn find(&self, key: &str) -> Option<Value<'_>> {
        let in_credentials = last(&self.credentials, key).map(|property| Value::of(File::Credentials, property));
        in_credentials.or_else(|| last(&self.config, key).map(|property| Value::of(File::Config, property)))
    }

    fn add(&mut self, file: File, mut properties: Vec<Property<'a>>) {
        let all = match file {
            File::Config => &mut self.config,
            File::Credentials => &mut self.credentials,
        };
        if all.is_empty() {
            *all = properties;
        } else {
            work::did(properties.len());
            all.append(&mut properties);
        }
    }

    /// To be called when all is added, before anything is looked up.
    fn sort(&mut self) {
        sort(&mut self.config);
        sort(&mut self.credentials);
    }
}

fn sort(properties: &mut [Property<'_>]) {
    work::did(properties.len());
    if properties.len() > A_HANDFUL {
        properties.sort_by(|one, other| one.key.cmp(&other.key));
    }
    for property in properties {
        sort(&mut property.children);
    }
}

/// The last property of that key. Most sections have a handful, which is searched from end to end; as files can be
/// anything, a larger number has been sorted.
fn last<'s, 'a>(properties: &'s [Property<'a>], key: &str) -> Option<&'s Property<'a>> {
    let candidates = if properties.len() <= A_HANDFUL {
        properties
    } else {
        let end = properties.partition_point(|property| property.key.as_ref() <= key);
        &properties[end.saturating_sub(1)..end]
    };
    work::did(candidates.len());
    candidates.iter().rfind(|property| property.key == key)
}

/// Sections of one kind by name, in the order of their first headers.
#[derive(Debug, Default)]
pub(super) struct Named<'a> {
    list: Vec<(Cow<'a, str>, Section<'a>)>,
    index: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Named<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&Section<'a>> {
        self.index.get(name).map(|index| &self.list[*index].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Section<'a>)> {
        self.list.iter().map(|(name, section)| (name.as_ref(), section))
    }

    /// The section of that name, made now if there is none.
    fn entry(&mut self, name: Cow<'a, str>, at: At) -> &mut Section<'a> {
        let index = *self.index.entry(name.clone()).or_insert_with(|| {
            self.list.push((name, Section::new(at)));
            self.list.len() - 1
        });
        &mut self.list[index].1
    }
}

/// All that the two files say.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    pub(super) profiles: Named<'a>,
    pub(super) sso_sessions: Named<'a>,
    pub(super) services: Named<'a>,
}

impl<'a> Sections<'a> {
    /// Puts the two texts together; what was left out is added to the warnings.
    pub(super) fn read(
        config: &'a str,
        credentials: &'a str,
        files: &Files,
        warnings: &mut Vec<Warning>,
    ) -> Sections<'a> {
        let mut sections = Self::default();
        let Document { sections: written, complaints } = ini::parse(config);
        warn(File::Config, complaints, files, warnings);
        sections.add_config(written, files, warnings);
        let Document { sections: written, complaints } = ini::parse(credentials);
        warn(File::Credentials, complaints, files, warnings);
        sections.add_credentials(written, files, warnings);
        for named in [&mut sections.profiles, &mut sections.sso_sessions, &mut sections.services] {
            named.list.iter_mut().for_each(|(_, section)| section.sort());
        }
        sections
    }

    fn add_config(&mut self, written: Vec<ini::Section<'a>>, files: &Files, warnings: &mut Vec<Warning>) {
        let mut default = Spelling::Unseen;
        for ini::Section { header, line, properties } in written {
            let at = At { file: File::Config, line };
            let mut say = |message: String| warnings.push(Warning { place: files.place(at), message });
            let (kind, name) = match Header::parse(header) {
                Header::Default => {
                    if default == Spelling::Prefixed {
                        say("[default] is ignored, because there is a [profile default]".to_owned());
                        continue;
                    }
                    default = Spelling::Plain;
                    (&mut self.profiles, "default")
                }
                Header::Profile("default") => {
                    let section = self.profiles.entry(Cow::Borrowed("default"), at);
                    if default == Spelling::Plain {
                        say("[profile default] replaces the [default] above".to_owned());
                        *section = Section::new(at);
                    }
                    default = Spelling::Prefixed;
                    section.add(File::Config, properties);
                    continue;
                }
                Header::Profile(name) => (&mut self.profiles, name),
                Header::SsoSession(name) => (&mut self.sso_sessions, name),
                Header::Services(name) => (&mut self.services, name),
                Header::Unreadable(problem) => {
                    say(format!("[{}]: {problem}; the section is left out", shown(header)));
                    continue;
                }
                Header::Other => {
                    let mut section = Section::new(at);
                    section.add(File::Config, properties);
                    section.sort();
                    if header == "DEFAULT" {
                        say("[DEFAULT] is not inherited by other sections, and is no profile".to_owned());
                    } else if section.has_any(&OURS) {
                        say(format!("not a profile: write [profile {}]", shown(header)));
                    }
                    continue;
                }
            };
            kind.entry(Cow::Borrowed(name), at).add(File::Config, properties);
        }
    }

    /// In the credentials file the whole header is the profile's name.
    fn add_credentials(&mut self, written: Vec<ini::Section<'a>>, files: &Files, warnings: &mut Vec<Warning>) {
        for ini::Section { header, line, properties } in written {
            let at = At { file: File::Credentials, line };
            match Header::parse(header) {
                Header::Default | Header::Other if !header.is_empty() => {
                    self.profiles.entry(Cow::Borrowed(header), at).add(File::Credentials, properties);
                }
                _ => {
                    let message =
                        format!("[{}] does not belong in this file: profiles are written [name] here", shown(header));
                    warnings.push(Warning { place: files.place(at), message });
                }
            }
        }
    }
}

/// Which of the two spellings of the default profile has been seen in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Unseen,
    Plain,
    Prefixed,
}

/// What a header of the config file names.
pub(super) enum Header<'a> {
    Default,
    Profile(&'a str),
    SsoSession(&'a str),
    Services(&'a str),
    Other,
    Unreadable(&'static str),
}

impl<'a> Header<'a> {
    pub(super) fn parse(header: &'a str) -> Self {
        if header == "default" {
            return Self::Default;
        }
        let Some((kind, name)) = header.split_once(char::is_whitespace) else { return Self::Other };
        let make = match kind {
            "profile" => Self::Profile,
            "sso-session" => Self::SsoSession,
            "services" => Self::Services,
            _ => return Self::Other,
        };
        let name = name.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| name.strip_prefix(*quote)?.strip_suffix(*quote));
        match quoted {
            Some("") => Self::Unreadable("the name is empty"),
            Some(name) => make(name),
            None if name.contains(char::is_whitespace) => Self::Unreadable("a name with spaces needs quotes"),
            None => make(name),
        }
    }
}

/// Adds warnings for what could not be read, so many and no more: a file that is something else altogether has as
/// many complaints as lines.
pub(super) fn warn(file: File, complaints: Vec<Complaint>, files: &Files, warnings: &mut Vec<Warning>) {
    let more = complaints.len().saturating_sub(MOST_COMPLAINTS);
    let warning = |line, message| Warning { place: files.place(At { file, line }), message };
    let next = complaints.get(MOST_COMPLAINTS).map(|complaint| complaint.line);
    warnings.extend(
        complaints
            .into_iter()
            .take(MOST_COMPLAINTS)
            .map(|complaint| warning(complaint.line, complaint.message.to_owned())),
    );
    if let Some(line) = next {
        warnings.push(warning(line, format!("{more} more lines from here on that cannot be read")));
    }
}

const A_HANDFUL: usize = 16;
const MOST_COMPLAINTS: usize = 100;
/// Keys that show that a section was meant as a profile of ours.
const OURS: [&str; 5] = ["sso_session", "sso_start_url", "sso_account_id", "sso_role_name", "credential_process"];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILES: fn() -> Files = || Files { config: "/config".into(), credentials: "/credentials".into() };

    /// What a Python client prints for bytes, as text again.
    fn bytes_of(config: &str) -> Vec<u8> {
        let Some(literal) = config.strip_prefix("b'").and_then(|rest| rest.strip_suffix('\'')) else {
            return config.as_bytes().to_vec();
        };
        let mut bytes = Vec::new();
        let mut rest = literal;
        while let Some(character) = rest.chars().next() {
            if let Some(hex) = rest.strip_prefix("\\x") {
                bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
                rest = &hex[2..];
            } else if let Some(after) = rest.strip_prefix("\\n") {
                bytes.push(b'\n');
                rest = after;
            } else {
                bytes.push(u8::try_from(character).unwrap());
                rest = &rest[1..];
            }
        }
        bytes
    }

    #[test]
    fn what_any_client_reads_is_read() {
        let matrix: serde_json::Value = serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/wire/ini-parser-matrix.json"
        )))
        .unwrap();
        let mut read = 0;
        for case in matrix.as_array().unwrap() {
            let bytes = bytes_of(case["config"].as_str().unwrap());
            let (config, _) = ini::decode(&bytes);
            let credentials = case["credentials"].as_str().unwrap_or_default();
            let sections = Sections::read(&config, credentials, &FILES(), &mut Vec::new());
            let profile = sections.profiles.get(case["profile"].as_str().unwrap());
            let ours = profile.and_then(|profile| profile.get("aws_access_key_id")).map(|value| value.text);
            let theirs: Vec<&str> = case["result"]
                .as_object()
                .unwrap()
                .values()
                .filter_map(|result| result.as_str().unwrap().strip_prefix("OK "))
                .collect();
            if case["name"] == "DEFAULT-uppercase-inherits" {
                assert_eq!(ours, None, "decided otherwise, see the module's documentation");
            } else if let Some(first) = theirs.first() {
                assert!(ours.is_some_and(|ours| theirs.contains(&ours)), "{case}: {ours:?}, not {first}");
                read += 1;
            } else {
                assert_eq!(ours, None, "{case}");
            }
        }
        assert!(read >= 35, "{read}");
    }

    #[test]
    fn a_comment_after_a_value_is_not_part_of_it() {
        let text = "[profile t]\na = 1 # c\nb = 1 ; c\nc = 1#c\nd = https://x/start#/\n";
        let sections = Sections::read(text, "", &FILES(), &mut Vec::new());
        let profile = sections.profiles.get("t").unwrap();
        let values = ["a", "b", "c", "d"].map(|key| profile.get(key).unwrap().text);
        assert_eq!(values, ["1", "1", "1#c", "https://x/start#/"]);
    }

    #[test]
    fn the_credentials_file_wins_key_by_key_and_each_value_knows_its_line() {
        let config = "\n[profile t]\na = 1\nb = 2\n";
        let credentials = "[t]\nb = 3\n[profile t]\na = 4\n";
        let mut warnings = Vec::new();
        let sections = Sections::read(config, credentials, &FILES(), &mut warnings);
        let profile = sections.profiles.get("t").unwrap();
        let found = ["a", "b"].map(|key| {
            let value = profile.get(key).unwrap();
            (value.text, FILES().place(value.at))
        });
        assert_eq!(found[0], ("1", Place { file: "/config".into(), line: 3 }));
        assert_eq!(found[1], ("3", Place { file: "/credentials".into(), line: 2 }));
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].place.file, Path::new("/credentials"));
    }

    #[test]
    fn the_last_of_equal_keys_counts_in_small_sections_and_in_large_ones() {
        for fillers in [0, 10, 100] {
            let filler: String = (0..fillers).map(|number| format!("k{number} = x\n")).collect();
            let text = format!("[profile t]\nkey = 1\n{filler}key = 2\n[profile t]\n{filler}");
            let sections = Sections::read(&text, "", &FILES(), &mut Vec::new());
            let profile = sections.profiles.get("t").unwrap();
            assert_eq!(profile.get("key").unwrap().text, "2");
            assert!(profile.get("kez").is_none() && profile.get("").is_none());
        }
    }

    #[test]
    fn a_section_that_was_meant_as_a_profile_is_pointed_out() {
        let mut warnings = Vec::new();
        let text = "[t]\nsso_session = s\n[plugins]\nx = y\n[profile a b]\n[profile \"\"]\n[DEFAULT]\nregion = x\n";
        let sections = Sections::read(text, "", &FILES(), &mut warnings);
        assert_eq!(sections.profiles.iter().count(), 0);
        assert_eq!(warnings.iter().map(|warning| warning.place.line).collect::<Vec<_>>(), [1, 5, 6, 7]);
        assert!(warnings[0].message.contains("[profile t]"));
    }

    #[test]
    fn a_file_that_is_something_else_does_not_flood_the_warnings() {
        let mut warnings = Vec::new();
        Sections::read(&"garbage\n".repeat(1000), "", &FILES(), &mut warnings);
        assert_eq!(warnings.len(), MOST_COMPLAINTS + 1);
        assert!(warnings[MOST_COMPLAINTS].message.starts_with("900 more lines"));
    }
}
