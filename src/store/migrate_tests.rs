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
    /// Keeps what it should let go.
    stuck: bool,
    /// Never answers whoever wants something removed.
    hangs: bool,
    removals: usize,
    reads: usize,
    /// At which reading this file is damaged beyond reading and writing.
    sabotage: Option<(usize, std::path::PathBuf)>,
}

struct Keyring(Arc<Mutex<Ring>>);

impl KeySource for Keyring {
    fn kind(&self) -> KeyPlace {
        KeyPlace::Keyring
    }

    fn read(&mut self, id: &KeyId) -> Result<Answer, KeyError> {
        let mut ring = self.0.lock().unwrap();
        ring.reads += 1;
        if let Some((at, path)) = &ring.sabotage
            && *at == ring.reads
        {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }
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
        ring.removals += 1;
        if ring.hangs {
            drop(ring);
            loop {
                std::thread::park();
            }
        }
        if ring.locked || ring.stuck {
            return Err(KeyError::Place {
                kind: KeyPlace::Keyring,
                source: "locked".into(),
                remedy: "unlock it".to_owned(),
            });
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
        let loaded = vault.load();
        assert_eq!(loaded.reports, []);
        loaded.records
    }

    fn key_record(&self) -> String {
        std::fs::read_to_string(self.sandbox.path().join(KEY_RECORD)).unwrap()
    }

    fn migration<'m>(&'m self, vault: &'m Vault, places: &'m Arc<dyn Places>, to: KeyPlace) -> Migration<'m> {
        Migration {
            state: self.lock.directory(),
            places,
            asked: &NOBODY,
            from: vault.unsealed().unwrap(),
            from_record: KeyRecord::read(self.lock.directory()).unwrap().unwrap(),
            id: KeyId::random().unwrap(),
            to,
            key: None,
            moved: None,
        }
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

const NOBODY: Asked = Asked { by_a_person: false, passphrase: None };

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
    vault.load();
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    assert_eq!(vault.protection().key, "keyring");
    assert!(!house.sandbox.path().join(KEY_FILE).exists());
    assert_eq!((house.keys(), house.names().len()), (1, 1));
    // Written over by the store that has moved, and by the next one.
    vault.save(&records[1]).unwrap();
    drop(vault);
    same(house.after_a_start(), &records);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
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
            let mut migration = house.migration(&vault, &places, place);
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
fn a_place_that_is_locked_gets_nothing_and_nothing_is_announced() {
    let (house, records) = House::new(KeyKind::File);
    house.world.keyring.lock().unwrap().locked = true;
    let mut vault = house.open(KeyKind::Auto);
    let before = house.key_record();
    let error = vault.manage(to(KeyPlace::Keyring)).unwrap_err();
    assert!(matches!(error, ManageError::PlaceNotAvailable(KeyPlace::Keyring, _)), "{error}");
    assert_eq!(house.key_record(), before);
    // Another place does not have to wait for that one.
    vault.manage(Manage::Migrate { to: KeyPlace::Passphrase, passphrase: typed("correct horse") }).unwrap();
    drop(vault);
    let mut vault = house.open(KeyKind::Auto);
    same(vault.manage(Manage::Unlock { passphrase: typed("correct horse") }).unwrap().unwrap().records, &records);
}

#[test]
fn what_a_migration_left_in_a_place_that_is_locked_is_named_until_it_can_be_removed() {
    let (house, records) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    house.world.keyring.lock().unwrap().stuck = true;
    // Twice over the place that keeps what it should let go.
    for _ in 0..2 {
        vault.manage(to(KeyPlace::File)).unwrap();
        vault.manage(to(KeyPlace::Keyring)).unwrap();
    }
    vault.manage(to(KeyPlace::File)).unwrap();
    drop(vault);
    assert_eq!((house.keys(), house.names().len()), (4, 1));
    same(house.after_a_start(), &records);
    house.world.keyring.lock().unwrap().stuck = false;
    same(house.after_a_start(), &records);
    assert_eq!((house.keys(), house.names().len()), (1, 1));
    assert!(!house.key_record().contains("leftovers"));
}

#[test]
fn a_place_that_hangs_is_asked_once_to_let_go_of_what_it_has() {
    let (house, records) = House::new(KeyKind::Keyring);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    house.world.keyring.lock().unwrap().stuck = true;
    vault.manage(to(KeyPlace::File)).unwrap();
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    vault.manage(to(KeyPlace::File)).unwrap();
    drop(vault);
    {
        let mut ring = house.world.keyring.lock().unwrap();
        (ring.hangs, ring.removals) = (true, 0);
    }
    same(house.after_a_start(), &records);
    let ring = house.world.keyring.lock().unwrap();
    assert_eq!((ring.items.len(), ring.removals), (2, 1), "nobody waits for it twice");
}

#[test]
fn records_that_a_restored_key_json_does_not_name_are_reported() {
    let (house, records) = House::new(KeyKind::Keyring);
    let before = house.key_record();
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    house.world.keyring.lock().unwrap().stuck = true;
    vault.manage(to(KeyPlace::File)).unwrap();
    drop(vault);
    let after = house.key_record();
    let path = house.sandbox.path().join(KEY_RECORD);
    std::fs::write(&path, before).unwrap();
    let loaded = house.open(KeyKind::Auto).load();
    assert_eq!((loaded.records, loaded.reports.len()), (vec![], 1));
    assert!(loaded.reports[0].file.starts_with(house.sandbox.path()), "{:?}", loaded.reports);
    assert!(loaded.reports[0].message.contains("3 stored records"), "{:?}", loaded.reports);
    std::fs::write(&path, after).unwrap();
    same(house.after_a_start(), &records);
}

#[test]
fn a_second_migration_does_not_forget_what_a_refused_one_left_behind() {
    let (house, records) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    {
        let mut ring = house.world.keyring.lock().unwrap();
        (ring.broken, ring.stuck) = (true, true);
    }
    vault.manage(to(KeyPlace::Keyring)).unwrap_err();
    vault.manage(Manage::Migrate { to: KeyPlace::Passphrase, passphrase: typed("correct horse") }).unwrap();
    house.world.keyring.lock().unwrap().stuck = false;
    drop(vault);
    let mut vault = house.open(KeyKind::Auto);
    same(vault.manage(Manage::Unlock { passphrase: typed("correct horse") }).unwrap().unwrap().records, &records);
    assert_eq!((house.keys(), house.names().len()), (0, 1));
}

#[test]
fn a_full_disk_refuses_a_migration_and_changes_nothing() {
    let (house, records) = House::new(KeyKind::File);
    let state = Arc::clone(house.lock.directory());
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    for step in super::super::file::STEPS_BEFORE_THE_NAME {
        state.fail_at(Some(step));
        vault.manage(to(KeyPlace::Keyring)).unwrap_err();
        state.fail_at(None);
        assert_eq!(vault.protection().key, "file", "{step:?}");
        vault.save(&records[1]).unwrap();
        assert_eq!((house.keys(), house.names().len()), (1, 1), "{step:?}");
    }
    drop(vault);
    same(house.after_a_start(), &records);
}

#[test]
fn after_a_switch_that_the_disk_did_not_confirm_records_go_to_where_the_next_start_looks() {
    let (house, records) = House::new(KeyKind::File);
    let state = Arc::clone(house.lock.directory());
    let vault = house.open(KeyKind::Auto);
    let places: Arc<dyn Places> = Arc::clone(&house.world) as Arc<dyn Places>;
    let mut migration = house.migration(&vault, &places, KeyPlace::Keyring);
    for step in &STEPS[..4] {
        step(&mut migration).unwrap();
    }
    state.fail_at(Some(super::super::file::Step::SyncDirectory));
    STEPS[4](&mut migration).unwrap();
    let moved = migration.moved.unwrap();
    assert!(!moved.durable);
    state.fail_at(None);
    let Record::Tokens(mut newer) = records[1].clone() else { panic!("tokens") };
    newer.signed_in_at = crate::time::Timestamp::from_secs(4_000_000_000);
    let newer = Record::Tokens(newer);
    let mut disk = moved.disk;
    disk.save(&newer).unwrap();
    drop(vault);
    same(house.after_a_start(), &[newer]);
}

#[test]
fn after_a_switch_of_unknown_outcome_nothing_is_written_until_it_is_known_which_key_counts() {
    let (house, records) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    let (path, before) = (house.sandbox.path().join(KEY_RECORD), house.key_record());
    // The last reading before the switch verifies what was written.
    house.world.keyring.lock().unwrap().sabotage = Some((4, path.clone()));
    let error = vault.manage(to(KeyPlace::Keyring)).unwrap_err();
    assert!(matches!(error, ManageError::HalfDone), "{error}");
    let awaited = vault.protection().awaited.unwrap();
    assert!(awaited.message.contains(KEY_RECORD) && awaited.sealed.len() == 2, "{awaited:?}");
    assert!(matches!(vault.save(&records[1]), Err(StoreError::KeyNotAvailable { .. })));
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, before).unwrap();
    same(vault.manage(Manage::Unlock { passphrase: None }).unwrap().unwrap().records, &records);
    vault.save(&records[1]).unwrap();
}

#[test]
fn a_copy_whose_original_was_deleted_is_not_brought_back() {
    let (house, records) = House::new(KeyKind::File);
    let vault = house.open(KeyKind::Auto);
    let places: Arc<dyn Places> = Arc::clone(&house.world) as Arc<dyn Places>;
    let mut migration = house.migration(&vault, &places, KeyPlace::Keyring);
    for step in &STEPS[..4] {
        step(&mut migration).unwrap();
    }
    drop(migration);
    drop(vault);
    // The copies could not be cleared away at once, and the user has signed out meanwhile.
    let name = seal::file_name(&"corp".parse().unwrap(), super::super::RecordKind::Tokens);
    std::fs::remove_file(house.sandbox.path().join(RECORDS).join(name)).unwrap();
    let mut vault = house.open(KeyKind::Auto);
    let loaded = vault.load();
    assert_eq!((loaded.records.len(), loaded.reports.len()), (2, 0));
    assert_eq!(vault.inventory().set_aside, 0);
    vault.save(&records[1]).unwrap();
}

#[test]
fn what_is_left_over_is_never_moved_over_what_counts() {
    let (house, records) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    vault.manage(to(KeyPlace::Keyring)).unwrap();
    drop(vault);
    // As if the old directory could not be emptied: in it what another key has sealed, under a name that is in use.
    let stray = "0123456789abcdef0123456789abcdef";
    let name = seal::file_name(&"corp".parse().unwrap(), super::super::RecordKind::Tokens);
    let header = br#"{"magic":"sso-agent-record","version":99}"#;
    let old = house.lock.directory().prepare_child(&format!("{RECORDS}.{stray}")).unwrap();
    old.replace(&name, &[&header[..], b"\nwhatever"].concat()).unwrap();
    let mut record = KeyRecord::read(house.lock.directory()).unwrap().unwrap();
    record.leftovers.push(Leftover {
        key_id: stray.parse().unwrap(),
        kind: "moon".to_owned(),
        records: format!("{RECORDS}.{stray}"),
        copies: false,
    });
    record.write(house.lock.directory()).unwrap();
    same(house.after_a_start(), &records);
    assert_eq!((house.names().len(), house.open(KeyKind::Auto).inventory().set_aside), (1, 1));
    // A place of another version stays named, and stands in nobody's way.
    assert!(house.key_record().contains("moon"));
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    vault.manage(to(KeyPlace::File)).unwrap();
}

#[test]
fn a_key_file_that_nobody_knows_is_neither_used_nor_removed() {
    let (house, records) = House::new(KeyKind::Keyring);
    let stray = house.sandbox.path().join(KEY_FILE);
    std::fs::write(&stray, KeyBytes::random().unwrap().to_text().as_bytes()).unwrap();
    std::fs::set_permissions(&stray, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut vault = house.open(KeyKind::Auto);
    let error = vault.manage(to(KeyPlace::File)).unwrap_err();
    assert!(matches!(error, ManageError::Occupied(KeyPlace::File)), "{error}");
    drop(vault);
    same(house.after_a_start(), &records);
    assert!(stray.exists());
}

#[test]
fn records_that_cannot_be_read_are_asked_for_again_when_they_can() {
    use std::os::unix::fs::PermissionsExt;
    let (house, records) = House::new(KeyKind::File);
    let directory = house.sandbox.path().join(RECORDS);
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o750)).unwrap();
    let mut vault = house.open(KeyKind::Auto);
    let awaited = vault.protection().awaited.unwrap();
    assert!(awaited.hint.starts_with("chmod 700"), "{awaited:?}");
    assert_eq!(awaited.sealed.len(), 2, "nobody is sent to sign in again for that");
    assert_eq!(vault.protection().key, "file");
    let error = vault.manage(Manage::Unlock { passphrase: None }).unwrap_err();
    assert!(error.hint().unwrap().starts_with("chmod 700"), "{error}");
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
    same(vault.manage(Manage::Unlock { passphrase: None }).unwrap().unwrap().records, &records);
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
    let loaded = vault.load();
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
    assert!(vault.load().records.is_empty());
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
fn of_two_people_who_choose_a_passphrase_at_once_the_second_is_told_whose_counts() {
    let (house, _) = House::new(KeyKind::File);
    let mut vault = house.open(KeyKind::Auto);
    vault.load();
    vault.manage(Manage::Migrate { to: KeyPlace::Passphrase, passphrase: typed("correct horse") }).unwrap();
    let error = vault.manage(Manage::Unlock { passphrase: typed("battery staple") }).unwrap_err();
    assert!(error.to_string().contains("not the passphrase"), "{error}");
    assert_eq!(vault.protection().awaited, None, "what is open stays so");
    for typed in [typed("correct horse"), None] {
        assert!(vault.manage(Manage::Unlock { passphrase: typed }).unwrap().is_none());
    }
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
