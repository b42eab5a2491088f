//! The marked region of a session's profiles.
//!
//! Owns: the markers, and what stands between them. Invariant: a region is replaced as a whole; where it begins and
//! ends is never guessed, so a file with a marker that has no partner is not edited.

use std::collections::BTreeSet;
use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::document::{Lines, line_end, mean_the_same, profile_name, text, with_room_at_the_end};
use super::entry::ProfileEntry;
use super::error::{EditError, MarkerProblem};
use crate::api::TargetQuery;
use crate::aws_config::ini::{self, Section};
use crate::aws_config::shim;
use crate::ids::{Grant, SessionName};

/// A profile that stands in a region, and what it is for, where that can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub grant: Option<Grant>,
}

/// The profiles in the session's region.
///
/// # Errors
/// See [`EditError`].
pub fn standing(bytes: &[u8], session: &SessionName) -> Result<Vec<Standing>, EditError> {
    let Some(region) = find(bytes, session)? else { return Ok(Vec::new()) };
    let text = text(bytes)?;
    let document = ini::parse(&text);
    let inside = document.sections.iter().filter(|section| region.holds(section.line));
    Ok(inside
        .filter_map(|section| Some(Standing { name: profile_name(section)?.to_owned(), grant: grant(section) }))
        .collect())
}

/// The names that are not free for the session's profiles: whatever any client could take for a profile's name, in
/// either file, outside the region.
///
/// # Errors
/// See [`EditError`].
pub fn taken_names(config: &[u8], credentials: &[u8], session: &SessionName) -> Result<BTreeSet<String>, EditError> {
    let region = find(config, session)?;
    let config = text(config)?;
    let (credentials, _) = ini::decode(credentials);
    let config = ini::parse(&config);
    let outside =
        config.sections.iter().filter(|section| region.as_ref().is_none_or(|region| !region.holds(section.line)));
    let mut names = BTreeSet::new();
    for section in outside.chain(&ini::parse(&credentials).sections) {
        let header = section.header;
        let rest = header.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
        for name in [header, rest] {
            // However it is quoted.
            names.insert(name.chars().filter(|character| !matches!(character, '"' | '\'' | '\\')).collect());
        }
    }
    Ok(names)
}

/// The file in which the session's region holds these profiles and nothing else; without profiles there is none.
///
/// # Errors
/// See [`EditError`].
pub fn replace_profiles(bytes: &[u8], session: &SessionName, profiles: &[ProfileEntry]) -> Result<Vec<u8>, EditError> {
    let found = find(bytes, session)?;
    let (mut file, after) = match &found {
        Some(region) => {
            let lines = Lines::of(bytes);
            let (begin, end) = (lines.range(region.first).start, lines.range(region.last).end);
            check_borders(bytes, region, &[&bytes[..begin], &bytes[end..]].concat())?;
            (bytes[..begin].to_vec(), &bytes[end..])
        }
        None if profiles.is_empty() => return Ok(bytes.to_vec()),
        None => (with_room_at_the_end(bytes), &bytes[bytes.len()..]),
    };
    if !profiles.is_empty() {
        let text = render(session, profiles);
        let end = line_end(bytes);
        for line in text.lines() {
            file.extend_from_slice(line.as_bytes());
            file.extend_from_slice(end);
        }
        // A last line that had no end keeps none.
        if found.is_some() && after.is_empty() && !bytes.ends_with(b"\n") {
            file.truncate(file.len() - end.len());
        }
    }
    file.extend_from_slice(after);
    check(bytes, found.as_ref(), &file, session, profiles)?;
    Ok(file)
}

/// A region's first and last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    first: usize,
    last: usize,
}

impl Region {
    fn holds(self, line: usize) -> bool {
        (self.first..=self.last).contains(&line)
    }
}

enum Marker<'a> {
    Begin(&'a [u8]),
    End(&'a [u8]),
}

impl<'a> Marker<'a> {
    /// What a line is, if it is a marker or was one.
    fn read(content: &'a [u8]) -> Option<Result<Self, MarkerProblem>> {
        if !content.trim_ascii_start().starts_with(ANY) {
            return None;
        }
        let name = |rest: &'a [u8]| rest.split(|byte| *byte == b' ').next().filter(|name| !name.is_empty());
        let content = content.trim_ascii_end();
        let begin = content.strip_prefix(BEGIN.as_bytes()).and_then(name).map(Marker::Begin);
        let end = || content.strip_prefix(END.as_bytes()).and_then(name).map(Marker::End);
        Some(begin.or_else(end).ok_or(MarkerProblem::Unreadable))
    }
}

/// The session's region. All markers of the file must be in order, also those of other sessions.
fn find(bytes: &[u8], session: &SessionName) -> Result<Option<Region>, EditError> {
    let wanted = encoded(session);
    let lines = Lines::of(bytes);
    let mut open: Option<(&[u8], usize)> = None;
    let mut closed: Vec<(&[u8], usize)> = Vec::new();
    let mut found = None;
    for line in 1..=lines.count() {
        let Some(marker) = Marker::read(lines.content(line)) else { continue };
        let refuse = |problem| Err(EditError::Marker { line, problem });
        match (marker, open) {
            (Err(problem), _) => return refuse(problem),
            (Ok(Marker::Begin(name)), None) => {
                if let Some((_, first)) = closed.iter().find(|(other, _)| *other == name) {
                    return refuse(MarkerProblem::Doubled(*first));
                }
                open = Some((name, line));
            }
            (Ok(Marker::Begin(_)), Some((_, first))) => return refuse(MarkerProblem::Nested(first)),
            (Ok(Marker::End(_)), None) => return refuse(MarkerProblem::NoBegin),
            (Ok(Marker::End(name)), Some((other, first))) => {
                if name != other {
                    return refuse(MarkerProblem::OtherEnd(first));
                }
                if name == wanted.as_bytes() {
                    found = Some(Region { first, last: line });
                }
                closed.push((name, first));
                open = None;
            }
        }
    }
    match open {
        Some((_, line)) => Err(EditError::Marker { line, problem: MarkerProblem::NoEnd }),
        None => Ok(found),
    }
}

/// Nothing outside the region may belong to a section inside it: without the region it would belong to another.
fn check_borders(bytes: &[u8], region: &Region, outside: &[u8]) -> Result<(), EditError> {
    let (whole, outside) = (text(bytes)?, text(outside)?);
    let (whole, outside) = (ini::parse(&whole), ini::parse(&outside));
    let kept: Vec<_> = whole.sections.iter().filter(|section| !region.holds(section.line)).collect();
    // Without a section above it, such a line would belong to none.
    let complaints = whole.complaints.iter().filter(|complaint| !region.holds(complaint.line)).count();
    let same = kept.len() == outside.sections.len()
        && complaints == outside.complaints.len()
        && kept.iter().zip(&outside.sections).all(|(one, other)| mean_the_same(one, other));
    if same { Ok(()) } else { Err(EditError::Attached { line: region.last }) }
}

/// Whether the new file says inside the region what it should, and outside what the old one said.
fn check(
    old: &[u8],
    old_region: Option<&Region>,
    new: &[u8],
    session: &SessionName,
    profiles: &[ProfileEntry],
) -> Result<(), EditError> {
    let region = find(new, session)?;
    let (old_text, new_text) = (text(old)?, text(new)?);
    let (old, new) = (ini::parse(&old_text), ini::parse(&new_text));
    let outside = |sections: &mut dyn Iterator<Item = &Section<'_>>, region: Option<&Region>| -> Vec<usize> {
        sections
            .enumerate()
            .filter(|(_, section)| region.is_none_or(|region| !region.holds(section.line)))
            .map(|(index, _)| index)
            .collect()
    };
    let before = outside(&mut old.sections.iter(), old_region);
    let after = outside(&mut new.sections.iter(), region.as_ref());
    let same = before.len() == after.len()
        && before.iter().zip(&after).all(|(one, other)| mean_the_same(&old.sections[*one], &new.sections[*other]));
    let inside: Vec<&Section<'_>> =
        new.sections.iter().filter(|section| region.is_some_and(|region| region.holds(section.line))).collect();
    let meant =
        inside.len() == profiles.len() && inside.iter().zip(profiles).all(|(section, profile)| says(section, profile));
    if same && meant && (region.is_some() != profiles.is_empty()) { Ok(()) } else { Err(EditError::NotReadBack) }
}

fn says(section: &Section<'_>, profile: &ProfileEntry) -> bool {
    let written = section.properties.iter().map(|property| (property.key.as_ref(), property.value.as_ref()));
    profile_name(section) == Some(profile.name())
        && written.eq(profile.settings().iter().map(|setting| (setting.key(), setting.value())))
        && grant(section).as_ref() == Some(profile.grant())
}

/// What a profile of ours is for.
fn grant(section: &Section<'_>) -> Option<Grant> {
    let value = |key| section.properties.iter().rfind(|property| property.key == key).map(|found| found.value.as_ref());
    if let Some(line) = value("credential_process") {
        let Some(Ok(TargetQuery::Role { account, role, .. })) = shim::parse(line) else { return None };
        return Some(Grant::Role { account, role });
    }
    Some(Grant::Role { account: value("sso_account_id")?.parse().ok()?, role: value("sso_role_name")?.parse().ok()? })
}

fn render(session: &SessionName, profiles: &[ProfileEntry]) -> String {
    let name = encoded(session);
    let mut text = format!("{BEGIN}{name} (written by \"sso-agent configure profiles\"; edits inside are lost)\n");
    for profile in profiles {
        // Writing into a String cannot fail.
        let _ = write!(text, "\n[profile {}]\n", profile.name());
        for setting in profile.settings() {
            let _ = writeln!(text, "{} = {}", setting.key(), setting.value());
        }
    }
    let _ = write!(text, "\n{END}{name}\n");
    text
}

/// The session's name as one word.
fn encoded(session: &SessionName) -> String {
    utf8_percent_encode(session.as_str(), &ENCODED).to_string()
}

/// How every marker begins, whatever has become of it.
const ANY: &[u8] = b"# sso-agent: ";
const BEGIN: &str = "# sso-agent: begin profiles of session ";
const END: &str = "# sso-agent: end profiles of session ";
const ENCODED: AsciiSet =
    NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'/').remove(b'@').remove(b':').remove(b'+').remove(b'-');
