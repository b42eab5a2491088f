//! `lock` and `unlock`: nothing is handed out for a while.
//!
//! Owns: the words, which promise no more than is true. Refuses to know what a locked agent refuses.

use clap::Args;
use jiff::tz::TimeZone;

use crate::api::{LockDetails, LockStatus, Request, Status};
use crate::client::ClientError;
use crate::time::Timestamp;
use crate::untrusted::shown;

use super::context::{BRIEFLY, Context, NETWORK, read};
use super::failure::Failure;
use super::status::every_status;
use super::{passphrase, words};

/// Let the agent hand out nothing until it is unlocked
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = ABOUT_LOCKS)]
pub(super) struct Options {
    /// Ask for a passphrase that will be needed to unlock it
    #[arg(long)]
    passphrase: bool,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Let a locked agent serve again
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = ABOUT_UNLOCKING)]
pub(super) struct UnlockOptions {
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `lock`.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let passphrase = options.passphrase.then(|| passphrase::chosen(context)).transpose()?;
    let reply = context.ask_slowly(&Request::Lock { passphrase }, NETWORK, "locking")?;
    if options.json {
        return context.print_body(&reply);
    }
    let LockStatus { lock, .. } = read(&reply)?;
    match lock {
        Some(LockDetails { passphrase: true, .. }) => context.say("locked with a passphrase"),
        _ => context.say("locked; without a passphrase: whoever can ask can also run sso-agent unlock"),
    }
    Ok(())
}

/// Runs `unlock`.
pub(super) fn unlock(options: &UnlockOptions, context: &mut Context<'_>) -> Result<(), Failure> {
    let Status { locked, lock, .. } = match context.ask_for(&every_status(), BRIEFLY) {
        // It may be locked all the same, and whoever is started next would be.
        Err(failure) if is_absent(&failure) && context.start_agent()? => context.ask_for(&every_status(), BRIEFLY)?,
        asked => asked?,
    };
    let passphrase = match lock {
        // Nobody could type what would open it.
        Some(LockDetails { message: Some(_), since: None, .. }) => None,
        Some(LockDetails { passphrase: true, .. }) => Some(passphrase::existing(context)?),
        _ => None,
    };
    let reply = context.ask_slowly(&Request::Unlock { passphrase }, NETWORK, "unlocking")?;
    if options.json {
        return context.print_body(&reply);
    }
    context.say(if locked { "unlocked" } else { "the agent was not locked" });
    Ok(())
}

const fn is_absent(failure: &Failure) -> bool {
    matches!(failure, Failure::Client(ClientError::NoAgent { .. }))
}

/// What `status` says of it in place of the sessions.
pub(super) fn in_words(lock: Option<&LockDetails>, now: Timestamp, zone: &TimeZone) -> String {
    let Some(lock) = lock else { return "the agent is locked".to_owned() };
    let mut text = "the agent is locked".to_owned();
    if let Some(since) = lock.since {
        text.push_str(" since ");
        text.push_str(&words::clock_time(since, now, zone));
    }
    text.push_str(if lock.passphrase { ", with a passphrase" } else { ", without a passphrase" });
    for more in lock.message.iter().chain(&lock.hint) {
        text.push_str("; ");
        text.push_str(&shown(more).to_string());
    }
    text
}

const ABOUT_LOCKS: &str = "\
A locked agent keeps everybody signed in and hands out nothing; it stays locked when it is started again. Without \
--passphrase this is a safety catch: every program of yours can run `sso-agent unlock`. With one, who wants to unlock it \
has to know it, and each wrong one costs more time. Neither stops a program of yours that removes files from the state \
directory. A passphrase is asked for on the terminal without being shown, twice; where standard input is no terminal, \
it is its first line. It is taken neither from arguments nor from the environment.";
const ABOUT_UNLOCKING: &str = "\
A passphrase is asked for where there is one, on the terminal without being shown; where standard input is no terminal, \
it is its first line. A wrong one is answered after 1 second, the next after 2, 4, 8 and then 10, and a restart of the \
agent changes nothing about that. A passphrase that was forgotten is no way out: stop the agent, remove the file `locked` \
from the state directory, start it.";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Answer, World, problem};
    use super::*;
    use crate::api::Code;
    use crate::exit::Exit;
    use crate::secret::Secret;

    fn lock(passphrase: bool) -> Value {
        json!({"since": "2026-11-22T11:00:00Z", "passphrase": passphrase, "saved": true, "message": null, "hint": null})
    }

    fn status(lock: &Value) -> Value {
        json!({
            "version": "0.1.0", "pid": 1, "started_at": "2026-11-22T09:00:00Z", "revision": 3, "socket": "/run/x",
            "locked": !lock.is_null(), "lock": lock, "storage": {"key": "file", "saved": true}, "sessions": [],
            "targets": [], "warnings": [],
        })
    }

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text.to_owned()))
    }

    #[test]
    fn a_lock_without_a_passphrase_says_what_it_is() {
        let world = World::new([Answer::Body(json!({"locked": true, "lock": lock(false)}))]);
        let outcome = world.run("lock");
        assert_eq!(outcome.exit(), Exit::Success);
        assert!(outcome.stderr.contains("whoever can ask can also run"), "{}", outcome.stderr);
        assert_eq!(world.asked.take(), [Request::Lock { passphrase: None }]);
    }

    #[test]
    fn a_passphrase_to_lock_with_is_typed_twice_and_one_to_unlock_once() {
        let world = World::new([Answer::Body(json!({"locked": true, "lock": lock(true)}))]);
        world.typed.borrow_mut().extend(["correct horse", "correct horse"]);
        let outcome = world.run("lock --passphrase");
        assert_eq!((outcome.exit(), outcome.stderr.as_str()), (Exit::Success, "locked with a passphrase\n"));
        assert_eq!(world.asked.take(), [Request::Lock { passphrase: secret("correct horse") }]);

        let unlocked = json!({"locked": false, "lock": null});
        let world = World::new([Answer::Body(status(&lock(true))), Answer::Body(unlocked)]);
        world.typed.borrow_mut().push_back("correct horse");
        let outcome = world.run("unlock");
        assert_eq!((outcome.exit(), outcome.stderr.as_str()), (Exit::Success, "unlocked\n"));
        assert_eq!(world.asked.take()[1], Request::Unlock { passphrase: secret("correct horse") });
    }

    #[test]
    fn nothing_is_asked_of_a_person_that_would_not_help() {
        let unlocked = || Answer::Body(json!({"locked": false, "lock": null}));
        for (before, said) in [(lock(false), "unlocked\n"), (Value::Null, "the agent was not locked\n")] {
            let world = World::new([Answer::Body(status(&before)), unlocked()]);
            assert_eq!(world.run("unlock").stderr, said);
            assert_eq!(world.prompts.take(), [""; 0]);
        }
        let damaged = json!({"since": null, "passphrase": true, "saved": true, "message": "m", "hint": "h"});
        let world = World::new([Answer::Body(status(&damaged)), problem(Code::Locked)]);
        assert_eq!((world.run("unlock").exit(), world.prompts.take()), (Exit::Locked, vec![]));
    }

    #[test]
    fn status_of_a_locked_agent_says_so_and_names_nothing() {
        let outcome = World::new([Answer::Body(status(&lock(true)))]).run("status");
        assert!(
            outcome.stdout.starts_with("the agent is locked since 11:00, with a passphrase\n"),
            "{}",
            outcome.stdout
        );
        assert!(!outcome.stdout.contains("no session is configured"), "{}", outcome.stdout);
        let outcome = World::new([Answer::Body(status(&lock(true)))]).run("status corp --check");
        assert_eq!((outcome.exit(), outcome.stderr.as_str()), (Exit::Locked, ""));
        let outcome = World::new([Answer::Body(status(&lock(true)))]).run("status corp");
        assert!(outcome.stdout.starts_with("the agent is locked"), "{}", outcome.stdout);
    }
}
