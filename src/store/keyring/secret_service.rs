//! The Secret Service of the session bus.
//!
//! Owns: which of its many ways to fail mean what. Refuses to know what the items hold. Invariant: libdbus is not
//! called unless there is a bus, because it would start one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dbus_secret_service::{EncryptionType, Error, Item, SecretService};
use rustix::fs::FileType;
use zeroize::Zeroizing;

use super::prompt::{self, Asked, Lockable};
use super::{KeyringError, Look, Prompting, SERVICE};
use crate::env::Env;
use crate::untrusted::shown;

/// The Secret Service that an environment leads to.
#[derive(Debug)]
pub(super) struct Place {
    prompting: Prompting,
    address: Option<OsString>,
    runtime_dir: Option<PathBuf>,
}

impl Place {
    pub(super) fn new(env: &Env, prompting: Prompting) -> Self {
        Self {
            prompting,
            address: env.get_os("DBUS_SESSION_BUS_ADDRESS").map(OsString::from),
            runtime_dir: env.get_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// All items of this account.
    pub(super) fn look(&self, account: &str) -> Look {
        if !self.has_bus() {
            return Look::Nowhere { why: "there is no session bus (D-Bus), and so no keyring".to_owned() };
        }
        let service = match SecretService::connect(EncryptionType::Dh) {
            Ok(service) => service,
            Err(error) => return not_reached(&error),
        };
        let seen = self.open(&service, account, || {
            let found = service.search_items(attributes(account))?;
            if found.unlocked.is_empty() && !found.locked.is_empty() {
                return Ok(locked());
            }
            let contents = found.unlocked.iter().map(|item| Ok(Zeroizing::new(item.get_secret()?)));
            Ok(Look::Open { contents: contents.collect::<Result<_, Error>>()? })
        });
        // One that was there and has gone is no proof of anything.
        seen.unwrap_or_else(|error| trouble(&error))
    }

    /// Adds an item to the default collection.
    pub(super) fn put(&self, account: &str, label: &str, content: &[u8]) -> Result<(), KeyringError> {
        let service = SecretService::connect(EncryptionType::Dh).map_err(refused)?;
        let collection = service.get_default_collection().map_err(refused)?;
        // Not "replace": an item that somebody else made in the meantime stays.
        collection.create_item(label, attributes(account), content, false, "text/plain").map_err(refused)?;
        Ok(())
    }

    /// Removes all items of this account.
    pub(super) fn remove(&self, account: &str) -> Result<(), KeyringError> {
        if !self.has_bus() {
            return Err(KeyringError::Closed { why: "there is no session bus (D-Bus)".to_owned() });
        }
        let service = SecretService::connect(EncryptionType::Dh).map_err(refused)?;
        let removed = self.open(&service, account, || {
            for item in service.search_items(attributes(account))?.unlocked {
                item.delete()?;
            }
            let left = service.search_items(attributes(account))?;
            let left = left.unlocked.len() + left.locked.len();
            Ok(if left == 0 { Look::Open { contents: Vec::new() } } else { locked() })
        });
        match removed.map_err(refused)? {
            Look::Open { .. } => Ok(()),
            Look::NotYet { remedy: why } | Look::Nowhere { why } => Err(KeyringError::Closed { why }),
        }
    }

    /// Opens whatever is locked and may hold an item of this account, as far as that is allowed, and looks into it.
    fn open(
        &self,
        service: &SecretService,
        account: &str,
        look: impl Fn() -> Result<Look, Error>,
    ) -> Result<Look, Error> {
        // A locked item, the collection that a new one would go to, and then the look.
        for _ in 0..3 {
            let (path, what) = match closed(service, account)? {
                Closed::Nothing => {
                    let seen = look()?;
                    // Locked while we looked: an empty hand proves nothing.
                    match closed(service, account)? {
                        Closed::Nothing => return Ok(seen),
                        Closed::Object(path, what) => (path, what),
                        Closed::NoCollection => return Ok(no_collection()),
                    }
                }
                Closed::Object(path, what) => (path, what),
                Closed::NoCollection => return Ok(no_collection()),
            };
            if self.prompting == Prompting::Forbidden {
                return Ok(locked());
            }
            match prompt::unlock(&path, what)? {
                Asked::Unlocked => {}
                Asked::Dismissed | Asked::Gone => return Ok(locked()),
            }
        }
        Ok(locked())
    }

    /// Whether there is a session bus that libdbus would connect to. It starts a bus where it finds none, and that
    /// one's keyring would be another each time.
    fn has_bus(&self) -> bool {
        match &self.address {
            Some(address) => !address.as_bytes().starts_with(b"autolaunch:"),
            None => self.runtime_dir.as_deref().is_some_and(holds_bus),
        }
    }
}

/// What has to be opened before an answer counts.
enum Closed {
    Nothing,
    Object(dbus::Path<'static>, Lockable),
    NoCollection,
}

/// Asks for no password: neither searching nor reading a property does.
fn closed(service: &SecretService, account: &str) -> Result<Closed, Error> {
    let found = service.search_items(attributes(account))?;
    // One that is open will do, wherever it is: the default collection may have become another one since.
    if !found.unlocked.is_empty() {
        return Ok(Closed::Nothing);
    }
    if let Some(Item { path, .. }) = found.locked.first() {
        return Ok(Closed::Object(path.clone(), Lockable::Item));
    }
    let collection = match service.get_default_collection() {
        Err(Error::NoResult) => return Ok(Closed::NoCollection),
        collection => collection?,
    };
    // A locked collection may keep to itself what it holds.
    Ok(if collection.is_locked()? { Closed::Object(collection.path, Lockable::Collection) } else { Closed::Nothing })
}

fn attributes(account: &str) -> HashMap<&str, &str> {
    HashMap::from([("service", SERVICE), ("username", account)])
}

fn holds_bus(runtime_dir: &Path) -> bool {
    rustix::fs::stat(runtime_dir.join("bus")).is_ok_and(|file| {
        FileType::from_raw_mode(file.st_mode) == FileType::Socket && file.st_uid == rustix::process::getuid().as_raw()
    })
}

fn locked() -> Look {
    Look::NotYet {
        remedy: "unlock the login keyring: on a desktop run: sso-agent storage unlock, which shows its prompt; \
                 elsewhere `gnome-keyring-daemon --replace --unlock`, which reads the password"
            .to_owned(),
    }
}

fn no_collection() -> Look {
    Look::Nowhere { why: "the keyring has no default collection".to_owned() }
}

/// What it means that no keyring was reached.
fn not_reached(error: &Error) -> Look {
    let Error::Dbus(cause) = error else { return trouble(error) };
    match cause.name() {
        Some("org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner") => {
            Look::Nowhere { why: "no program on the session bus offers a keyring (Secret Service)".to_owned() }
        }
        // The bus's own socket: a variable that outlived its bus.
        Some("org.freedesktop.DBus.Error.FileNotFound") => {
            Look::Nowhere { why: "the session bus (D-Bus) that the environment names does not exist".to_owned() }
        }
        _ => trouble(error),
    }
}

fn trouble(error: &Error) -> Look {
    let said = error.to_string();
    let said = shown(&said);
    Look::NotYet { remedy: format!("see why the keyring does not answer ({said}); it is asked again by itself") }
}

fn refused(error: Error) -> KeyringError {
    KeyringError::Refused { why: shown(&error.to_string()).to_string() }
}
