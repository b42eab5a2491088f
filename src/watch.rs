//! Being told when something changes in a directory.
//!
//! Owns: the system's watches and the moment of quiet after a change. Refuses to know what lies in a directory.
//! Invariants: reading is no change; a directory that cannot be watched is no error but a line in the log, and makes
//! the watch blind; while nothing is watched there is no thread and no descriptor.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};

use crate::untrusted::shown;

/// The watched directories.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// What counts in them; everything where there is none.
    names: Arc<Mutex<Option<BTreeSet<OsString>>>>,
    changes: Sender<u64>,
    changed: Receiver<u64>,
    /// Something changed: said when it has been quiet until then.
    due: Option<Instant>,
    blind: bool,
    complained: bool,
}

impl Watch {
    /// Watches nothing.
    #[must_use]
    pub fn nothing() -> Self {
        let (changes, changed) = channel(0);
        Self {
            watcher: None,
            watched: BTreeSet::new(),
            names: Arc::default(),
            changes,
            changed,
            due: None,
            blind: false,
            complained: false,
        }
    }

    /// [`Watch::set`], for changes of entries with these names only; of directories themselves with their own.
    pub fn set_named(&mut self, directories: &BTreeSet<PathBuf>, names: &BTreeSet<OsString>) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some(names.clone());
        self.set(directories);
    }

    /// Whether changes may go unnoticed: some directory that is there could not be watched.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        self.blind
    }

    /// From now on watches these directories, not what is below them, and no others.
    ///
    /// Said again, it watches a directory that was removed and made anew meanwhile. Each time counts as a change.
    pub fn set(&mut self, directories: &BTreeSet<PathBuf>) {
        if directories.is_empty() {
            *self = Self { complained: self.complained, ..Self::nothing() };
            return;
        }
        for gone in self.watched.difference(directories) {
            if let Some(watcher) = &mut self.watcher {
                // It may be gone from the disk too.
                let _ = watcher.unwatch(gone);
            }
        }
        self.watched.retain(|path| directories.contains(path));
        self.blind = false;
        for directory in directories {
            match self.add(directory) {
                Ok(()) => {
                    self.watched.insert(directory.clone());
                }
                Err(error) => self.complain(directory, &error),
            }
        }
        // Whatever happened before the watch was there has been told by nobody.
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until something has changed and it has been quiet for a moment. For ever, where nothing is watched.
    pub async fn changed(&mut self) {
        let due = match self.due {
            Some(due) => due,
            None => {
                if self.changed.changed().await.is_err() {
                    return std::future::pending().await;
                }
                *self.due.insert(Instant::now() + QUIET)
            }
        };
        sleep_until(due).await;
        self.due = None;
        self.changed.borrow_and_update();
    }

    fn add(&mut self, directory: &Path) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => {
                let (changes, names) = (self.changes.clone(), Arc::clone(&self.names));
                none.insert(notify::recommended_watcher(move |event: notify::Result<Event>| {
                    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
                    // An error may mean that events were lost: worth a look.
                    if event.map_or(true, |event| matters(&event, names.as_ref())) {
                        changes.send_modify(|count| *count += 1);
                    }
                })?)
            }
        };
        // A watch is on the directory that was there: a new one of the same name needs its own.
        let _ = watcher.unwatch(directory);
        watcher.watch(directory, RecursiveMode::NonRecursive)
    }

    fn complain(&mut self, directory: &Path, error: &notify::Error) {
        self.watched.remove(directory);
        if matches!(error.kind, notify::ErrorKind::PathNotFound) {
            return;
        }
        self.blind = true;
        if std::mem::replace(&mut self.complained, true) {
            return;
        }
        tracing::warn!(
            directory = %shown(&directory.to_string_lossy()),
            "changes there are noticed late, because the system does not tell of them: {error}"
        );
    }
}

/// Whether something may be another than before; what was only looked at is not.
fn matters(event: &Event, names: Option<&BTreeSet<OsString>>) -> bool {
    if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
        return false;
    }
    let Some(names) = names else { return true };
    // Without a path, anything may have happened.
    event.paths.is_empty() || event.paths.iter().filter_map(|path| path.file_name()).any(|name| names.contains(name))
}

/// A change seldom comes alone.
const QUIET: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    async fn is_told(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.is_ok()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn only(path: &Path) -> BTreeSet<PathBuf> {
        BTreeSet::from([path.to_owned()])
    }

    #[test]
    fn a_write_a_rename_and_a_removal_are_told_and_a_mere_read_is_not() {
        let scratch = Scratch::new();
        let file = scratch.path().join("file");
        std::fs::write(&file, "before").unwrap();
        let mut watch = Watch::nothing();
        watch.set(&only(scratch.path()));
        runtime().block_on(async {
            assert!(is_told(&mut watch).await, "of what was there before");
            std::fs::read(&file).unwrap();
            assert!(
                tokio::time::timeout(Duration::from_millis(50), watch.changed()).await.is_err(),
                "it was only read"
            );
            assert!(watch.due.is_none(), "nothing is pending");
            std::fs::write(&file, "after").unwrap();
            assert!(is_told(&mut watch).await, "written");
            std::fs::rename(&file, scratch.path().join("other")).unwrap();
            assert!(is_told(&mut watch).await, "renamed");
            std::fs::remove_file(scratch.path().join("other")).unwrap();
            assert!(is_told(&mut watch).await, "removed");
        });
    }

    #[test]
    fn what_has_another_name_does_not_count() {
        let scratch = Scratch::new();
        let mut watch = Watch::nothing();
        let own = scratch.path().file_name().unwrap().to_owned();
        watch.set_named(&only(scratch.path()), &BTreeSet::from(["file".into(), own]));
        runtime().block_on(async {
            assert!(is_told(&mut watch).await, "of what was there before");
            std::fs::write(scratch.path().join("other"), "x").unwrap();
            std::fs::rename(scratch.path().join("other"), scratch.path().join("another")).unwrap();
            std::fs::write(scratch.path().join("file"), "x").unwrap();
            assert!(is_told(&mut watch).await);
            // The system tells in order: if the other had counted, it would have been told by now.
            assert!(watch.due.is_none());
            let moved = scratch.path().with_extension("moved");
            std::fs::rename(scratch.path(), &moved).unwrap();
            assert!(is_told(&mut watch).await, "the directory itself");
            std::fs::rename(&moved, scratch.path()).unwrap();
        });
        assert!(!watch.is_blind());
    }

    #[test]
    fn what_was_only_looked_at_does_not_matter() {
        let event = |kind| Event::new(kind).add_path("/d/name".into());
        let names = BTreeSet::from(["name".into()]);
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        for (kind, expected) in [(written, true), (read, false), (opened, false), (EventKind::Any, true)] {
            assert_eq!(matters(&event(kind), Some(&names)), expected, "{kind:?}");
            assert_eq!(matters(&event(kind), None), expected, "{kind:?}");
            assert!(!matters(&event(kind), Some(&BTreeSet::new())));
        }
        assert!(matters(&Event::new(EventKind::Other), Some(&names)), "events were lost");
    }

    #[test]
    fn a_directory_made_anew_is_watched_when_that_is_said_again() {
        let scratch = Scratch::new();
        let directory = scratch.path().join("a");
        let mut watch = Watch::nothing();
        watch.set(&only(&directory));
        for _ in 0..2 {
            std::fs::create_dir(&directory).unwrap();
            watch.set(&only(&directory));
            runtime().block_on(async {
                assert!(is_told(&mut watch).await, "of what was there before");
                std::fs::write(directory.join("file"), "x").unwrap();
                assert!(is_told(&mut watch).await);
            });
            std::fs::remove_dir_all(&directory).unwrap();
        }
        watch.set(&BTreeSet::new());
        assert!(watch.watcher.is_none(), "no thread, no descriptor");
    }

    #[test]
    fn a_change_is_not_lost_when_the_wait_is_given_up_halfway() {
        let scratch = Scratch::new();
        let mut watch = Watch::nothing();
        watch.set(&only(scratch.path()));
        runtime().block_on(async {
            std::fs::write(scratch.path().join("file"), "x").unwrap();
            // Something else happens first, again and again, as in the engine's loop.
            let mut told = false;
            for _ in 0..10_000 {
                told = tokio::time::timeout(Duration::from_millis(2), watch.changed()).await.is_ok();
                if told {
                    break;
                }
            }
            assert!(told);
        });
    }
}
