//! The audit log: who was handed what, and who was refused it by the user's settings.
//!
//! Owns: when a line is written, which repeats are only counted, and what happens when a line cannot be written.
//! Refuses to know secrets: it is told [`HandOut`]s. Invariants: the line is written before the answer; no hand-out is
//! lost from a log that can be written but by SIGKILL, for a count that is not written yet is written with the next line or
//! at the end; without hand-outs there is nothing to do, so there is no timer; whoever comes through a restricted socket
//! cannot fill the log until what it said of others is gone.
//!
//! A line is one small append to a file in the state directory, made on the runtime's thread and not synced: it costs a
//! few microseconds and less than handing it to another thread and waiting for it, which the order (line, then answer)
//! would ask for. After a power failure the last seconds of the log may be missing.

mod ancestry;
mod asker;
mod entry;
mod line;
mod read;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use ancestry::Programs;
pub use asker::{Asker, Caller};
pub use entry::Refusal;
pub use line::{Line, Party};
pub use read::{ReadError, Reading, read};

use crate::api::{AuditStatus, HandOut};
use crate::clock::Clock;
use crate::log_file::{Kind, LogFile};
use crate::settings::AuditMode;
use crate::time::{Mono, Now, Timestamp};
use asker::Who;
use entry::Entry;

/// The log of one agent.
pub struct Audit {
    clock: Arc<dyn Clock>,
    programs: Programs,
    mode: AtomicU8,
    failed: AtomicU64,
    book: Mutex<Book>,
    hasher: RandomState,
}

/// The file, and what is not in it yet.
struct Book {
    file: LogFile,
    windows: HashMap<u64, Window>,
    /// The last line could not be written.
    failing: bool,
}

/// A hand-out that was written down, and how often it was repeated since.
struct Window {
    line: Line,
    who: Arc<Who>,
    until: Mono,
    repeats: u64,
    last: Timestamp,
}

impl Audit {
    /// The log in this state directory. Nothing is opened before there is something to write.
    #[must_use]
    pub fn new(state_dir: PathBuf, mode: AuditMode, programs: Programs, clock: Arc<dyn Clock>) -> Self {
        let book = Book { file: LogFile::new(state_dir, FILES), windows: HashMap::new(), failing: false };
        Self {
            clock,
            programs,
            mode: AtomicU8::new(mode as u8),
            failed: AtomicU64::new(0),
            book: Mutex::new(book),
            hasher: RandomState::new(),
        }
    }

    /// What the settings say now.
    pub fn set_mode(&self, mode: AuditMode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// For `status`.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        AuditStatus { mode: self.mode().as_str().to_owned(), failed: self.failed.load(Ordering::Relaxed) }
    }

    /// Writes down that this is about to be handed to `asker`.
    ///
    /// # Errors
    /// It could not be written, and must not be handed out therefore.
    pub fn note(&self, hand_out: HandOut<'_>, asker: &Asker) -> Result<(), NotWritten> {
        self.write_down(hand_out.into(), asker)
    }

    /// The program behind this connection, as the log has it.
    #[must_use]
    pub fn caller(&self, asker: &Asker) -> Caller {
        asker.caller(&self.programs, self.clock.now().mono)
    }

    /// Writes down that this was refused to `asker`. Where it cannot be written it is refused all the same.
    pub fn note_refusal(&self, refusal: Refusal<'_>, asker: &Asker) {
        // Counted where it could not be written, and nothing else depends on it.
        let _ = self.write_down(refusal.into(), asker);
    }

    fn write_down(&self, entry: Entry<'_>, asker: &Asker) -> Result<(), NotWritten> {
        let mode = self.mode();
        if mode == AuditMode::Off {
            return Ok(());
        }
        let now = self.clock.now();
        let mut who = asker.who(&self.programs, now.mono);
        let mut key = self.hasher.hash_one((&*who, entry));
        let mut book = self.book();
        if book.count(key, &entry, &who, now) {
            return Ok(());
        }
        let mut entry = entry;
        if who.via.is_some() && book.lines_of_door(&who, now) >= MOST_LINES_OF_A_DOOR {
            // From here on they are told together: how many, and no longer who or what else they wanted.
            who = Arc::new(who.anybody());
            entry.asked = None;
            key = self.hasher.hash_one((&*who, entry));
            if book.count(key, &entry, &who, now) {
                return Ok(());
            }
        }
        match book.write(key, &entry, &who, now) {
            Ok(()) => {
                if std::mem::take(&mut book.failing) {
                    tracing::info!("the audit log is written again");
                }
                Ok(())
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut book.failing, true) {
                    tracing::warn!(%error, "the audit log cannot be written");
                }
                if mode == AuditMode::Required { Err(NotWritten(error)) } else { Ok(()) }
            }
        }
    }

    /// Writes the counts of repeats that are complete. Cheap where there are none.
    pub fn settle(&self) {
        let mut book = self.book();
        if !book.windows.is_empty() {
            let now = self.clock.now().mono;
            // What cannot be written is tried again with the next line.
            let _ = book.close_windows(|window| window.until <= now);
        }
    }

    /// Writes all counts: nothing more will be handed out.
    pub fn close(&self) {
        let mut book = self.book();
        if let Err(error) = book.close_windows(|_| true) {
            let lost: u64 = book.windows.drain().map(|(_, window)| window.repeats).sum();
            self.failed.fetch_add(lost, Ordering::Relaxed);
            tracing::warn!(%error, repeats = lost, "the audit log cannot be written: repeats are missing in it");
        }
    }

    fn mode(&self) -> AuditMode {
        AuditMode::ALL.into_iter().find(|mode| *mode as u8 == self.mode.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// A panic while it was held has left at most a count too low.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Audit").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Book {
    /// Counts it, if it is the repeat of what was written down within the last minute.
    fn count(&mut self, key: u64, entry: &Entry<'_>, who: &Who, now: Now) -> bool {
        let window = self.windows.get_mut(&key);
        let window = window.filter(|window| now.mono < window.until && window.line.says(entry) && *window.who == *who);
        let Some(window) = window else { return false };
        window.repeats += 1;
        window.last = now.wall;
        true
    }

    /// How many lines came through this restricted socket within the last minute.
    fn lines_of_door(&self, who: &Who, now: Now) -> usize {
        self.windows.values().filter(|window| now.mono < window.until && window.who.via == who.via).count()
    }

    /// Writes the line and begins to count its repeats.
    fn write(&mut self, key: u64, entry: &Entry<'_>, who: &Arc<Who>, now: Now) -> io::Result<()> {
        let full = self.windows.len() >= MOST_WINDOWS;
        self.close_windows(|window| full || window.until <= now.mono)?;
        let line = Line::new(entry, who, now.wall);
        self.file.append(&line.encode(0))?;
        let until = now.mono.after(WINDOW);
        let window = Window { line, who: Arc::clone(who), until, repeats: 0, last: now.wall };
        // Another one under the same key is one in a universe of hashes; its count is still written.
        if let Some(other) = self.windows.insert(key, window).filter(|other| other.repeats > 0) {
            self.file.append(&other.line.at(other.last).encode(other.repeats))?;
        }
        Ok(())
    }

    /// Forgets windows that are over, once what they have counted is written.
    fn close_windows(&mut self, is_over: impl Fn(&Window) -> bool) -> io::Result<()> {
        let Self { file, windows, .. } = self;
        let mut outcome = Ok(());
        windows.retain(|_, window| {
            if outcome.is_err() || !is_over(window) {
                return true;
            }
            if window.repeats > 0 {
                outcome = file.append(&window.line.clone().at(window.last).encode(window.repeats));
            }
            outcome.is_err()
        });
        outcome
    }
}

/// A line could not be written, and the settings say that nothing is handed out without.
#[derive(Debug)]
pub struct NotWritten(io::Error);

impl NotWritten {
    /// Why it could not.
    #[must_use]
    pub const fn reason(&self) -> &io::Error {
        &self.0
    }
}

impl fmt::Display for NotWritten {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the audit log cannot be written, and the settings say that nothing is handed out without")
    }
}

impl std::error::Error for NotWritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Where the lines are.
const FILES: Kind = Kind { name: "audit.log", files: 5 };
/// Repeats within this time are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// What came through one restricted socket gets so many lines of its own in this time: a day of them at this rate fills
/// the log, and who lives in a container has no business to.
const MOST_LINES_OF_A_DOOR: usize = 8;
/// More are not counted at once: their counts are written.
const MOST_WINDOWS: usize = 1024;

#[cfg(test)]
mod tests;
