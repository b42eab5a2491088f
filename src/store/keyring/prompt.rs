//! Asking the user to unlock something.
//!
//! Owns: the prompt of the Secret Service, until it is answered or no longer matters. Refuses to know what is locked.
//! Invariant: it waits for events, and ends as soon as the object is open, however it was opened: a user who unlocks
//! the keyring elsewhere is not kept waiting for a prompt that nobody answers.

use std::sync::mpsc;
use std::time::Duration;

use dbus::arg::{RefArg, Variant};
use dbus::blocking::Connection;
use dbus::blocking::stdintf::org_freedesktop_dbus::Properties;
use dbus::message::MatchRule;
use dbus::strings::Path;

/// How the user was asked, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is open now.
    Unlocked,
    /// The user said no, or there was no way to ask.
    Dismissed,
    /// The keyring went away in the meantime.
    Gone,
}

/// What can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lockable {
    /// A collection of items.
    Collection,
    /// A single item.
    Item,
}

/// Unlocks this object on the session bus, which may ask the user; returns when that is decided.
pub(super) fn unlock(path: &Path<'static>, what: Lockable) -> Result<Asked, dbus::Error> {
    let bus = Connection::new_session()?;
    let is_locked = || bus.with_proxy(SECRETS, path, CALL).get::<bool>(what.interface(), "Locked");
    let (events, happened) = mpsc::channel();

    let vanished = events.clone();
    let mut owner = MatchRule::new_signal(BUS, "NameOwnerChanged").with_sender(BUS);
    owner.path = Some(Path::from("/org/freedesktop/DBus"));
    bus.add_match(owner, move |(name, _, _): (String, String, String), _, _| {
        // The receiver is gone only when nobody waits any more.
        name != SECRETS || vanished.send(Asked::Gone).is_ok()
    })?;
    // What wakes the loop below: the property is read there, because providers differ in what they say here.
    for (interface, signal) in
        [(SERVICE, "CollectionChanged"), ("org.freedesktop.DBus.Properties", "PropertiesChanged")]
    {
        bus.add_match(MatchRule::new_signal(interface, signal).with_sender(SECRETS), |(): (), _, _| true)?;
    }

    let service = bus.with_proxy(SECRETS, "/org/freedesktop/secrets", CALL);
    let (_, prompt): (Vec<Path<'static>>, Path<'static>) = service.method_call(SERVICE, "Unlock", (vec![path],))?;
    if &*prompt != "/" {
        let answer = MatchRule::new_signal(PROMPT, "Completed").with_path(prompt.clone());
        bus.add_match(answer, move |(dismissed, _): (bool, Variant<Box<dyn RefArg>>), _, _| {
            events.send(if dismissed { Asked::Dismissed } else { Asked::Unlocked }).is_ok()
        })?;
        let prompt = bus.with_proxy(SECRETS, prompt, CALL);
        // No window of ours that it could stand before.
        let () = prompt.method_call(PROMPT, "Prompt", ("",))?;
        loop {
            if let Ok(asked) = happened.try_recv() {
                if asked != Asked::Unlocked {
                    return Ok(asked);
                }
                break;
            }
            if !is_locked()? {
                // The prompt is left to itself: gnome-keyring 42 ends with a failed assertion when an open one is
                // dismissed, and takes what it holds unlocked with it.
                break;
            }
            bus.process(LOOK_AGAIN)?;
        }
    }
    Ok(if is_locked()? { Asked::Dismissed } else { Asked::Unlocked })
}

impl Lockable {
    const fn interface(self) -> &'static str {
        match self {
            Self::Collection => "org.freedesktop.Secret.Collection",
            Self::Item => "org.freedesktop.Secret.Item",
        }
    }
}

const SECRETS: &str = "org.freedesktop.secrets";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const BUS: &str = "org.freedesktop.DBus";
const PROMPT: &str = "org.freedesktop.Secret.Prompt";
/// A single question; an answered prompt is not one.
const CALL: Duration = Duration::from_secs(2);
/// For providers that say nothing when something is unlocked.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
