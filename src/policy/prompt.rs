//! Prompts: which program shows them, and how it is started.
//!
//! Owns: the choice among those of the machine, and their surroundings. Refuses to know who asks for what. Invariants: a
//! prompt runs in a process of its own that inherits nothing but the way to the display; its program is found by an
//! absolute entry of the agent's `PATH`, never through a shell; text from outside is cleaned and is an argument or a line
//! of a protocol, never part of a command; a prompt does not outlive its time.

use std::fmt;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::confirm::Prompter;
use super::pinentry;
use crate::env::Env;
use crate::panics;
use crate::untrusted::shown;

/// What the user is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// A few words.
    pub title: String,
    /// Who wants what.
    pub text: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The user said yes.
    Allowed,
    /// The user said no.
    Refused,
    /// Nobody said anything.
    Unanswered,
    /// It could not be shown, for this reason.
    Unavailable(String),
}

/// The prompts of this machine.
pub struct SystemPrompter {
    env: Env,
}

impl SystemPrompter {
    /// On the display that this environment leads to. Nothing is looked for before somebody is to be asked.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone() }
    }

    async fn ask_by_all(&self, question: &Question) -> Outcome {
        let mut reasons = Vec::new();
        for kind in KINDS {
            if kind.needs_display && !self.has_display() {
                continue;
            }
            let Some(program) = self.find(kind.program) else { continue };
            match self.ask_by(kind, &program, question).await {
                Outcome::Unavailable(reason) => {
                    tracing::info!(program = kind.program, "no prompt: {}", shown(&reason));
                    reasons.push(format!("{}: {reason}", kind.program));
                }
                outcome => return outcome,
            }
        }
        let none = || "there is no pinentry, zenity or kdialog that can reach a display".to_owned();
        Outcome::Unavailable(if reasons.is_empty() { none() } else { reasons.join("; ") })
    }

    async fn ask_by(&self, kind: &Kind, program: &PathBuf, question: &Question) -> Outcome {
        let (title, text) = (shown(&question.title).to_string(), shown(&question.text).to_string());
        let mut command = Command::new(program);
        command.args((kind.arguments)(&title, &text)).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        command.envs(SURROUNDINGS.iter().filter_map(|name| Some((name, self.env.get_os(name)?))));
        // Not the terminal's: what is typed there is for others, such as Ctrl-C.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => return Outcome::Unavailable(error.to_string()),
        };
        let (Some(input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
            return Outcome::Unavailable("it has no pipes".to_owned());
        };
        let (tell, told) = oneshot::channel();
        let talk = kind.talk;
        panics::spawn_expendable(move || {
            // Nobody listens any more when its time is over.
            let _ = tell.send(talk(input, output, &title, &text));
        });
        match timeout(ASKED_FOR + GRACE, told).await {
            Ok(Ok(Told::Outcome(outcome))) => outcome,
            Ok(Ok(Told::Ended(output))) => match child.0.wait() {
                Ok(status) => (kind.judge)(status, &output),
                Err(error) => Outcome::Unavailable(error.to_string()),
            },
            Ok(Err(_)) => Outcome::Unavailable("it was not understood".to_owned()),
            Err(_) => Outcome::Unanswered,
        }
    }

    fn has_display(&self) -> bool {
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| self.env.get_os(name).is_some_and(|value| !value.is_empty()))
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        if program.starts_with('/') {
            return Some(PathBuf::from(program)).filter(|path| path.exists());
        }
        let path = self.env.get_os("PATH")?;
        let entries = std::env::split_paths(path).filter(|entry| entry.is_absolute());
        let runs = |path: &PathBuf| {
            std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        entries.map(|entry| entry.join(program)).find(runs)
    }
}

impl Prompter for SystemPrompter {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(async move { self.ask_by_all(&question).await })
    }
}

impl fmt::Debug for SystemPrompter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SystemPrompter")
    }
}

/// A prompt on the screen, gone when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and after SIGKILL it does at once.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One way to ask.
struct Kind {
    program: &'static str,
    needs_display: bool,
    arguments: fn(&str, &str) -> Vec<String>,
    talk: fn(ChildStdin, ChildStdout, &str, &str) -> Told,
    judge: fn(ExitStatus, &str) -> Outcome,
}

/// What its pipes have told.
pub(super) enum Told {
    /// All there is to know.
    Outcome(Outcome),
    /// It has ended, or is about to, with this output; its exit code says the rest.
    Ended(String),
}

/// What it writes, until it ends.
fn listen(input: ChildStdin, mut output: ChildStdout, _: &str, _: &str) -> Told {
    use std::io::Read;
    drop(input);
    let mut text = Vec::new();
    // What came before an error is judged as it is.
    let _ = output.by_ref().take(4096).read_to_end(&mut text);
    Told::Ended(String::from_utf8_lossy(&text).into_owned())
}

fn of_pinentry(_: &str, _: &str) -> Vec<String> {
    Vec::new()
}

fn of_zenity(title: &str, text: &str) -> Vec<String> {
    let seconds = ASKED_FOR.as_secs();
    let mut words = vec!["--question".to_owned(), "--no-markup".to_owned(), "--default-cancel".to_owned()];
    words.extend([format!("--title={title}"), format!("--text={text}"), format!("--timeout={seconds}")]);
    words.extend(["--ok-label=Allow".to_owned(), "--cancel-label=Refuse".to_owned()]);
    words
}

fn of_kdialog(title: &str, text: &str) -> Vec<String> {
    // It shows rich text where the text looks like that.
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    ["--title", title, "--yes-label", "Allow", "--no-label", "Refuse", "--yesno", &text].map(str::to_owned).into()
}

#[cfg(target_os = "macos")]
fn of_osascript(title: &str, text: &str) -> Vec<String> {
    ["-e", SCRIPT, "--", title, text].map(str::to_owned).into()
}

fn by_exit_code(status: ExitStatus, _: &str) -> Outcome {
    match status.code() {
        Some(0) => Outcome::Allowed,
        Some(1 | 2) => Outcome::Refused,
        Some(5) => Outcome::Unanswered,
        _ => Outcome::Unavailable(format!("it ended with {status}")),
    }
}

#[cfg(target_os = "macos")]
fn by_words(status: ExitStatus, output: &str) -> Outcome {
    match (status.success(), output.trim()) {
        (true, "Allow") => Outcome::Allowed,
        (true, "") => Outcome::Unanswered,
        (true, _) => Outcome::Refused,
        (false, _) => Outcome::Unavailable(format!("it ended with {status}")),
    }
}

const fn pinentry(program: &'static str) -> Kind {
    Kind {
        program,
        needs_display: false,
        arguments: of_pinentry,
        talk: pinentry::converse,
        judge: |status, _| Outcome::Unavailable(format!("it ended with {status}")),
    }
}

/// In the order in which they are tried: those made for the purpose first. A `pinentry` that has no display looks for a
/// terminal, which it is not given, and says so.
const KINDS: &[Kind] = &[
    #[cfg(target_os = "macos")]
    Kind {
        program: "/usr/bin/osascript",
        needs_display: false,
        arguments: of_osascript,
        talk: listen,
        judge: by_words,
    },
    pinentry("pinentry"),
    pinentry("pinentry-gnome3"),
    pinentry("pinentry-qt"),
    pinentry("pinentry-gtk-2"),
    Kind { program: "zenity", needs_display: true, arguments: of_zenity, talk: listen, judge: by_exit_code },
    Kind { program: "kdialog", needs_display: true, arguments: of_kdialog, talk: listen, judge: by_exit_code },
];

/// The way to the display, and how to speak there.
const SURROUNDINGS: [&str; 11] = [
    "HOME",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
    "XDG_CURRENT_DESKTOP",
    "DBUS_SESSION_BUS_ADDRESS",
    "LANG",
    "LC_ALL",
    "LC_MESSAGES",
];
/// How long a prompt stays.
pub(super) const ASKED_FOR: Duration = Duration::from_secs(60);
/// For one that takes its own time before it goes.
const GRACE: Duration = Duration::from_secs(3);
#[cfg(target_os = "macos")]
const SCRIPT: &str = "on run argv
set answer to display dialog (item 2 of argv) with title (item 1 of argv) buttons {\"Refuse\", \"Allow\"} \
default button \"Refuse\" giving up after 60
return button returned of answer
end run";
