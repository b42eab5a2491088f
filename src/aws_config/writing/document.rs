//! A file as lines of bytes, beside what our reader makes of it.
//!
//! Owns: line numbers as byte ranges, the style of line ends, and comparing two files by what they mean.

use std::borrow::Cow;
use std::ops::Range;

use super::EditError;
use crate::aws_config::ini::{self, Property, Section};
use crate::aws_config::sections::Header;

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
        // The mark stands before the first line.
        let first = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Self { bytes, starts: std::iter::once(first).chain(ends).collect() }
    }

    /// The range of a line, counted from 1, with its end.
    pub(super) fn range(&self, line: usize) -> Range<usize> {
        let end = self.starts.get(line).copied().unwrap_or(self.bytes.len());
        self.starts.get(line - 1).copied().unwrap_or(end)..end
    }

    /// A line without its end.
    pub(super) fn content(&self, line: usize) -> &'a [u8] {
        let whole = &self.bytes[self.range(line)];
        let content = whole.strip_suffix(b"\n").unwrap_or(whole);
        content.strip_suffix(b"\r").unwrap_or(content)
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }
}

/// How the file's first line ends, which is how its lines end.
pub(super) fn line_end(bytes: &[u8]) -> &'static [u8] {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.ends_with(b"\r") { b"\r\n" } else { b"\n" }
}

/// The file, and an empty line, so that something can be written after it.
pub(super) fn with_room_at_the_end(bytes: &[u8]) -> Vec<u8> {
    let end = line_end(bytes);
    let mut file = bytes.to_vec();
    let is_empty = |bytes: &[u8]| bytes.is_empty() || bytes == BYTE_ORDER_MARK;
    if !is_empty(&file) && !file.ends_with(b"\n") {
        file.extend_from_slice(if file.ends_with(b"\r") { b"\n" } else { end });
    }
    let last = file.strip_suffix(b"\n").map(|rest| rest.rsplit(|byte| *byte == b'\n').next().unwrap_or(rest));
    if last.is_some_and(|last| !last.trim_ascii().is_empty()) {
        file.extend_from_slice(end);
    }
    file
}

/// The file as text.
pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, EditError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(EditError::Utf16);
    }
    Ok(ini::decode(bytes).0)
}

/// Whether a section is the `[sso-session]` of that name.
pub(super) fn is_session(section: &Section<'_>, name: &str) -> bool {
    matches!(Header::parse(section.header), Header::SsoSession(other) if other == name)
}

/// The name of the profile that a section of the config file is.
pub(super) fn profile_name<'a>(section: &Section<'a>) -> Option<&'a str> {
    match Header::parse(section.header) {
        Header::Profile(name) => Some(name),
        Header::Default => Some("default"),
        _ => None,
    }
}

/// Whether two sections are the same but for their place.
pub(super) fn mean_the_same(one: &Section<'_>, other: &Section<'_>) -> bool {
    one.header == other.header && same_properties(&one.properties, &other.properties)
}

fn same_properties(one: &[Property<'_>], other: &[Property<'_>]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            one.key == other.key && one.value == other.value && same_properties(&one.children, &other.children)
        })
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
