//! The INI dialect of the AWS SDKs.
//!
//! Owns: what a line is. Refuses to know what sections and keys mean. Invariant: any bytes can be read, in one pass; a
//! line that cannot be read is a [`Complaint`] with its number and costs that line only, except an unreadable section
//! header, which also costs the lines under it (they must not be taken for those of the section above).
//!
//! The SDKs differ; what any of them reads is read here. Where they read different things:
//! - ` # c` and ` ; c` after a value are comments (botocore keeps them in the value).
//! - A line indented more than the property above continues it, as in botocore and Rust (JS takes it for a property
//!   of its own); after `key =` with nothing behind it, such lines are sub-properties, one level deep.
//! - A line of the form `[…]` is a header however it is indented (botocore takes it for a continuation).
//! - A repeated key or section adds to the first, the last value counts (botocore refuses the file).
//! - Quotes around a value are part of it (Go strips them).
//! - Blank lines within a value are left out, and a carriage return alone ends no line (botocore keeps the one and
//!   knows the other).
//!
//! `agreement_tests` holds all of this against botocore.

use std::borrow::Cow;

use super::work;

/// A file, read.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    pub(super) sections: Vec<Section<'a>>,
    pub(super) complaints: Vec<Complaint>,
}

/// A header and what stands under it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// What stands between the brackets, trimmed.
    pub(super) header: &'a str,
    pub(super) line: usize,
    pub(super) properties: Vec<Property<'a>>,
}

/// `key = value`.
#[derive(Debug)]
pub(super) struct Property<'a> {
    /// Lower-cased.
    pub(super) key: Cow<'a, str>,
    /// Trimmed; the lines of a continued value are separated by line feeds.
    pub(super) value: Cow<'a, str>,
    pub(super) line: usize,
    /// Sub-properties: the indented lines under `key =`.
    pub(super) children: Vec<Property<'a>>,
}

/// A line that could not be read as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) line: usize,
    pub(super) message: &'static str,
}

impl Complaint {
    /// Whether something that was written does not count.
    pub(super) fn is_a_loss(&self) -> bool {
        ![TEXT_IGNORED, CONTINUES].contains(&self.message)
    }
}

/// The text of a file. Bytes that are not UTF-8 are replaced, line by line, with a complaint for each such line.
pub(super) fn decode(bytes: &[u8]) -> (Cow<'_, str>, Vec<Complaint>) {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return (Cow::Borrowed(""), vec![Complaint { line: 1, message: UTF_16 }]);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let complaints = match text {
        Cow::Borrowed(_) => Vec::new(),
        Cow::Owned(_) => numbered(bytes.split(|byte| *byte == b'\n'))
            .filter(|(_, line)| str::from_utf8(line).is_err())
            .map(|(line, _)| Complaint { line, message: "not UTF-8: the bytes that cannot be read were replaced" })
            .collect(),
    };
    (text, complaints)
}

/// Reads a file's text.
pub(super) fn parse(text: &str) -> Document<'_> {
    let mut reader = Reader { document: Document::default(), section: Under::NoHeader, above: Above::Nothing };
    for (number, line) in numbered(text.split('\n')) {
        reader.read(number, line);
    }
    reader.document
}

struct Reader<'a> {
    document: Document<'a>,
    section: Under,
    above: Above,
}

/// Which header the line stands under.
enum Under {
    NoHeader,
    Unreadable,
    /// The last of the document's sections.
    Section,
}

/// What an indented line would belong to, and how far that is indented itself.
enum Above {
    Nothing,
    Unreadable {
        indent: usize,
    },
    /// The last of the section's properties.
    Property {
        indent: usize,
    },
}

impl<'a> Reader<'a> {
    fn read(&mut self, number: usize, line: &'a str) {
        work::did(1 + line.len());
        let indent = line.len() - line.trim_start().len();
        let text = without_comment(line).trim();
        if text.is_empty() {
            return;
        }
        if text.starts_with('[') {
            return self.header(number, indent, text);
        }
        let section = match self.section {
            Under::NoHeader => return self.complain(number, "before the first section header: left out"),
            Under::Unreadable => return,
            Under::Section => self.document.sections.last_mut(),
        };
        let Some(section) = section else { return };
        match (&self.above, section.properties.last_mut()) {
            (Above::Unreadable { indent: above }, _) if indent > *above => {
                self.complain(number, "belongs to a line that cannot be read: left out");
            }
            (Above::Property { indent: above }, Some(property)) if indent > *above => {
                if let Some(message) = property.take_in(number, text) {
                    self.complain(number, message);
                }
            }
            _ => match Property::parse(number, text, &['=', ':']) {
                Some(property) => {
                    section.properties.push(property);
                    self.above = Above::Property { indent };
                }
                None => {
                    self.above = Above::Unreadable { indent };
                    self.complain(number, NOT_A_PROPERTY);
                }
            },
        }
    }

    fn header(&mut self, number: usize, indent: usize, text: &'a str) {
        let Some((header, rest)) = header(text) else {
            if indent > 0 {
                return self.complain(number, "neither a section header nor `key = value`: left out");
            }
            self.section = Under::Unreadable;
            return self.complain(number, "a section header that cannot be read: left out, with the lines under it");
        };
        if !rest.is_empty() && !rest.starts_with(['#', ';']) {
            self.complain(number, TEXT_IGNORED);
        }
        self.document.sections.push(Section { header, line: number, properties: Vec::new() });
        self.section = Under::Section;
        self.above = Above::Nothing;
    }

    fn complain(&mut self, line: usize, message: &'static str) {
        self.document.complaints.push(Complaint { line, message });
    }
}

impl<'a> Property<'a> {
    fn parse(line: usize, text: &'a str, delimiters: &[char]) -> Option<Self> {
        let (key, value) = text.split_once(delimiters)?;
        let key = key.trim_end();
        let key = if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(key.to_ascii_lowercase())
        } else {
            Cow::Borrowed(key)
        };
        (!key.is_empty()).then(|| Self { key, value: Cow::Borrowed(value.trim()), line, children: Vec::new() })
    }

    /// Takes in an indented line under this property; says what is to be said about it.
    fn take_in(&mut self, line: usize, text: &'a str) -> Option<&'static str> {
        if self.value.is_empty() {
            let Some(child) = Property::parse(line, text, &['=']) else { return Some(NOT_A_PROPERTY) };
            self.children.push(child);
            return None;
        }
        if let Cow::Borrowed(value) = self.value {
            work::did(value.len());
        }
        let value = self.value.to_mut();
        value.push('\n');
        value.push_str(text);
        looks_like_a_property(text).then_some(CONTINUES)
    }
}

/// What stands between the brackets, and what stands after them.
fn header(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('[')?;
    let mut quote = None;
    let end = inside
        .char_indices()
        .find(|(_, character)| match (quote, character) {
            (None, '"' | '\'') => {
                quote = Some(*character);
                false
            }
            (Some(open), _) => {
                if *character == open {
                    quote = None;
                }
                false
            }
            (None, _) => *character == ']',
        })
        .map(|(index, _)| index)
        // An apostrophe that opens nothing.
        .or_else(|| inside.find(']'))?;
    Some((inside[..end].trim(), inside[end + 1..].trim_start()))
}

/// The line up to a `#` or `;` that stands at its start or after white space.
fn without_comment(line: &str) -> &str {
    line.match_indices(['#', ';'])
        .find(|(index, _)| line[..*index].chars().next_back().is_none_or(char::is_whitespace))
        .map_or(line, |(index, _)| &line[..index])
}

fn looks_like_a_property(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim_end();
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn numbered<T>(lines: impl Iterator<Item = T>) -> impl Iterator<Item = (usize, T)> {
    (1..).zip(lines)
}

const UTF_16: &str = "the file is UTF-16, which no AWS tool reads: save it as UTF-8";
const TEXT_IGNORED: &str = "there is text after the section header: ignored";
const CONTINUES: &str = "indented, so it continues the value above instead of setting a key";
const NOT_A_PROPERTY: &str = "not of the form `key = value`: left out";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "[a-z_]{1,12}";
    const VALUE: &str = "[A-Za-z0-9/:.=+@-]{1,20}";

    fn flat(text: &str) -> Vec<(String, String, String, usize)> {
        let mut rows = Vec::new();
        for section in parse(text).sections {
            for property in section.properties {
                let row = |key: &str, value: &str, line| (section.header.into(), key.into(), value.into(), line);
                rows.push(row(&property.key, &property.value, property.line));
                for child in property.children {
                    rows.push(row(&format!("{}.{}", property.key, child.key), &child.value, child.line));
                }
            }
        }
        rows
    }

    fn complaints(text: &str) -> Vec<usize> {
        parse(text).complaints.into_iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn sub_properties_are_read_one_level_deep_with_their_lines() {
        let text =
            "[services s]\nsso =\n  endpoint_url = http://a\n\n  # c\n  x = y\nsso_oidc =\n  endpoint_url = http://b\n";
        let rows = flat(text);
        assert_eq!(rows[1], ("services s".into(), "sso.endpoint_url".into(), "http://a".into(), 3));
        assert_eq!(rows[2], ("services s".into(), "sso.x".into(), "y".into(), 6));
        assert_eq!(rows[4], ("services s".into(), "sso_oidc.endpoint_url".into(), "http://b".into(), 8));
        assert_eq!(complaints(text), Vec::<usize>::new());
    }

    #[test]
    fn an_indented_line_continues_the_value_above() {
        assert_eq!(flat("[a]\nk = a,\n    b\nl = c")[0].2, "a,\nb");
        assert_eq!(complaints("[a]\nk = a,\n    b\n"), Vec::<usize>::new());
        assert_eq!(complaints("[a]\nregion = x\n  sso_session = y\n"), [3]);
    }

    #[test]
    fn lines_that_are_indented_alike_are_properties() {
        let rows = flat("[a]\n  k = 1\n  l = 2\n m = 3\nn = 4\n");
        assert_eq!(rows.iter().map(|row| row.1.as_str()).collect::<Vec<_>>(), ["k", "l", "m", "n"]);
    }

    #[test]
    fn an_unreadable_header_does_not_give_its_lines_to_the_section_above() {
        let text = "[a]\nk = 1\n[b\nk = 2\n[c]\nk = 3\n";
        assert_eq!(flat(text).iter().map(|row| row.2.as_str()).collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(complaints(text), [3]);
    }

    #[test]
    fn what_is_indented_under_an_unreadable_line_is_not_taken_for_something_else() {
        let text = "[profile a]\ns3\n  endpoint_url = http://elsewhere\nk = 1\n";
        assert_eq!(flat(text).len(), 1);
        assert_eq!(complaints(text), [2, 3]);
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let text = "x = 1\n[a]\ngarbage\n= 2\nk = 3\n[b] trailing\nl = 4\n";
        assert_eq!(flat(text).len(), 2);
        assert_eq!(complaints(text), [1, 3, 4, 6]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_cost_their_line() {
        let (text, complaints) = decode(b"[a]\nk = \xff\xfe\nl = 1\n\xc3");
        assert_eq!(complaints.iter().map(|complaint| complaint.line).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(flat(&text)[1].2, "1");
        assert_eq!(decode(b"\xff\xfe[\0a\0]\0").1.len(), 1);
        assert_eq!(decode(b"\xef\xbb\xbf[a]").0, "[a]");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read_and_lines_are_lines_of_the_file(
            bytes in proptest::collection::vec(
                prop_oneof![proptest::sample::select(b"[]=:#; \t\r\n\n\"'ak\xff\xc3".to_vec()), any::<u8>()], 0..400)
        ) {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            let (text, replaced) = decode(&bytes);
            let document = parse(&text);
            let mut last = 0;
            for section in &document.sections {
                prop_assert!((1..=lines).contains(&section.line) && section.line > last);
                last = section.line;
                for property in &section.properties {
                    prop_assert!(property.line > last && property.line <= lines);
                    last = property.line;
                    for child in &property.children {
                        prop_assert!(child.line > last && child.line <= lines);
                        last = child.line;
                    }
                }
            }
            for complaint in document.complaints.iter().chain(&replaced) {
                prop_assert!((1..=lines).contains(&complaint.line));
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            sections in proptest::collection::vec(
                ("[a-z][a-z0-9-]{0,8}", proptest::collection::vec((KEY, VALUE), 0..6)), 0..6),
            newline in proptest::sample::select(vec!["\n", "\r\n"]),
            equals in proptest::sample::select(vec!["=", " = ", "  =\t", ": "]),
        ) {
            let mut text = String::new();
            let mut written = Vec::new();
            let mut line = 0;
            for (name, properties) in &sections {
                line += 1;
                text += &format!("[profile {name}]{newline}");
                for (key, value) in properties {
                    line += 1;
                    text += &format!("{key}{equals}{value}{newline}");
                    written.push((format!("profile {name}"), key.clone(), value.clone(), line));
                }
            }
            prop_assert_eq!(flat(&text), written);
            prop_assert_eq!(complaints(&text), Vec::<usize>::new());
        }
    }
}
