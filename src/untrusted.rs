//! Text that somebody else wrote: the service, a configuration file, a request.
//!
//! Owns: making such text safe to look at. Refuses to know where it is shown. Invariant: [`Untrusted`] has
//! no `Display`; its one printer replaces everything that could steer a terminal, hide text or start a new
//! log line, and cuts at 512 characters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text from outside that must be cleaned before a person or a log sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted(String);

impl Untrusted {
    /// Wraps a text as it came.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it came, for machines only (a JSON answer, a comparison).
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as a person may see it.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        Shown(&self.0)
    }
}

/// A foreign text made safe for terminals and logs, see [`Untrusted::shown`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(&'a str);

/// Cleans a text that is not wrapped, such as a request's path.
#[must_use]
pub fn shown(text: &str) -> Shown<'_> {
    Shown(text)
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for (count, character) in self.0.chars().enumerate() {
            if count == MOST_CHARACTERS {
                return formatter.write_char('…');
            }
            formatter.write_char(if is_harmless(character) { character } else { REPLACEMENT })?;
        }
        Ok(())
    }
}

fn is_harmless(character: char) -> bool {
    // C0, DEL, C1; line and paragraph separators; bidirectional and zero-width controls; the BOM; tags.
    !character.is_control()
        && !matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

const MOST_CHARACTERS: usize = 512;
const REPLACEMENT: char = '\u{fffd}';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_or_a_log_is_shown() {
        let hostile = "a\x1b]52;c;eA==\x07b\r\nc\u{9b}31md\u{202e}e\u{200b}f\u{2028}g\x7f";
        let shown = Untrusted::new(hostile).shown().to_string();
        assert!(shown.chars().all(is_harmless), "{shown:?}");
        assert!(shown.starts_with("a\u{fffd}]52;c;eA=="));
    }

    #[test]
    fn a_long_text_is_cut_and_an_ordinary_one_is_not_touched() {
        assert_eq!(Untrusted::new("é".repeat(600)).shown().to_string(), format!("{}…", "é".repeat(512)));
        assert_eq!(Untrusted::new("No access, größer").shown().to_string(), "No access, größer");
    }
}
