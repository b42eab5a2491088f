//! Migrations between places that a test controls, cut off after every step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use super::super::key_file::{KEY_FILE, KeyFile};
use super::super::key_record::KEY_RECORD;
use super::super::passphrase::Passphrase;
use super::super::sandbox::Sandbox;
use super::super::vault::Vault;
use super::super::{Manage, Record, StateLock, Store, sample};
use super::*;
use crate::secret::Secret;
use crate::settings::KeyKind;

/// A machine with a keyring that a test can look into and lock.
#[derive(Default)]
struct World {
    keyring: Arc<Mutex<Ring>>,
    state: Mutex<Option<Arc<PrivateDirectory>>>,
}

#[derive(Default)]
struct Ring {
    items: BTreeMap<String, KeyBytes>,
    locked: bool,
    broken: bool,
}

struct Keyring(Arc<Mutex<Ring>>);

impl KeySource for Keyring {
    fn kind(&self) -> KeyPlace {
        KeyPlace::Keyring
    }

    fn read(&mut self, id: &KeyId) -> Result<Answer, KeyError> {
        let ring = self.0.lock().unwrap();
        Ok(match ring.items.get(&id.to_string()) {
            _ if ring.locked => Answer::NotYet { remedy: "unlock it".to_owned() },
            Some(_) if ring.broken => Answer::Found(KeyBytes::random().unwrap()),
            Some(key) => Answer::Found(key.clone()),
            None => Answer::Absent,
        })
    }

    fn create(&mut self, id: &KeyId, key: &KeyBytes) -> Result<(), KeyError> {
        let before = self.0.lock().unwrap().items.insert(id.to_string(), key.clone());
        assert!(before.is_none(), "a key was overwritten");
        Ok(())
    }

    fn remove(&mut self, id: &KeyId) -> Result<(), KeyError> {
        let mut ring = self.0.lock().unwrap();
        if ring.locked {
            return Err(KeyError::Place { kind: KeyPlace::Keyring, source: "locked".into() });
        }
        ring.items.remove(&id.to_string());
        Ok(())
    }
}

impl Places for World {
    fn source(&self, place: KeyPlace, asked: &Asked) -> Box<dyn KeySource> {
        match place {
            KeyPlace::Keyring => Box::new(Keyring(Arc::clone(&self.keyring))),
            KeyPlace::Passphrase => Box::new(Passphrase::new(asked.passphrase.clone())),
            _ => Box::new(KeyFile::new(self.state.lock().unwrap().clone().unwrap())),
        }
    }
}

struct House {
    sandbox: Sandbox,
    world: Arc<World>,
    lock: StateLock,
}

impl House {
    /// A state directory with three records, its key in a file or the keyring.
    fn new(kind: KeyKind) -> (Self, Vec<Record>) {
        let sandbox = Sandbox::new();
        let lock = StateLock::acquire(sandbox.path(), Path::new("/run/agent.sock")).unwrap();
        let world = Arc::new(World::default());
        *world.state.lock().unwrap() = Some(Arc::clone(lock.directory()));
        let house = Self { sandbox, world, lock };
        let records = vec![sample::client("corp"), sample::tokens("corp"), sample::tokens("other")];
        let mut vault = house.open(kind);
        for record in &records {
            vault.save(record).unwrap();
            vault.save(record).unwrap();
        }
        (house, records)
    }

    fn open(&self, kind: KeyKind) -> Vault {
        Vault::open(self.lock.directory(), Arc::clone(&self.world) as Arc<dyn Places>, kind)
    }

    /// Everything that can be read after a start, in an order that does not matter.
    fn after_a_start(&self) -> Vec<Record> {
        let mut vault = self.open(KeyKind::Auto);
        let loaded = vault.load().unwrap();
        assert_eq!(loaded.reports, []);
        loaded.records
    }

    fn keys(&self) -> usize {
        self.world.keyring.lock().unwrap().items.len() + usize::from(self.sandbox.path().join(KEY_FILE).exists())
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.lock.directory().names().unwrap();
        names.retain(|name| name.starts_with(RECORDS));
        names
    }
}

fn to(place: KeyPlace) -> Manage {
    Manage::Migrate { to: place, passphrase: None }
}

fn typed(passphrase: &str) -> Option<Secret> {
    Some(Secret::new(passphrase.to_owned()))
}

fn same(mut found: Vec<Record>, expected: &[Record]) {
    found.retain(|record| expected.contains(record));
    assert_eq!(found.len(), expected.len());
}

#[test]
fn a_migration_moves_everything_and_removes_the_old_key() {
    let (house, records) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    vault.load().unwrap();
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    assert_eq!(vault.protection().key, "keyring");
    assert!(!house.sandbox.path().join(KEY_FILE).exists());
    assert_eq!((house.keys(), house.names().len()), (1, 1));
    // Written over by the store that has moved, and by the next one.
    vault.save(&records[1]).unwrap();
    drop(vault);
    same(house.after_a_start(), &records);
    let mut vault = house.open(KeyKind::Auto);
    vault.load().unwrap();
    vault.save(&records[1]).unwrap();
    vault.manage(to(KeyPlace::File)).unwrap();
    assert_eq!((house.keys(), house.names().len(), vault.protection().key), (1, 1, "file"));
    drop(vault);
    same(house.after_a_start(), &records);
}

#[test]
fn a_migration_cut_off_after_any_step_loses_nothing_and_leaves_nothing() {
    for (from, place) in [(KeyKind::File, KeyPlace::Keyring), (KeyKind::Keyring, KeyPlace::File)] {
        for cut in 0..=STEPS.len() {
            let (house, records) = House::new(from);
            let vault = house.open(KeyKind::Auto);
            let places: Arc<dyn Places> = Arc::clone(&house.world) as Arc<dyn Places>;
            let asked = Asked::default();
            let mut migration = Migration {
                state: house.lock.directory(),
                places: &places,
                asked: &asked,
                from: vault.unsealed().unwrap(),
                from_record: KeyRecord::read(house.lock.directory()).unwrap().unwrap(),
                id: KeyId::random().unwrap(),
                to: place,
                key: None,
            };
            for step in &STEPS[..cut] {
                step(&mut migration).unwrap();
            }
            drop(vault);
            same(house.after_a_start(), &records);
            assert_eq!((house.keys(), house.names().len()), (1, 1), "{place} after {cut} steps");
            let moved = house.open(KeyKind::Auto).protection().key == place.as_str();
            assert_eq!(moved, cut == STEPS.len());
            same(house.after_a_start(), &records);
        }
    }
}

#[test]
fn a_key_that_does_not_read_back_is_not_switched_to() {
    let (house, records) = House::new(KeyKind::File);
    house.world.keyring.lock().unwrap().broken = true;
    let mut vault = house.open(KeyKind::Auto);
    let error = vault.manage(to(KeyPlace::Keyring)).unwrap_err();
    assert!(matches!(error, ManageError::NotVerified), "{error}");
    assert_eq!(vault.protection().key, "file");
    drop(vault);
    same(house.after_a_start(), &records);
}

#[test]
fn a_place_that_is_locked_gets_nothing_and_what_an_earlier_attempt_left_there_is_awaited() {
    let (house, records) = House::new(KeyKind::File);
    house.world.keyring.lock().unwrap().locked = true;
    let mut vault = house.open(KeyKind::Auto);
    let error = vault.manage(to(KeyPlace::Keyring)).unwrap_err();
    assert!(matches!(error, ManageError::PlaceNotAvailable(KeyPlace::Keyring, _)), "{error}");
    drop(vault);
    same(house.after_a_start(), &records);
    // What was announced could not be cleared away: it stays named until it can.
    assert!(std::fs::read_to_string(house.sandbox.path().join(KEY_RECORD)).unwrap().contains("leftover"));
    house.world.keyring.lock().unwrap().locked = false;
    let mut vault = house.open(KeyKind::Auto);
    vault.load().unwrap();
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    drop(vault);
    same(house.after_a_start(), &records);
    assert!(!std::fs::read_to_string(house.sandbox.path().join(KEY_RECORD)).unwrap().contains("leftover"));
}

#[test]
fn what_is_not_ours_moves_along_unread_and_is_never_deleted() {
    let (house, records) = House::new(KeyKind::File);
    let foreign = format!("tokens-{}.sealed", "0".repeat(64));
    let newer = br#"{"magic":"sso-agent-record","version":99}"#;
    let directory = house.sandbox.path().join(RECORDS);
    std::fs::write(directory.join(&foreign), [&newer[..], b"\nwhatever"].concat()).unwrap();
    std::fs::write(directory.join("tokens-x.sealed.damaged-1"), "damaged").unwrap();
    let mut vault = house.open(KeyKind::Auto);
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    let moved = house.sandbox.path().join(&house.names()[0]);
    assert!(moved.join(&foreign).exists() && moved.join("tokens-x.sealed.damaged-1").exists());
    let loaded = vault.load().unwrap();
    assert_eq!((loaded.records.len(), loaded.reports.len()), (records.len(), 1));
}

#[test]
fn a_passphrase_opens_what_was_sealed_with_it_and_another_one_does_not() {
    let (house, records) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    let without = vault.manage(to(KeyPlace::Passphrase)).unwrap_err();
    assert!(matches!(without, ManageError::NoPassphrase));
    vault.manage(Manage::Migrate { to: KeyPlace::Passphrase, passphrase: typed("correct horse") }).unwrap();
    assert_eq!(house.keys(), 0);
    drop(vault);

    let mut vault = house.open(KeyKind::Auto);
    let awaited = vault.protection().awaited.unwrap();
    assert_eq!(awaited.hint, "run: sso-agent storage unlock");
    assert_eq!(awaited.sealed.len(), 2);
    assert!(vault.load().unwrap().records.is_empty());
    assert!(matches!(vault.save(&records[0]), Err(StoreError::KeyNotAvailable { .. })));
    let wrong = vault.manage(Manage::Unlock { passphrase: typed("battery staple") }).unwrap_err();
    assert!(matches!(wrong, ManageError::StillClosed(..)), "{wrong}");
    let loaded = vault.manage(Manage::Unlock { passphrase: typed("correct horse") }).unwrap().unwrap();
    same(loaded.records, &records);
    assert_eq!(vault.protection().awaited, None);
    vault.manage(Manage::Migrate { to: KeyPlace::Passphrase, passphrase: typed("another one") }).unwrap();
    drop(vault);
    let mut vault = house.open(KeyKind::Auto);
    same(vault.manage(Manage::Unlock { passphrase: typed("another one") }).unwrap().unwrap().records, &records);
}

#[test]
fn without_its_key_a_record_can_be_deleted_and_nothing_else() {
    let (house, records) = House::new(KeyKind::Keyring);
    house.world.keyring.lock().unwrap().locked = true;
    let mut vault = house.open(KeyKind::Auto);
    assert_eq!(vault.inventory().records, 3);
    vault.delete(&"corp".parse().unwrap(), super::super::RecordKind::Tokens).unwrap();
    assert_eq!(vault.inventory().records, 2);
    house.world.keyring.lock().unwrap().locked = false;
    drop(vault);
    let left = house.after_a_start();
    assert!(!left.contains(&records[1]) && left.len() == 2);
}

#[test]
fn a_key_that_comes_later_wakes_whoever_waits_for_it() {
    let (house, records) = House::new(KeyKind::Keyring);
    house.world.keyring.lock().unwrap().locked = true;
    let mut vault = house.open(KeyKind::Auto);
    let (wake, woken) = std::sync::mpsc::channel();
    let wake = Mutex::new(wake);
    vault.wake_with(Box::new(move || wake.lock().unwrap().send(()).unwrap_or_default()));
    assert!(vault.look().is_none());
    house.world.keyring.lock().unwrap().locked = false;
    let loaded = loop {
        woken.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        if let Some(loaded) = vault.look() {
            break loaded;
        }
    };
    same(loaded.records, &records);
}
