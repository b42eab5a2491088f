//! A real shell makes of the lines that `credentials` prints what they say, whatever the values are.

use std::io::Write;
use std::process::{Command, Stdio};

use super::credentials::{Format, format};
use crate::api::CredentialDocument;
use crate::fuzzing::dice::Dice;
use crate::secret::Secret;
use crate::time::Timestamp;

#[test]
fn a_shell_evaluates_the_lines_to_the_values_that_went_in() {
    let mut dice = Dice::new();
    let (mut script, mut expected, mut refused) = (String::new(), String::new(), 0);
    for round in 0..600 {
        let mut document = document(&mut dice);
        let strange = round % 2 == 1;
        if strange {
            let secret = with_one_more(document.session_token.expose(), &mut dice);
            document.session_token = Secret::new(secret);
        }
        for kind in [Format::Env, Format::EnvNoExport] {
            let Ok(lines) = format(kind, &document) else {
                assert!(strange, "an ordinary set is written");
                refused += 1;
                continue;
            };
            script += "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CREDENTIAL_EXPIRATION\n";
            script += &format!("eval '{}'\n", lines.expose());
            script += "printf '%s\\n' \"$AWS_ACCESS_KEY_ID\" \"$AWS_SECRET_ACCESS_KEY\" \"$AWS_SESSION_TOKEN\"\n";
            for value in [&document.access_key_id, document.secret_access_key.expose(), document.session_token.expose()]
            {
                assert!(!value.contains(['\'', '\n']), "it would end the word it stands in");
                expected += &format!("{value}\n");
            }
        }
    }
    assert!(refused > 100, "{refused}: a strange character is refused");
    assert_eq!(sh(&script), expected);
}

#[test]
fn what_is_exported_reaches_the_programs_of_the_shell() {
    let lines = format(Format::Env, &document(&mut Dice::new())).unwrap();
    let seen = sh(&format!("{}/usr/bin/env\n", lines.expose()));
    for line in lines.expose().lines().filter_map(|line| line.strip_prefix("export ")) {
        assert!(seen.lines().any(|seen| seen == line), "{seen}");
    }
}

/// Of what a service sends: letters and digits, and the punctuation of base64.
fn document(dice: &mut Dice) -> CredentialDocument {
    let mut text = |alphabet: &[u8], least: usize, most: usize| {
        let length = least + dice.below(most - least + 1);
        (0..length).map(|_| char::from(*dice.pick(alphabet))).collect::<String>()
    };
    CredentialDocument {
        version: 1,
        access_key_id: text(b"ABCXYZ0189", 16, 128),
        secret_access_key: Secret::new(text(b"abzABZ019+/=_-", 1, 40)),
        session_token: Secret::new(text(b"aZ0+/=_-", 1, 400)),
        expiration: Timestamp::from_millis(i64::try_from(dice.below(usize::MAX / 2)).unwrap()),
        account_id: None,
    }
}

fn with_one_more(text: &str, dice: &mut Dice) -> String {
    let strange = *dice.pick(&[
        ' ', '$', '`', '"', '\'', '\\', ';', '&', '|', '<', '>', '(', ')', '*', '?', '[', '~', '#', '!', '%', '{',
        '\n', '\r', '\t', '\0', '\u{7f}', 'é', '\u{a0}', '=', '-', ':', ',', '.', '@', '^',
    ]);
    let mut text: Vec<char> = text.chars().collect();
    text.insert(dice.below(text.len() + 1), strange);
    text.into_iter().collect()
}

fn sh(script: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.arg("-s").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = command.spawn().unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    let script = script.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(script.as_bytes()).unwrap());
    let output = shell.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}
