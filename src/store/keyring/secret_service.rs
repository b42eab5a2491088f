//! The Secret Service of the session bus.
//!
//! Owns: which of its many ways to fail mean what. Refuses to know what the items hold. Invariants: libdbus is not called
//! unless there is a bus, because it would start one; the crate `keyring`, whose search unlocks what it finds, is called
//! only when what it will find is open. What is locked in the moment between can still make it prompt.
//!
//! Both search all collections for service and account. The account is the key's id, 128 random bits, so whatever is
//! found is the item that is meant, or a copy of it as an import of an old keyring leaves behind.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dbus_secret_service::{EncryptionType, Error as BusError, Item, SearchItemsResult, SecretService};
use keyring::secret_service::{SsCredential, delete_item, get_item_secret};
use keyring::{Entry, Error as EntryError};
use rustix::fs::FileType;
use zeroize::Zeroizing;

use super::prompt::{self, Asked, Lockable};
use super::{Closed, KeyringError, Prompting, SERVICE};
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

    /// What the items of this account hold.
    pub(super) fn look(&self, account: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Closed> {
        self.with_open(account, |_, items| {
            if items.is_empty() {
                return Ok(Vec::new());
            }
            match entry(account)?.get_secret() {
                Ok(content) => Ok(vec![Zeroizing::new(content)]),
                // Copies: those in locked collections are left alone.
                Err(EntryError::Ambiguous(_)) => {
                    let contents = items.iter().map(|item| Ok(Zeroizing::new(get_item_secret(item)?)));
                    contents.collect()
                }
                // One that was there and has gone is no proof of anything.
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Makes an item in the default collection, which is open and holds none of this account.
    pub(super) fn put(&self, account: &str, content: &[u8]) -> Result<(), KeyringError> {
        let refused = |error: EntryError| KeyringError::Refused { why: said(&error) };
        let mut credential = SsCredential::new_with_target(None, SERVICE, account).map_err(refused)?;
        LABEL.clone_into(&mut credential.label);
        Entry::new_with_credential(Box::new(credential)).set_secret(content).map_err(refused)
    }

    /// Removes all items of this account.
    pub(super) fn remove(&self, account: &str) -> Result<(), Closed> {
        self.with_open(account, |service, items| {
            if items.is_empty() {
                return Ok(());
            }
            match entry(account)?.delete_credential() {
                Err(EntryError::Ambiguous(_)) => items.iter().try_for_each(delete_item)?,
                deleted => deleted?,
            }
            let left = search(service, account)?;
            if left.unlocked.is_empty() && left.locked.is_empty() { Ok(()) } else { Err(locked()) }
        })
    }

    /// Opens whatever is locked and may hold an item of this account, as far as that is allowed, and acts on the items.
    fn with_open<T>(
        &self,
        account: &str,
        act: impl Fn(&SecretService, &[Item<'_>]) -> Result<T, Closed>,
    ) -> Result<T, Closed> {
        if !self.has_bus() {
            return Err(Closed::Nowhere { why: "there is no session bus (D-Bus), and so no keyring".to_owned() });
        }
        let service = SecretService::connect(EncryptionType::Dh).map_err(not_reached)?;
        // An item, the collection that a new one would go to, and what is locked again while we look.
        for _ in 0..4 {
            let (path, what) = match state(&service, account)? {
                State::Open(items) => {
                    let done = act(&service, &items)?;
                    // Locked while we looked: an empty hand proves nothing.
                    match state(&service, account)? {
                        State::Open(_) => return Ok(done),
                        State::Locked(path, what) => (path, what),
                    }
                }
                State::Locked(path, what) => (path, what),
            };
            if self.prompting == Prompting::Forbidden || prompt::unlock(&path, what)? != Asked::Unlocked {
                break;
            }
        }
        Err(locked())
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

/// Whether an answer would count.
enum State<'a> {
    /// It would; these are the items.
    Open(Vec<Item<'a>>),
    /// First this has to be opened.
    Locked(dbus::Path<'static>, Lockable),
}

/// Asks for no password: neither searching nor reading a property does.
fn state<'a>(service: &'a SecretService, account: &str) -> Result<State<'a>, Closed> {
    let SearchItemsResult { unlocked, locked } = search(service, account)?;
    // One that is open will do, wherever it is: the default collection may have become another one since.
    if !unlocked.is_empty() {
        return Ok(State::Open(unlocked));
    }
    if let Some(Item { path, .. }) = locked.first() {
        return Ok(State::Locked(path.clone(), Lockable::Item));
    }
    let collection = match service.get_default_collection() {
        Err(BusError::NoResult) => {
            return Err(Closed::Nowhere { why: "the keyring has no default collection".to_owned() });
        }
        collection => collection?,
    };
    // A locked collection may keep to itself what it holds.
    let locked = collection.is_locked()?;
    Ok(if locked { State::Locked(collection.path, Lockable::Collection) } else { State::Open(Vec::new()) })
}

fn search<'a>(service: &'a SecretService, account: &str) -> Result<SearchItemsResult<Item<'a>>, BusError> {
    service.search_items(HashMap::from([("service", SERVICE), ("username", account)]))
}

/// The item in whichever collection it is, as [`search`] finds it.
fn entry(account: &str) -> Result<Entry, EntryError> {
    Ok(Entry::new_with_credential(Box::new(SsCredential::new_with_no_target(SERVICE, account)?)))
}

fn holds_bus(runtime_dir: &Path) -> bool {
    rustix::fs::stat(runtime_dir.join("bus")).is_ok_and(|file| {
        FileType::from_raw_mode(file.st_mode) == FileType::Socket && file.st_uid == rustix::process::getuid().as_raw()
    })
}

fn locked() -> Closed {
    Closed::NotYet {
        remedy: "unlock the login keyring: on a desktop run: sso-agent storage unlock, which shows its prompt; \
                 elsewhere `gnome-keyring-daemon --replace --unlock`, which reads the password"
            .to_owned(),
    }
}

/// What it means that no keyring was reached.
fn not_reached(error: BusError) -> Closed {
    let BusError::Dbus(cause) = &error else { return error.into() };
    match cause.name() {
        Some("org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner") => {
            Closed::Nowhere { why: "no program on the session bus offers a keyring (Secret Service)".to_owned() }
        }
        // The bus's own socket: a variable that outlived its bus.
        Some("org.freedesktop.DBus.Error.FileNotFound") => {
            Closed::Nowhere { why: "the session bus (D-Bus) that the environment names does not exist".to_owned() }
        }
        _ => error.into(),
    }
}

/// Once the keyring was reached, whatever fails proves nothing.
impl<E: Error> From<E> for Closed {
    fn from(error: E) -> Self {
        let said = said(&error);
        Self::NotYet { remedy: format!("see why the keyring does not answer ({said}); it is asked again by itself") }
    }
}

fn said(error: &dyn Error) -> String {
    shown(&error.to_string()).to_string()
}

/// What people read in their keyring.
const LABEL: &str = "sso-agent: key to the stored sign-ins";
