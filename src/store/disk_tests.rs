//! The store as the agent opens it, from the lock on.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::super::child;
use super::super::file::{STEPS_BEFORE_THE_NAME, TEMPORARY};
use super::super::key::KeyBytes;
use super::super::key_file::KEY_FILE;
use super::super::key_record::{KEY_RECORD, RECORDS, obtain};
use super::super::places::{Asked, Machine};
use super::super::sandbox::Sandbox;
use super::super::vault::Vault;
use super::super::{OpenError, StateLock, Store, sample};
use super::*;
use crate::env::Env;
use crate::settings::KeyKind;

const SOCKET: &str = "/run/user/1000/sso-agent/agent.sock";

fn lock(sandbox: &Sandbox) -> StateLock {
    StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap()
}

/// The store of a state directory, as a concrete type so that a test can reach into it.
fn disk(lock: &StateLock) -> DiskStore {
    drop(vault(lock));
    let state = lock.directory();
    let places = Machine { state: state.clone(), env: Env::default() };
    let key = obtain(state, &places, KeyKind::File, &Asked::default()).unwrap().key;
    DiskStore::new(state.prepare_child(RECORDS).unwrap(), key, KeyPlace::File)
}

/// The store as the agent opens it, on a machine without a keyring.
fn open(lock: &StateLock, wanted: KeyKind) -> Result<Box<dyn Store>, OpenError> {
    super::super::open(lock, wanted, &Env::default())
}

fn vault(lock: &StateLock) -> Vault {
    let places = Machine { state: lock.directory().clone(), env: Env::default() };
    Vault::open(lock.directory(), std::sync::Arc::new(places), KeyKind::Auto)
}

fn load(lock: &StateLock) -> Loaded {
    open(lock, KeyKind::Auto).unwrap().load()
}

fn path_of(sandbox: &Sandbox, record: &Record) -> PathBuf {
    sandbox.path().join(RECORDS).join(file_name(record.session(), record.kind()))
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Why the key is awaited.
fn why_closed(lock: &StateLock) -> OpenError {
    vault(lock).into_why_closed().unwrap()
}

#[test]
fn records_survive_a_restart() {
    let sandbox = Sandbox::new();
    let (client, tokens, other) = (sample::client("corp"), sample::tokens("corp"), sample::tokens("other"));
    {
        let lock = lock(&sandbox);
        let mut store = open(&lock, KeyKind::Auto).unwrap();
        assert_eq!(store.protection().key, "file");
        for record in [&client, &tokens, &other] {
            store.save(record).unwrap();
        }
    }
    let lock = lock(&sandbox);
    let loaded = load(&lock);
    assert_eq!(loaded.reports, []);
    assert_eq!(loaded.records.len(), 3);
    for record in [client, tokens, other] {
        assert!(loaded.records.contains(&record));
    }
}

#[test]
fn a_deleted_record_is_gone_and_the_other_kind_stays() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let mut store = disk(&lock);
    let (client, tokens) = (sample::client("corp"), sample::tokens("corp"));
    store.save(&client).unwrap();
    store.save(&tokens).unwrap();
    for _ in 0..2 {
        store.delete(tokens.session(), RecordKind::Tokens).unwrap();
        assert_eq!(load(&lock).records, std::slice::from_ref(&client));
    }
}

#[test]
fn secrets_are_in_no_file_in_the_clear() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let mut store = disk(&lock);
    store.save(&sample::client("corp")).unwrap();
    store.save(&sample::tokens("corp")).unwrap();
    let files = files(sandbox.path());
    assert_eq!(files.len(), 5, "key, key.json, lock and two records: {files:?}");
    for file in files {
        let content = std::fs::read(&file).unwrap();
        for canary in sample::CANARIES {
            assert!(!content.windows(canary.len()).any(|window| window == canary.as_bytes()), "{}", file.display());
        }
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_write_that_fails_at_any_step_leaves_the_old_record_and_no_unfinished_file() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let mut store = disk(&lock);
    let (old, new) = (sample::tokens_issued("corp", 1000), sample::tokens_issued("corp", 2000));
    store.save(&old).unwrap();
    for step in STEPS_BEFORE_THE_NAME {
        store.directory.fail_at(Some(step));
        assert!(matches!(store.save(&new), Err(StoreError::Io { .. })), "{step:?}");
        assert_eq!(files(store.directory.path()), [path_of(&sandbox, &old)], "{step:?}");
        assert_eq!(load(&lock).records, std::slice::from_ref(&old), "{step:?}");
    }
    store.directory.fail_at(None);
    store.save(&new).unwrap();
    assert_eq!(load(&lock).records, [new]);
}

#[test]
fn what_a_crash_in_the_middle_of_a_write_left_is_removed_at_the_next_start() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let record = sample::tokens("corp");
    disk(&lock).save(&record).unwrap();
    let sealed = std::fs::read(path_of(&sandbox, &record)).unwrap();
    for directory in [sandbox.path(), &sandbox.path().join(RECORDS)] {
        std::fs::write(directory.join(format!("{TEMPORARY}0123")), &sealed[..sealed.len() / 2]).unwrap();
    }
    let before = files(sandbox.path()).len();
    let loaded = load(&lock);
    assert_eq!(loaded.records, [record]);
    assert_eq!(loaded.reports, []);
    assert_eq!(files(sandbox.path()).len(), before - 2);
}

/// Saves the old record, then writes the new one without giving it its name.
fn interrupted(lock: &StateLock, old: &Record, new: &Record) -> DiskStore {
    let mut store = disk(lock);
    store.save(old).unwrap();
    let name = file_name(new.session(), new.kind());
    let sealed = store.key.seal(&name, store.next_sequence(&name).unwrap(), new).unwrap();
    store.directory.replace(&format!("{TEMPORARY}0123"), &sealed).unwrap();
    store
}

#[test]
fn a_write_that_lacks_only_its_name_is_finished_by_the_next_start() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (old, new) = (sample::tokens("corp"), sample::tokens_issued("corp", 1_700_009_000));
    interrupted(&lock, &old, &new);
    assert_eq!(load(&lock).records, std::slice::from_ref(&new));
    assert_eq!(files(&sandbox.path().join(RECORDS)), [path_of(&sandbox, &new)]);
    // Its number counts as written.
    let mut store = open(&lock, KeyKind::Auto).unwrap();
    store.load();
    store.save(&old).unwrap();
}

#[test]
fn an_unfinished_write_that_is_older_than_what_is_there_is_removed() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (old, new) = (sample::tokens("corp"), sample::tokens_issued("corp", 1_700_009_000));
    interrupted(&lock, &sample::tokens("corp"), &old).save(&new).unwrap();
    assert_eq!(load(&lock).records, std::slice::from_ref(&new));
    assert_eq!(files(&sandbox.path().join(RECORDS)), [path_of(&sandbox, &new)]);
}

#[test]
fn an_unfinished_write_does_not_bring_back_what_was_deleted() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (old, new) = (sample::tokens("corp"), sample::tokens_issued("corp", 1_700_009_000));
    interrupted(&lock, &old, &new).delete(old.session(), old.kind()).unwrap();
    assert_eq!(load(&lock).records, []);
    assert_eq!(files(&sandbox.path().join(RECORDS)), [] as [PathBuf; 0]);
}

#[test]
fn a_mark_without_its_name_says_what_has_not_happened() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let old = sample::tokens("corp");
    let Record::Tokens(mut marked) = old.clone() else { panic!() };
    marked.refresh_sent_at = Some(crate::time::Timestamp::from_secs(1_700_000_500));
    interrupted(&lock, &old, &Record::Tokens(marked));
    assert_eq!(load(&lock).records, std::slice::from_ref(&old));
}

#[test]
fn an_unfinished_write_of_another_key_or_with_another_name_is_not_believed() {
    let (elsewhere, sandbox) = (Sandbox::new(), Sandbox::new());
    let (old, new) = (sample::tokens("corp"), sample::tokens_issued("corp", 1_700_009_000));
    interrupted(&lock(&elsewhere), &old, &new);
    let lock = lock(&sandbox);
    interrupted(&lock, &old, &new);
    let leftover = |sandbox: &Sandbox| sandbox.path().join(RECORDS).join(format!("{TEMPORARY}0123"));
    std::fs::copy(leftover(&elsewhere), leftover(&sandbox)).unwrap();
    assert_eq!(load(&lock).records, std::slice::from_ref(&old));
    // A record of one session under the other's name.
    let other = sample::tokens("other");
    disk(&lock).save(&other).unwrap();
    let text = std::fs::read(path_of(&sandbox, &other)).unwrap();
    let forged = String::from_utf8_lossy(&text).replacen("other", "corp", 1);
    std::fs::write(leftover(&sandbox), forged.as_bytes()).unwrap();
    assert_eq!(load(&lock).records.len(), 2);
    assert_eq!(files(&sandbox.path().join(RECORDS)).len(), 2);
}

#[test]
fn a_damaged_record_is_set_aside_reported_and_kept() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (damaged, good) = (sample::tokens("corp"), sample::tokens("other"));
    let mut store = disk(&lock);
    store.save(&damaged).unwrap();
    store.save(&good).unwrap();
    let path = path_of(&sandbox, &damaged);
    let mut content = std::fs::read(&path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &content).unwrap();

    let loaded = load(&lock);
    assert_eq!(loaded.records, std::slice::from_ref(&good));
    let [report] = loaded.reports.as_slice() else { panic!("{:?}", loaded.reports) };
    assert!(report.file.to_str().unwrap().starts_with(&format!("{}{DAMAGED}", path.display())));
    assert_eq!(std::fs::read(&report.file).unwrap(), content);
    assert!(!path.exists());
    // It is reported once, and its place is free.
    assert_eq!(load(&lock).reports, []);
    disk(&lock).save(&damaged).unwrap();
    assert_eq!(load(&lock).records.len(), 2);
    assert!(report.file.exists());
}

#[test]
fn a_record_damaged_while_the_agent_runs_is_set_aside_by_the_next_write() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let record = sample::tokens("corp");
    let mut store = disk(&lock);
    store.save(&record).unwrap();
    std::fs::write(path_of(&sandbox, &record), "scribble").unwrap();
    store.save(&record).unwrap();
    assert_eq!(load(&lock).records, [record]);
    assert_eq!(files(store.directory.path()).len(), 2);
}

#[test]
fn records_exchanged_between_sessions_do_not_open() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (one, two) = (sample::tokens("one"), sample::tokens("two"));
    let mut store = disk(&lock);
    store.save(&one).unwrap();
    store.save(&two).unwrap();
    let (path_one, path_two) = (path_of(&sandbox, &one), path_of(&sandbox, &two));
    let content_one = std::fs::read(&path_one).unwrap();
    std::fs::copy(&path_two, &path_one).unwrap();
    std::fs::write(&path_two, content_one).unwrap();
    let loaded = load(&lock);
    assert_eq!(loaded.records, []);
    assert_eq!(loaded.reports.len(), 2);
}

/// A record that is not ours is reported and neither moved, replaced nor deleted.
fn is_left_alone(sandbox: &Sandbox, lock: &StateLock, record: &Record) {
    let path = path_of(sandbox, record);
    let content = std::fs::read(&path).unwrap();
    let loaded = load(lock);
    assert_eq!(loaded.records, []);
    assert_eq!(loaded.reports.iter().map(|report| &report.file).collect::<Vec<_>>(), [&path]);
    let mut store = disk(lock);
    assert!(matches!(store.save(record), Err(StoreError::Foreign { .. })));
    assert!(matches!(store.delete(record.session(), record.kind()), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(files(store.directory.path()), [path]);
}

#[test]
fn a_record_of_another_key_is_left_alone() {
    let (elsewhere, sandbox) = (Sandbox::new(), Sandbox::new());
    let record = sample::tokens("corp");
    disk(&lock(&elsewhere)).save(&record).unwrap();
    let lock = lock(&sandbox);
    drop(disk(&lock));
    std::fs::copy(path_of(&elsewhere, &record), path_of(&sandbox, &record)).unwrap();
    is_left_alone(&sandbox, &lock, &record);
}

#[test]
fn a_record_of_a_newer_version_is_left_alone() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let record = sample::tokens("corp");
    drop(disk(&lock));
    let newer = "{\"magic\":\"sso-agent-record\",\"version\":2,\"key_id\":{\"of\":\"another shape\"}}\nsealed";
    std::fs::write(path_of(&sandbox, &record), newer).unwrap();
    is_left_alone(&sandbox, &lock, &record);
}

#[test]
fn an_older_record_never_lands_over_a_newer_one() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (old, new) = (sample::tokens_issued("corp", 1000), sample::tokens_issued("corp", 2000));
    let mut stale = disk(&lock);
    stale.save(&old).unwrap();
    disk(&lock).save(&new).unwrap();
    assert!(matches!(stale.save(&old), Err(StoreError::Newer { .. })));
    assert_eq!(load(&lock).records, [new]);
}

#[test]
fn an_old_backup_under_a_running_agent_gives_way_to_the_next_save() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (old, new) = (sample::tokens_issued("corp", 1000), sample::tokens_issued("corp", 2000));
    let mut store = disk(&lock);
    let path = sandbox.path().join(RECORDS).join(file_name(old.session(), old.kind()));
    store.save(&old).unwrap();
    let backup = std::fs::read(&path).unwrap();
    store.save(&sample::tokens_issued("corp", 1500)).unwrap();
    std::fs::write(&path, &backup).unwrap();
    store.save(&new).unwrap();
    assert_eq!(load(&lock).records, [new]);
    std::fs::write(&path, &backup).unwrap();
    assert_eq!(load(&lock).records, [old], "whoever starts with it believes it");
}

#[test]
fn sequence_numbers_grow_through_failures_and_deletions() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let mut store = disk(&lock);
    let record = sample::tokens("corp");
    let name = file_name(record.session(), record.kind());
    let mut last = 0;
    for step in [None, Some(super::super::file::Step::SyncDirectory), Some(super::super::file::Step::Write), None] {
        store.directory.fail_at(step);
        let _ = store.save(&record);
        assert!(store.sequences[&name] > last);
        last = store.sequences[&name];
    }
    store.delete(record.session(), record.kind()).unwrap();
    store.save(&record).unwrap();
    assert!(store.sequences[&name] > last);
}

#[test]
fn one_file_that_cannot_be_read_does_not_hide_the_others() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let (good, odd) = (sample::tokens("corp"), sample::tokens("other"));
    let mut store = disk(&lock);
    store.save(&good).unwrap();
    std::fs::create_dir(path_of(&sandbox, &odd)).unwrap();
    let loaded = load(&lock);
    assert_eq!(loaded.records, [good]);
    assert_eq!(loaded.reports.iter().map(|report| &report.file).collect::<Vec<_>>(), [&path_of(&sandbox, &odd)]);
    assert!(matches!(store.save(&odd), Err(StoreError::Io { .. })));
}

#[test]
fn files_that_are_not_records_are_not_touched() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let mut store = disk(&lock);
    let notes = store.directory.path().join("notes.sealed");
    std::fs::write(&notes, "mine").unwrap();
    assert_eq!(store.load().unwrap().reports, []);
    assert_eq!(std::fs::read(notes).unwrap(), b"mine");
}

#[test]
fn a_lost_key_is_not_replaced_while_its_records_exist() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let record = sample::tokens("corp");
    disk(&lock).save(&record).unwrap();
    let (key, key_record) = (sandbox.path().join(KEY_FILE), sandbox.path().join(KEY_RECORD));
    let (good_key, good_record) = (std::fs::read(&key).unwrap(), std::fs::read(&key_record).unwrap());
    let sealed = std::fs::read(path_of(&sandbox, &record)).unwrap();

    std::fs::remove_file(&key).unwrap();
    let error = why_closed(&lock);
    assert!(matches!(error, OpenError::KeyMissing { sealed: 1, .. }), "{error}");
    assert!(error.hint().contains("backup"));
    assert!(!key.exists());

    std::fs::write(&key, "").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(matches!(why_closed(&lock), OpenError::Key(_)));
    std::fs::write(&key, KeyBytes::random().unwrap().to_text().as_bytes()).unwrap();
    assert!(matches!(why_closed(&lock), OpenError::WrongKey { .. }));

    std::fs::write(&key, good_key).unwrap();
    std::fs::remove_file(&key_record).unwrap();
    assert!(matches!(why_closed(&lock), OpenError::KeyRecordMissing { .. }));
    std::fs::write(&key_record, "{").unwrap();
    assert!(matches!(why_closed(&lock), OpenError::KeyRecordDamaged { .. }));

    std::fs::write(&key_record, good_record).unwrap();
    assert_eq!(std::fs::read(path_of(&sandbox, &record)).unwrap(), sealed);
    assert_eq!(load(&lock).records, [record]);
}

#[test]
fn a_kind_of_key_that_is_not_known_is_not_replaced() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let recorded = format!(r#"{{"key_id":"{}","kind":"moon"}}"#, "0".repeat(32));
    std::fs::write(sandbox.path().join(KEY_RECORD), &recorded).unwrap();
    assert!(matches!(why_closed(&lock), OpenError::UnknownKind { .. }));
    assert_eq!(std::fs::read_to_string(sandbox.path().join(KEY_RECORD)).unwrap(), recorded);
    assert!(!sandbox.path().join(KEY_FILE).exists());
}

#[test]
fn keeping_nothing_writes_nothing() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let before = files(sandbox.path());
    let mut store = open(&lock, KeyKind::None).unwrap();
    assert_eq!(store.protection().key, "none");
    store.save(&sample::tokens("corp")).unwrap();
    store.delete(sample::tokens("corp").session(), RecordKind::Tokens).unwrap();
    assert_eq!(store.load().records, []);
    assert_eq!(files(sandbox.path()), before);
    assert!(!sandbox.path().join(RECORDS).exists());
}

#[test]
fn keeping_nothing_is_refused_while_records_are_kept() {
    let sandbox = Sandbox::new();
    let lock = lock(&sandbox);
    let record = sample::tokens("corp");
    disk(&lock).save(&record).unwrap();
    let before = files(sandbox.path());
    assert!(matches!(open(&lock, KeyKind::None).err().unwrap(), OpenError::RecordsExist { .. }));
    assert_eq!(files(sandbox.path()), before);
    assert_eq!(load(&lock).records, [record]);
}

/// The umask belongs to the whole process, so it is tried in one of its own.
#[test]
fn modes_do_not_depend_on_the_umask() {
    if let Some(state) = child::told() {
        let lock = StateLock::acquire(&state, Path::new(SOCKET)).unwrap();
        return open(&lock, KeyKind::Auto).unwrap().save(&sample::tokens("corp")).unwrap();
    }
    for umask in ["000", "077", "777"] {
        let sandbox = Sandbox::new();
        let state = sandbox.path().join("a/state");
        let launcher = ["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"];
        let test = "store::disk::tests::modes_do_not_depend_on_the_umask";
        let child = child::command(&launcher, test, &state).stdout(Stdio::null()).status().unwrap();
        assert!(child.success());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        for directory in [state.parent().unwrap(), &state, &state.join(RECORDS)] {
            assert_eq!(mode(directory), 0o700, "{} with umask {umask}", directory.display());
        }
        let files = files(&state);
        assert_eq!(files.len(), 4);
        for file in files {
            assert_eq!(mode(&file), 0o600, "{} with umask {umask}", file.display());
        }
    }
}
