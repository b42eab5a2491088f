//! Being told when something changes in a directory.
//!
//! Owns: the system's watches and the moment of quiet after a change. Refuses to know what lies in a directory.
//! Invariants: reading is no change; a directory that cannot be watched is no error but a line in the log; while
//! nothing is watched there is no thread and no descriptor.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};

/// The watched directories.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    changes: Sender<u64>,
    changed: Receiver<u64>,
    /// Something changed: said when it has been quiet until then.
    due: Option<Instant>,
    complained: bool,
}

impl Watch {
    /// Watches nothing.
    #[must_use]
    pub fn nothing() -> Self {
        let (changes, changed) = channel(0);
        Self { watcher: None, watched: BTreeSet::new(), changes, changed, due: None, complained: false }
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
                let changes = self.changes.clone();
                none.insert(notify::recommended_watcher(move |event: notify::Result<Event>| {
                    // An error may mean that events were lost: worth a look.
                    if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
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
        if matches!(error.kind, notify::ErrorKind::PathNotFound) || std::mem::replace(&mut self.complained, true) {
            return;
        }
        tracing::warn!(
            directory = %directory.display(),
            "changes there are noticed only now and then, because the system does not tell of them: {error}"
        );
    }
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
