//! What is said to a pinentry: the Assuan protocol, as far as a question with two buttons needs it.
//!
//! Invariants: text is one argument of one line, whatever it holds; no passphrase is ever asked for; what is not a
//! clear yes is none.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout};

use super::prompt::{ASKED_FOR, Outcome, Told};

/// Asks, and hears the answer.
pub(super) fn converse(input: ChildStdin, output: ChildStdout, title: &str, text: &str) -> Told {
    Told::Outcome(talk(input, output, title, text))
}

fn talk(mut input: impl Write, output: impl Read, title: &str, text: &str) -> Outcome {
    let mut output = BufReader::new(output.take(MOST_BYTES));
    let greeting = reply(&mut output);
    if greeting != Reply::Ok {
        return Outcome::Unavailable(greeting.reason());
    }
    let seconds = ASKED_FOR.as_secs();
    for line in [
        format!("SETTITLE {}", escaped(title)),
        format!("SETDESC {}", escaped(text)),
        "SETOK Allow".to_owned(),
        "SETCANCEL Refuse".to_owned(),
        format!("SETTIMEOUT {seconds}"),
    ] {
        // One that does not know a word can still ask; one that is gone cannot.
        if let Reply::Gone = say(&mut input, &mut output, &line) {
            return Outcome::Unavailable(Reply::Gone.reason());
        }
    }
    let outcome = match say(&mut input, &mut output, "CONFIRM") {
        Reply::Ok => Outcome::Allowed,
        Reply::Error(CANCELLED | NOT_CONFIRMED, _) => Outcome::Refused,
        Reply::Error(TIMED_OUT, _) => Outcome::Unanswered,
        other => Outcome::Unavailable(other.reason()),
    };
    // It has answered; whether it hears this does not matter.
    let _ = input.write_all(b"BYE\n");
    outcome
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Ok,
    /// The code without its source, and the words.
    Error(u32, String),
    Gone,
}

impl Reply {
    fn reason(&self) -> String {
        match self {
            Self::Error(_, words) => words.clone(),
            Self::Ok | Self::Gone => "it ended without an answer".to_owned(),
        }
    }
}

fn say(input: &mut impl Write, output: &mut impl BufRead, line: &str) -> Reply {
    if input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush()).is_err() {
        return Reply::Gone;
    }
    reply(output)
}

fn reply(output: &mut impl BufRead) -> Reply {
    loop {
        let mut line = Vec::new();
        match output.read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Reply::Gone,
        }
        let line = String::from_utf8_lossy(&line);
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        match word {
            "OK" => return Reply::Ok,
            "ERR" => {
                let (code, words) = rest.split_once(' ').unwrap_or((rest, ""));
                let code = code.parse::<u32>().unwrap_or_default() & CODE;
                return Reply::Error(code, words.to_owned());
            }
            // Status, comments, and what there may be besides.
            _ => {}
        }
    }
}

/// One argument: every byte that means something to the protocol as `%XX`.
fn escaped(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if character == '%' || character.is_ascii_control() {
            // Writing to a string cannot fail.
            let _ = write!(line, "%{:02X}", u32::from(character));
        } else {
            line.push(character);
        }
        if line.len() > LONGEST {
            line.push('…');
            break;
        }
    }
    line
}

/// libgpg-error: the low half of the number.
const CODE: u32 = 0xffff;
const TIMED_OUT: u32 = 62;
const CANCELLED: u32 = 99;
const NOT_CONFIRMED: u32 = 114;
/// A line has 1000 bytes.
const LONGEST: usize = 900;
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answers: &str) -> (Outcome, String) {
        let mut heard = Vec::new();
        let outcome = talk(&mut heard, answers.as_bytes(), "t\n1", "50% of\r\nSETOK x");
        (outcome, String::from_utf8(heard).unwrap())
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        let polite =
            "OK Pleased to meet you\n# a comment\nOK\nOK\nERR 536871187 Unknown IPC command\nS STATUS x\nOK\nOK\n";
        for (answer, expected) in [
            ("OK\n", Outcome::Allowed),
            ("ERR 83886179 Operation cancelled <Pinentry>\n", Outcome::Refused),
            ("ERR 83886194 Not confirmed <Pinentry>\n", Outcome::Refused),
            ("ERR 83886142 Timeout <Pinentry>\n", Outcome::Unanswered),
            ("ERR 83918950 No terminal\n", Outcome::Unavailable("No terminal".to_owned())),
            ("D yes\n", Outcome::Unavailable("it ended without an answer".to_owned())),
            ("", Outcome::Unavailable("it ended without an answer".to_owned())),
        ] {
            assert_eq!(said(&format!("{polite}{answer}")).0, expected, "{answer}");
        }
        assert!(matches!(said("ERR 1 no\n").0, Outcome::Unavailable(_)));
        assert!(matches!(said("").0, Outcome::Unavailable(_)));
    }

    #[test]
    fn text_is_one_argument_of_one_line() {
        let (_, heard) = said("OK\nOK\nOK\nOK\nOK\nOK\nOK\n");
        let lines: Vec<&str> = heard.lines().collect();
        assert_eq!(lines[..2], ["SETTITLE t%0A1", "SETDESC 50%25 of%0D%0ASETOK x"]);
        assert_eq!(lines[2..], ["SETOK Allow", "SETCANCEL Refuse", "SETTIMEOUT 60", "CONFIRM", "BYE"]);
        assert!(escaped(&"ü".repeat(2000)).len() < 1000);
    }
}
