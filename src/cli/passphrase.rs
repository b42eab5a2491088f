//! Passphrases that a person types, or that a script hands over on standard input.
//!
//! Owns: the terminal without echo, and what a new passphrase must be. Refuses to know what it is for. Invariants: a
//! passphrase comes neither from the arguments nor from the environment; the terminal shows again what is typed,
//! whatever ends the question.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use zeroize::Zeroizing;

use crate::secret::Secret;

use super::context::Context;
use super::failure::Failure;

/// Where passphrases come from: the terminal, or a test.
pub(super) trait Keyboard {
    /// Whether a person types.
    fn is_attended(&self) -> bool;

    /// One line, without its end and without being shown; `None` if there is none.
    fn line(&self, prompt: &str) -> io::Result<Option<Secret>>;

    /// One line that may be seen, without its end; `None` if there is none.
    fn answer(&self, prompt: &str) -> io::Result<Option<String>>;
}

/// The passphrase that there is.
pub(super) fn existing(context: &Context<'_>) -> Result<Secret, Failure> {
    ask("Passphrase: ", context)
}

/// A passphrase for the time to come: typed twice where a person types, for nobody can see what it is.
pub(super) fn chosen(context: &Context<'_>) -> Result<Secret, Failure> {
    let passphrase = ask("New passphrase: ", context)?;
    if passphrase.expose().chars().count() < FEWEST_CHARACTERS {
        return Err(Failure::Usage {
            message: format!("a passphrase of fewer than {FEWEST_CHARACTERS} characters is soon guessed"),
            hint: "several words are easy to remember and hard to guess".to_owned(),
        });
    }
    if context.keyboard.is_attended() && ask("The same again: ", context)? != passphrase {
        return Err(Failure::Usage {
            message: "the two passphrases are not the same".to_owned(),
            hint: "nothing was changed; try again".to_owned(),
        });
    }
    Ok(passphrase)
}

fn ask(prompt: &str, context: &Context<'_>) -> Result<Secret, Failure> {
    let typed = context.keyboard.line(prompt).map_err(Failure::Passphrase)?;
    typed.filter(|typed| !typed.is_empty()).ok_or_else(|| Failure::Usage {
        message: "no passphrase was given".to_owned(),
        hint: "type it when asked, or hand it over as a line on standard input".to_owned(),
    })
}

/// This process's standard input.
pub(super) struct StandardInput;

impl Keyboard for StandardInput {
    fn is_attended(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn line(&self, prompt: &str) -> io::Result<Option<Secret>> {
        if self.is_attended() { at_the_terminal(prompt) } else { from_a_program() }
    }

    fn answer(&self, prompt: &str) -> io::Result<Option<String>> {
        write!(io::stderr(), "{prompt}")?;
        let mut line = String::new();
        let count = io::stdin().read_line(&mut line)?;
        Ok((count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// One line of a program's output. Byte by byte: what comes after it is not ours to take.
fn from_a_program() -> io::Result<Option<Secret>> {
    let mut line = Line::default();
    let mut byte = Zeroizing::new([0]);
    loop {
        match rustix::io::read(io::stdin(), &mut *byte) {
            Ok(0) => return line.end(),
            Ok(_) if byte[0] == b'\n' => return line.end(),
            Ok(_) => line.push(&*byte)?,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn at_the_terminal(prompt: &str) -> io::Result<Option<Secret>> {
    let signals = Signals::catch()?;
    let mut silence = Silence::begin(prompt)?;
    let mut line = Line::default();
    let mut typed = Zeroizing::new([0; 256]);
    loop {
        if let Some(signal) = signals.next_or_input()? {
            // First the terminal as it was: who stops or ends us may be who uses it next.
            drop(silence);
            signal_hook::low_level::emulate_default_handler(signal)?;
            // Only a stop comes back from that.
            silence = Silence::begin(prompt)?;
            continue;
        }
        match rustix::io::read(io::stdin(), &mut *typed) {
            Ok(0) => return line.end(),
            Ok(count) => {
                line.push(typed[..count].strip_suffix(b"\n").unwrap_or(&typed[..count]))?;
                if typed[..count].ends_with(b"\n") {
                    return line.end();
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The terminal shows nothing of what is typed, as long as this lives.
struct Silence(Termios);

impl Silence {
    fn begin(prompt: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // The end of the line is shown, so that the next words do not stand behind the prompt. And Ctrl-C takes away
        // nothing that was typed before it: what was there to be read a moment ago must still be, or the reading hangs.
        silent.local_modes = (silent.local_modes - LocalModes::ECHO) | LocalModes::ECHONL | LocalModes::NOFLSH;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        let silence = Self(before);
        write!(io::stderr(), "{prompt}")?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody to tell if the terminal has gone away.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// The signals that would leave the terminal as it is.
struct Signals {
    pipe: UnixStream,
    last: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        if let Some(as_ever) = AS_EVER.get() {
            as_ever.store(false, Ordering::SeqCst);
        }
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let mut signals = Self { pipe, last: Arc::default(), registered: Vec::new() };
        for signal in SIGNALS {
            let number = usize::try_from(signal).unwrap_or_default();
            // In this order: whoever is woken finds the number.
            signals.registered.push(signal_hook::flag::register_usize(signal, Arc::clone(&signals.last), number)?);
            signals.registered.push(signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?);
        }
        Ok(signals)
    }

    /// Waits for either; `None` is input.
    fn next_or_input(&self) -> io::Result<Option<i32>> {
        let stdin = io::stdin();
        let mut ready = [
            PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Ok(1..) = (&self.pipe).read(&mut [0; 16]) {
            return Ok(self.caught());
        }
        Ok(None)
    }

    /// The signal that has come, once.
    fn caught(&self) -> Option<i32> {
        i32::try_from(self.last.swap(0, Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Nobody handling a signal any more would mean that nothing happens.
        let as_ever = AS_EVER.get_or_init(|| {
            let as_ever = Arc::new(AtomicBool::new(false));
            for signal in SIGNALS {
                let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&as_ever));
            }
            as_ever
        });
        as_ever.store(true, Ordering::SeqCst);
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
        if let Some(signal) = self.caught() {
            // It came when the line was complete already.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}

/// Whether signals mean what they ever meant: not while a passphrase is typed.
static AS_EVER: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// A line as it comes: in room that does not grow, for that would leave copies behind.
struct Line(Zeroizing<Vec<u8>>);

impl Default for Line {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(MOST_BYTES)))
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(mut self) -> io::Result<Option<Secret>> {
        if self.0.ends_with(b"\r") {
            self.0.pop();
        }
        let text = String::from_utf8(std::mem::take(&mut *self.0)).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")
        })?;
        Ok(Some(Secret::new(text)))
    }
}

const SIGNALS: [i32; 5] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP];
const FEWEST_CHARACTERS: usize = 8;
const MOST_BYTES: usize = 4096;
