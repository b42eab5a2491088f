//! What an agent in the background does otherwise than one in the foreground.
//!
//! Owns: leaving the terminal, the word to whoever started it, and its log in the state directory. Refuses to know how
//! it was started: `cli::start` does. Invariants: until the word is said, whoever started it holds the other end of
//! standard output and standard error, and hears there why it came to nothing; afterwards both lead nowhere. Not a line
//! is written to the log but by the holder of the state lock, and none that cannot be written costs more than itself.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::log_file::{Kind, LogFile};

/// Leaves the terminal and the session of whoever started us.
///
/// # Errors
/// The system refuses.
pub fn leave_terminal() -> io::Result<()> {
    match rustix::process::setsid() {
        // It leads one already: then there is nothing to leave.
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Says that requests are answered from now on, and lets go of whoever waited for that.
pub fn acknowledge() {
    // Whoever has stopped waiting is not told; the agent serves all the same.
    let _ = say(READY);
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null");
    let let_go = nowhere.and_then(|nowhere| {
        rustix::stdio::dup2_stdout(&nowhere)?;
        rustix::stdio::dup2_stderr(&nowhere)?;
        Ok(())
    });
    if let Err(error) = let_go {
        tracing::warn!(%error, "standard output and standard error stay with whoever started the agent");
    }
}

/// Says to whoever started us that another agent was faster.
pub fn give_way() {
    let _ = say(TAKEN);
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word}")?;
    out.flush()
}

/// The log of an agent in the background. Every line that came before [`Log::open`] is kept in memory until then.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<State>>);

enum State {
    Waiting(Vec<u8>),
    Open { file: LogFile, lost: u64 },
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Log {
    /// From now on lines go to the log in this directory. To be called by the holder of its lock.
    pub fn open(&self, state_dir: &Path) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = LogFile::new(state_dir.to_owned(), LOG);
        let before = std::mem::replace(&mut *state, State::Open { file, lost: 0 });
        if let State::Waiting(lines) = before
            && !lines.is_empty()
        {
            state.append(&lines);
        }
    }

    /// From now on the place of a panic is in the log as well, because standard error will lead nowhere.
    pub fn tell_panics(&self) {
        let log = self.clone();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
            // Not waited for: should the log itself have panicked, that must come to its end.
            if let Ok(mut state) = log.0.try_lock() {
                state.append(format!("internal error at {place}; please report it\n").as_bytes());
            }
            before(info);
        }));
    }
}

impl State {
    fn append(&mut self, line: &[u8]) {
        match self {
            Self::Waiting(lines) => {
                let room = MOST_WAITING.saturating_sub(lines.len());
                if line.len() <= room {
                    lines.extend_from_slice(line);
                }
            }
            Self::Open { file, lost } => {
                if *lost > 0
                    && file.append(format!("{lost} lines of the log could not be written\n").as_bytes()).is_ok()
                {
                    *lost = 0;
                }
                if file.append(line).is_err() {
                    *lost += 1;
                }
            }
        }
    }
}

/// Takes one line, whole; it never fails, because nobody could do anything about it.
pub struct Line(Log);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.clone())
    }
}

/// What is said on standard output when requests are answered.
pub const READY: &str = "ready";
/// What is said there when another agent holds the state directory.
pub const TAKEN: &str = "taken";
/// The log, and the older ones `agent.log.1` and `agent.log.2`.
pub(crate) const LOG: Kind = Kind { name: "agent.log", files: 3 };
const MOST_WAITING: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn text(dir: &Scratch, age: usize) -> String {
        std::fs::read_to_string(dir.path().join(LOG.file(age))).unwrap_or_default()
    }

    #[test]
    fn what_was_said_before_the_log_was_opened_is_in_it_and_nothing_is_written_before() {
        let dir = Scratch::new();
        let log = Log::default();
        log.make_writer().write_all(b"one\n").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        log.open(dir.path());
        log.make_writer().write_all(b"two\n").unwrap();
        assert_eq!(text(&dir, 0), "one\ntwo\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_cost_nothing_else() {
        let dir = Scratch::new();
        let log = Log::default();
        // A directory where the file should be.
        let in_the_way = dir.path().join(LOG.name);
        std::fs::create_dir(&in_the_way).unwrap();
        log.open(dir.path());
        for line in ["one\n", "two\n"] {
            log.make_writer().write_all(line.as_bytes()).unwrap();
        }
        std::fs::remove_dir(in_the_way).unwrap();
        log.make_writer().write_all(b"three\n").unwrap();
        assert_eq!(text(&dir, 0), "2 lines of the log could not be written\nthree\n");
    }

    #[test]
    fn a_log_grows_over_three_files_and_no_further() {
        let dir = Scratch::new();
        let log = Log::default();
        log.open(dir.path());
        let line = [&[b'x'; 64 * 1024 - 1][..], b"\n"].concat();
        for _ in 0..100 {
            log.make_writer().write_all(&line).unwrap();
        }
        let sizes: Vec<usize> = (0..4).map(|age| text(&dir, age).len()).collect();
        assert!(sizes[..3].iter().all(|size| (1..=1024 * 1024).contains(size)) && sizes[3] == 0, "{sizes:?}");
    }
}
