//! `storage`: where the key to the stored secrets is, and what can be done about it.
//!
//! Owns: the words for each place, which promise no more than it keeps. Refuses to know how a key is kept.

use std::fmt::Write;

use clap::{Args, Subcommand};

use crate::api::{Request, StorageReport, StorageStatus};
use crate::client::Reply;
use crate::untrusted::shown;

use super::context::{BRIEFLY, Context, NETWORK, read};
use super::failure::Failure;
use super::paint::Paint;
use super::passphrase;

/// See how the stored sign-ins are protected, unlock them, or move their key elsewhere
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Show where the key is, what it protects against, what is stored and what is awaited
    Status {
        /// Print the agent's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Give the agent the key: it asks the keyring once more, or you type the passphrase
    #[command(after_help = ABOUT_PASSPHRASES)]
    Unlock {
        /// Print the agent's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Seal everything with a new key that is kept elsewhere, and remove the old one
    #[command(after_help = ABOUT_PASSPHRASES)]
    Migrate {
        /// The place for the new key
        #[arg(long, value_name = "PLACE", value_parser = PLACES)]
        to: String,
        /// Print the agent's answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    match &options.command {
        Command::Status { json } => {
            let reply = context.ask(&Request::Storage, NETWORK)?;
            answer(&reply, *json, None, context)
        }
        Command::Unlock { json } => unlock(*json, context),
        Command::Migrate { to, json } => migrate(to, *json, context),
    }
}

fn unlock(json: bool, context: &mut Context<'_>) -> Result<(), Failure> {
    let before = context.ask(&Request::Storage, BRIEFLY)?;
    let StorageReport { status, decided, .. } = read(&before)?;
    if status.available {
        return answer(&before, json, Some("the key is available already"), context);
    }
    let passphrase = match (status.key.as_str(), decided) {
        (PASSPHRASE, true) => Some(passphrase::existing(context)?),
        (PASSPHRASE, false) => Some(passphrase::chosen(context)?),
        _ => None,
    };
    let request = Request::UnlockStorage { passphrase };
    let reply = context.ask_slowly(&request, NETWORK, "waiting for the key")?;
    answer(&reply, json, Some("unlocked"), context)
}

fn migrate(to: &str, json: bool, context: &mut Context<'_>) -> Result<(), Failure> {
    let passphrase = (to == PASSPHRASE).then(|| passphrase::chosen(context)).transpose()?;
    let request = Request::MigrateStorage { to: to.to_owned(), passphrase };
    let reply = context.ask_slowly(&request, NETWORK, "sealing everything with a new key")?;
    answer(&reply, json, Some("everything is sealed with a new key, and the old one is not needed any more"), context)
}

fn answer(reply: &Reply, json: bool, done: Option<&str>, context: &mut Context<'_>) -> Result<(), Failure> {
    if json {
        return context.print_body(reply);
    }
    let report: StorageReport = read(reply)?;
    if let Some(done) = done {
        context.say(done);
    }
    let text = render(&report, context.terminal.colour_out);
    context.print(text)
}

fn render(report: &StorageReport, colour: bool) -> String {
    let StorageReport { status, decided, directory, records, set_aside } = report;
    let mut text = format!("key:      {}\n", protection(&status.key));
    if let Some(directory) = directory {
        let saved = match (status.saved, status.available) {
            (true, true) => ", everything is saved",
            (true, false) => "",
            (false, _) => ", NOT everything is saved",
        };
        let _ = writeln!(text, "records:  {records} in {}{saved}", shown(directory));
    }
    if *set_aside > 0 {
        let _ = writeln!(text, "          {set_aside} set aside because they did not open");
    }
    if let Some(message) = &status.message {
        let _ = writeln!(text, "{} {}", Paint::Yellow.apply("awaited: ", colour), shown(message));
    }
    let choose = !decided && !status.available && status.key == PASSPHRASE;
    let hint = if choose { Some(CHOOSE) } else { status.hint.as_deref() };
    if let Some(hint) = hint {
        let _ = writeln!(text, "{}     {}", Paint::Bold.apply("hint:", colour), shown(hint));
    }
    text
}

/// Where the key is and what that protects against, in a sentence that promises no more than is true.
fn protection(key: &str) -> String {
    let words = match key {
        "keyring" => {
            "in the login keyring: unlocked with your login, readable by programs of yours while it is unlocked"
        }
        "systemd-credential" => {
            "a credential of the service manager: kept as its unit says, readable by root and by the agent's service"
        }
        PASSPHRASE => "derived from your passphrase: kept nowhere, so you type it after every start of the agent",
        "file" => "in a file beside the records: protects no better than file permissions",
        "none" => "none: everything is in memory only, gone when the agent stops",
        "auto" => "its place is not decided yet",
        other => return shown(other).to_string(),
    };
    words.to_owned()
}

/// The same in a few words, for the line of `status`.
pub(super) fn in_short(status: &StorageStatus) -> String {
    let words = match status.key.as_str() {
        "keyring" => "key in the login keyring",
        "systemd-credential" => "key from the service manager",
        PASSPHRASE => "key from your passphrase",
        "file" => "key in a file (protects no better than file permissions)",
        "none" => return "in memory only, gone when the agent stops".to_owned(),
        "auto" => "no key yet",
        other => return format!("key in {}", shown(other)),
    };
    words.to_owned()
}

const PASSPHRASE: &str = "passphrase";
const PLACES: [&str; 4] = ["keyring", "systemd-credential", PASSPHRASE, "file"];
const CHOOSE: &str = "choose a passphrase with: sso-agent storage unlock";
const ABOUT_PASSPHRASES: &str = "\
A passphrase is asked for on the terminal without being shown, twice if it is a new one; where standard input is no \
terminal, it is its first line. It is taken neither from arguments nor from the environment.";

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
