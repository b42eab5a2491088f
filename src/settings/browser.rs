//! `browser`: the command that shows a page to the user of one session.
//!
//! Owns: what is an acceptable command, and where the page's address goes in it. Invariant: the address is always one
//! whole argument, and no shell ever sees it.

use std::fmt;
use std::str::FromStr;

use crate::shell_words::split;

/// A program and its arguments, split once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserCommand(Vec<String>);

impl BrowserCommand {
    /// The words as they are written: the program first, `{url}` where the address goes.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for BrowserCommand {
    type Err = BrowserError;

    fn from_str(text: &str) -> Result<Self, BrowserError> {
        if text.chars().any(char::is_control) {
            return Err(BrowserError::ControlCharacter);
        }
        let words = split(text).ok_or(BrowserError::OpenQuote)?;
        let Some(program) = words.first().filter(|program| !program.is_empty()) else {
            return Err(BrowserError::Empty);
        };
        if words.iter().any(|word| word.contains(PLACE) && word != PLACE) || program == PLACE {
            return Err(BrowserError::PlaceInAWord);
        }
        let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
        if ["cmd", "cmd.exe"].iter().any(|interpreter| name.eq_ignore_ascii_case(interpreter)) {
            return Err(BrowserError::CommandInterpreter);
        }
        Ok(Self(words))
    }
}

/// Where the address goes; without it, at the end.
pub const PLACE: &str = "{url}";

/// Why a text cannot be a browser's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrowserError {
    /// It has no word.
    Empty,
    /// A quote is not closed.
    OpenQuote,
    /// It has a character that is none.
    ControlCharacter,
    /// `{url}` is not a word of its own, or is the program.
    PlaceInAWord,
    /// `cmd.exe` makes commands of what is in an address.
    CommandInterpreter,
}

impl fmt::Display for BrowserError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "empty: it takes a program and its arguments, such as \"firefox -P work\"",
            Self::OpenQuote => "not a command: a quote is not closed",
            Self::ControlCharacter => "not a command: it has a control character",
            Self::PlaceInAWord => "not a command: {url} stands for one whole argument, not for a part of one",
            Self::CommandInterpreter => "not a browser: cmd.exe would read commands in an address; use wslview",
        })
    }
}

impl std::error::Error for BrowserError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, BrowserError> {
        text.parse::<BrowserCommand>().map(|command| command.0)
    }

    #[test]
    fn a_command_is_split_once_and_nothing_in_it_is_expanded() {
        assert_eq!(words("firefox -P work").unwrap(), ["firefox", "-P", "work"]);
        assert_eq!(words("'/opt/my browser' --app {url} '$HOME ~'").unwrap()[1..], ["--app", "{url}", "$HOME ~"]);
    }

    #[test]
    fn a_command_that_could_take_the_address_apart_is_refused() {
        for (text, error) in [
            ("", BrowserError::Empty),
            (" ", BrowserError::Empty),
            ("'' x", BrowserError::Empty),
            ("firefox 'x", BrowserError::OpenQuote),
            ("firefox\u{1b}", BrowserError::ControlCharacter),
            ("firefox --url={url}", BrowserError::PlaceInAWord),
            ("{url}", BrowserError::PlaceInAWord),
            ("cmd.exe /c start", BrowserError::CommandInterpreter),
            ("/mnt/c/Windows/System32/CMD.EXE /c start", BrowserError::CommandInterpreter),
        ] {
            assert_eq!(words(text), Err(error), "{text:?}");
        }
    }
}
