//! One `[sso-session]`: what it says, and how it is made to say something else.
//!
//! Owns: changing values in place, and where a new key or a new section goes. Invariant: other keys, comments and the
//! order of lines stay.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::document::{Lines, is_session, line_end, mean_the_same, text, with_room_at_the_end};
use super::entry::{Setting, Unwritable, new_session_name};
use super::error::EditError;
use crate::aws_config::ini::{self, Document, Property, Section};
use crate::aws_config::sections::Header;
use crate::ids::Region;

/// What is written of a session; `None` for a key that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionText {
    /// `sso_start_url`.
    pub start_url: Option<String>,
    /// `sso_region`.
    pub region: Option<String>,
    /// `sso_registration_scopes`.
    pub scopes: Option<String>,
}

/// What the file says of a session; `None` if it has no section of that name.
///
/// # Errors
/// The file is no text.
pub fn session_text(bytes: &[u8], name: &str) -> Result<Option<SessionText>, EditError> {
    let text = text(bytes)?;
    let document = ini::parse(&text);
    let sections: Vec<&Section<'_>> = of_session(&document, name).collect();
    let value = |key| last(&sections, key).map(|property| property.value.clone().into_owned());
    Ok((!sections.is_empty()).then(|| SessionText {
        start_url: value("sso_start_url"),
        region: value("sso_region"),
        scopes: value("sso_registration_scopes"),
    }))
}

/// The `region` of the default profile, if it has a legal one.
#[must_use]
pub fn default_region(bytes: &[u8]) -> Option<Region> {
    let text = text(bytes).ok()?;
    let document = ini::parse(&text);
    let of = |prefixed: bool| {
        let sections: Vec<&Section<'_>> = document
            .sections
            .iter()
            .filter(|section| match Header::parse(section.header) {
                Header::Profile(name) => prefixed && name == "default",
                Header::Default => !prefixed,
                _ => false,
            })
            .collect();
        last(&sections, "region").and_then(|property| property.value.parse().ok())
    };
    of(true).or_else(|| of(false))
}

/// The file in which the session has these settings. A section that is there keeps everything else; else one is added
/// at the end.
///
/// # Errors
/// See [`EditError`]; [`Unwritable`] if the section is new and its name is not one to be written.
pub fn set_session(bytes: &[u8], name: &str, settings: &[Setting]) -> Result<Result<Vec<u8>, EditError>, Unwritable> {
    let old = match text(bytes) {
        Ok(old) => old,
        Err(error) => return Ok(Err(error)),
    };
    let document = ini::parse(&old);
    let sections: Vec<&Section<'_>> = of_session(&document, name).collect();
    let new = match sections.last() {
        None => {
            new_session_name(name)?;
            Ok(append(bytes, name, settings))
        }
        Some(last) => update(bytes, &sections, last, settings),
    };
    Ok(new.and_then(|new| check(&document, &new, name, settings).map(|()| new)))
}

fn of_session<'d, 'a>(document: &'d Document<'a>, name: &'d str) -> impl Iterator<Item = &'d Section<'a>> {
    document.sections.iter().filter(move |section| is_session(section, name))
}

/// The property that counts.
fn last<'d, 'a>(sections: &[&'d Section<'a>], key: &str) -> Option<&'d Property<'a>> {
    sections.iter().flat_map(|section| &section.properties).rfind(|property| property.key == key)
}

fn append(bytes: &[u8], name: &str, settings: &[Setting]) -> Vec<u8> {
    let end = line_end(bytes);
    let mut file = with_room_at_the_end(bytes);
    file.extend_from_slice(format!("[sso-session {name}]").as_bytes());
    file.extend_from_slice(end);
    for setting in settings {
        file.extend_from_slice(format!("{} = {}", setting.key(), setting.value()).as_bytes());
        file.extend_from_slice(end);
    }
    file
}

fn update(
    bytes: &[u8],
    sections: &[&Section<'_>],
    newest: &Section<'_>,
    settings: &[Setting],
) -> Result<Vec<u8>, EditError> {
    let lines = Lines::of(bytes);
    let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    let mut missing = Vec::new();
    for setting in settings {
        match last(sections, setting.key()) {
            Some(property) if property.value == setting.value() && property.children.is_empty() => {}
            Some(property) => changes.push(in_place(&lines, property, setting)?),
            None => missing.push(setting),
        }
    }
    if !missing.is_empty() {
        changes.push(below_the_header(bytes, &lines, newest.line, &missing));
    }
    changes.sort_by_key(|(range, _)| range.start);
    let mut file = bytes.to_vec();
    for (range, replacement) in changes.into_iter().rev() {
        file.splice(range, replacement);
    }
    Ok(file)
}

/// Where the value of a property stands, and what goes there.
fn in_place(
    lines: &Lines<'_>,
    property: &Property<'_>,
    setting: &Setting,
) -> Result<(Range<usize>, Vec<u8>), EditError> {
    let refuse = EditError::Value { line: property.line, key: setting.key() };
    if !property.children.is_empty() || property.value.contains('\n') {
        return Err(refuse);
    }
    let content = lines.content(property.line);
    let begin = lines.range(property.line).start;
    let delimiter = content.iter().position(|byte| matches!(byte, b'=' | b':')).ok_or_else(|| refuse.clone())?;
    let after = delimiter + 1;
    if property.value.is_empty() {
        return Ok((begin + after..begin + after, format!(" {}", setting.value()).into_bytes()));
    }
    let space = content[after..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let value = after + space..after + space + property.value.len();
    if content.get(value.clone()) != Some(property.value.as_bytes()) {
        return Err(refuse);
    }
    Ok((begin + value.start..begin + value.end, setting.value().as_bytes().to_vec()))
}

/// New keys go below the header, indented as what stands there: a line that is indented less would make it a part of
/// the value above.
fn below_the_header(bytes: &[u8], lines: &Lines<'_>, header: usize, settings: &[&Setting]) -> (Range<usize>, Vec<u8>) {
    let meaningful = |line: &usize| {
        let content = lines.content(*line).trim_ascii_start();
        !content.is_empty() && !content.starts_with(b"#") && !content.starts_with(b";")
    };
    let next = (header + 1..=lines.count()).find(meaningful).map(|line| lines.content(line)).unwrap_or_default();
    let indent = if next.trim_ascii_start().starts_with(b"[") { 0 } else { next.len() - next.trim_ascii_start().len() };
    let range = lines.range(header);
    let whole = &bytes[range.clone()];
    let end: &[u8] = match whole {
        [.., b'\r', b'\n'] => b"\r\n",
        [.., b'\n'] => b"\n",
        _ => line_end(bytes),
    };
    let mut new = Vec::new();
    if !whole.ends_with(b"\n") {
        new.extend_from_slice(end);
    }
    for setting in settings {
        new.extend_from_slice(&next[..indent]);
        new.extend_from_slice(format!("{} = {}", setting.key(), setting.value()).as_bytes());
        new.extend_from_slice(end);
    }
    (range.end..range.end, new)
}

/// Whether the new file says of the session what it should, and of everything else what the old one said.
fn check(old: &Document<'_>, new: &[u8], name: &str, settings: &[Setting]) -> Result<(), EditError> {
    let text = text(new)?;
    let new = ini::parse(&text);
    let (before, after) = (others(old, name), others(&new, name));
    let same = before.len() == after.len() && before.iter().zip(&after).all(|(one, other)| mean_the_same(one, other));
    let mut expected = keys(old, name);
    expected.extend(settings.iter().map(|setting| (setting.key().into(), setting.value().into())));
    if same && keys(&new, name) == expected && old.complaints.len() == new.complaints.len() {
        Ok(())
    } else {
        Err(EditError::NotReadBack)
    }
}

fn others<'d, 'a>(document: &'d Document<'a>, name: &str) -> Vec<&'d Section<'a>> {
    document.sections.iter().filter(|section| !is_session(section, name)).collect()
}

fn keys<'d>(document: &'d Document<'_>, name: &'d str) -> BTreeMap<Cow<'d, str>, Cow<'d, str>> {
    let properties = of_session(document, name).flat_map(|section| &section.properties);
    properties.map(|property| (property.key.as_ref().into(), property.value.as_ref().into())).collect()
}
