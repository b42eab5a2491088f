//! What a command has at hand: the environment, the clock, the agent, and where its words go.
//!
//! Owns: asking the agent and the one remark about its version, progress lines, and the way out for results. Refuses to
//! know any command. Invariant: results go to stdout, words for people to stderr, and everything here can be replaced
//! by a test.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use crate::api::Request;
use crate::client::{Client, ClientError, Reply};
use crate::clock::Clock;
use crate::env::Env;
use crate::paths::SocketPath;
use crate::secret::Secret;
use crate::time::{Now, Timestamp};
use crate::untrusted::shown;

use super::browser::Browser;
use super::failure::Failure;
use super::paint::Paint;
use super::passphrase::Keyboard;
use super::surroundings::Surroundings;
use super::watching::{Feed, SystemFeed};
use super::{json, words};

/// Somebody who answers requests: the agent, or a test's stand-in.
pub(super) trait Ask {
    /// Asks and waits at most `patience` for the answer.
    fn send(&self, request: &Request, patience: Duration) -> Result<Reply, ClientError>;

    /// Asks for all of these, several at a time where that is possible. Each answer is handed over with the place of
    /// its request; `false` ends it.
    fn send_all(&self, requests: &[Request], patience: Duration, take: &mut Take<'_>) {
        for (index, request) in requests.iter().enumerate() {
            if !take(index, self.send(request, patience)) {
                return;
            }
        }
    }

    /// The version of the agent that has answered with a problem, where it said so.
    fn agent_version(&self) -> Option<String>;

    /// Lets the time pass that was asked for.
    fn pause(&self, pause: Duration);

    /// What happens from now on, for somebody who watches.
    fn feed(&self) -> io::Result<Box<dyn Feed + '_>>;

    /// Starts somebody where nobody answers, if that is allowed; says whether it did.
    fn start(&self, _patience: Duration) -> Result<bool, ClientError> {
        Ok(false)
    }

    /// Where that is, if it was looked for already.
    fn socket(&self) -> Option<&SocketPath> {
        None
    }
}

/// What takes the answers of many requests.
pub(super) type Take<'t> = dyn FnMut(usize, Result<Reply, ClientError>) -> bool + 't;

impl Ask for Client {
    fn send(&self, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
        Self::send(self, request, patience)
    }

    fn send_all(&self, requests: &[Request], patience: Duration, take: &mut Take<'_>) {
        let next = AtomicUsize::new(0);
        let (answers, answered) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(requests.len()) {
                let (answers, next) = (answers.clone(), &next);
                scope.spawn(move || {
                    while let Some((index, request)) = place(requests, next) {
                        if answers.send((index, Self::send(self, request, patience))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(answers);
            // Dropped before the scope waits, so that nobody goes on asking for somebody who has heard enough.
            let answered = answered;
            for (index, answer) in &answered {
                if !take(index, answer) {
                    break;
                }
            }
        });
    }

    fn agent_version(&self) -> Option<String> {
        Self::agent_version(self)
    }

    fn pause(&self, pause: Duration) {
        // Nobody ever says anything here, so that the deadline is the event.
        let (_nobody, silence) = mpsc::channel::<()>();
        let _ = silence.recv_timeout(pause);
    }

    fn feed(&self) -> io::Result<Box<dyn Feed + '_>> {
        Ok(Box::new(SystemFeed::new(self)?))
    }

    fn socket(&self) -> Option<&SocketPath> {
        Some(Self::socket(self))
    }
}

fn place<'r>(requests: &'r [Request], next: &AtomicUsize) -> Option<(usize, &'r Request)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    requests.get(index).map(|request| (index, request))
}

/// What is known of the terminal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terminal {
    /// Whether a person reads stdout as it is written.
    pub(super) results: bool,
    /// How wide stdout is, where it is a terminal.
    pub(super) width: Option<usize>,
    /// Whether what is on stdout can be written over: a terminal, and not a dumb one.
    pub(super) redraws: bool,
    /// Whether results may be coloured: stdout is a terminal and nobody minds.
    pub(super) colour_out: bool,
    /// Whether words for people may be coloured.
    pub(super) colour_err: bool,
    /// Whether a person reads stderr as it is written.
    pub(super) attended: bool,
    /// Whether a line on stderr can be written over (attended, and not a dumb terminal).
    pub(super) live: bool,
    /// How wide it is.
    pub(super) columns: usize,
}

/// Everything a command may use.
pub(super) struct Context<'a> {
    pub(super) env: &'a Env,
    pub(super) clock: &'a dyn Clock,
    pub(super) zone: TimeZone,
    pub(super) terminal: Terminal,
    pub(super) surroundings: Surroundings,
    pub(super) agent: &'a dyn Ask,
    pub(super) browser: &'a dyn Browser,
    pub(super) keyboard: &'a dyn Keyboard,
    /// Set by Ctrl-C, where a command asked for that.
    pub(super) interrupted: &'a AtomicBool,
    pub(super) stdout: &'a mut dyn Write,
    pub(super) stderr: &'a mut dyn Write,
    /// Whether the remark about the agent's version has been made.
    pub(super) version_told: bool,
}

impl Context<'_> {
    /// Asks the agent. Says once, on stderr, if it is of another version.
    pub(super) fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply, Failure> {
        let answer = self.agent.send(request, patience);
        match &answer {
            Ok(reply) => self.remark_on_version(reply.agent_version.as_deref()),
            // It may be one just because the agent is of another version.
            Err(ClientError::Problem(_)) => self.remark_on_version(self.agent.agent_version().as_deref()),
            Err(_) => {}
        }
        Ok(answer?)
    }

    /// Says once, on stderr, that the agent is of another version, if it is.
    pub(super) fn remark_on_version(&mut self, theirs: Option<&str>) {
        let ours = env!("CARGO_PKG_VERSION");
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours && !self.version_told) {
            self.version_told = true;
            let theirs = shown(theirs).to_string();
            self.say(&format!(
                "warning: the agent is version {theirs}, this command is {ours}; restart it with: sso-agent restart"
            ));
        }
    }

    /// Asks the agent for something that may take a while, and shows meanwhile what that is.
    pub(super) fn ask_slowly(&mut self, request: &Request, patience: Duration, what: &str) -> Result<Reply, Failure> {
        self.progress(what);
        let reply = self.ask(request, patience);
        self.progress_done();
        reply
    }

    /// Asks the agent and reads its answer.
    pub(super) fn ask_for<T: DeserializeOwned>(&mut self, request: &Request, patience: Duration) -> Result<T, Failure> {
        read(&self.ask(request, patience)?)
    }

    /// Asks the agent for all of these, several at a time. Each answer goes to `take` with the place of its request;
    /// `false` ends it.
    pub(super) fn ask_all<F>(&mut self, requests: &[Request], patience: Duration, take: &mut F)
    where
        F: FnMut(usize, Result<Reply, Failure>, &mut Self) -> bool,
    {
        let agent = self.agent;
        agent.send_all(requests, patience, &mut |index, answer| take(index, answer.map_err(Failure::from), self));
    }

    /// Starts an agent on demand; says whether it did.
    pub(super) fn start_agent(&self) -> Result<bool, Failure> {
        Ok(self.agent.start(NETWORK)?)
    }

    /// Both clocks, now.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// A line for people. If nobody can read it, nobody can be told so either.
    pub(super) fn say(&mut self, line: &str) {
        let _ = writeln!(self.stderr, "{line}");
    }

    /// Shows what is going on, where that can be written over again.
    pub(super) fn progress(&mut self, line: &str) {
        if self.terminal.live {
            let line: String = line.chars().take(self.terminal.columns.saturating_sub(1)).collect();
            let _ = write!(self.stderr, "\r\x1b[K{line}");
            let _ = self.stderr.flush();
        }
    }

    /// Takes the progress line away.
    pub(super) fn progress_done(&mut self) {
        if self.terminal.live {
            let _ = write!(self.stderr, "\r\x1b[K");
            let _ = self.stderr.flush();
        }
    }

    /// Prints a result.
    pub(super) fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.write_out(text.as_ref()).map_err(Failure::Output)
    }

    /// Prints a secret that was asked for, as a line.
    pub(super) fn print_secret_line(&mut self, secret: &Secret) -> Result<(), Failure> {
        self.print(secret.expose())?;
        self.print("\n")
    }

    /// Prints an answer as it came, as a line.
    pub(super) fn print_body(&mut self, reply: &Reply) -> Result<(), Failure> {
        self.print_json_text(reply.body.expose())
    }

    /// Prints a value without secrets as one line of JSON.
    pub(super) fn print_json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        self.print_json_text(&serde_json::to_vec(value)?)
    }

    /// Programs get the bytes as they are; a terminal gets the same JSON without what could steer it.
    pub(super) fn print_json_text(&mut self, json: &[u8]) -> Result<(), Failure> {
        if self.terminal.results {
            let safe = Secret::new(json::for_terminal(&String::from_utf8_lossy(json)));
            self.print(safe.expose())?;
        } else {
            self.print(json)?;
        }
        self.print("\n")
    }

    /// Prints a difference between files: as it is for programs, so that it can be applied; for people without what
    /// could steer a terminal.
    pub(super) fn print_diff(&mut self, diff: &[u8]) -> Result<(), Failure> {
        if !self.terminal.results {
            return self.print(diff);
        }
        let mut text = String::new();
        for line in String::from_utf8_lossy(diff).lines() {
            let paint = match line.bytes().next() {
                Some(b'+') => Paint::Green,
                Some(b'-') => Paint::Red,
                Some(b'@') => Paint::Bold,
                _ => Paint::Plain,
            };
            text.push_str(&paint.apply(&shown(line).to_string(), self.terminal.colour_out));
            text.push('\n');
        }
        self.print(text)
    }

    /// `until 17:02 (7 h 12 min)`.
    pub(super) fn until(&self, time: Timestamp) -> String {
        let now = self.now().wall;
        format!("until {} ({})", words::clock_time(time, now, &self.zone), words::duration(time.since(now)))
    }

    fn write_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)?;
        self.stdout.flush()
    }
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, Failure> {
    Ok(serde_json::from_slice(reply.body.expose())?)
}

/// Lists that are asked for at a time: as many as the agent asks the portal for.
const AT_ONCE: usize = 8;
/// How long an answer that needs no network may take.
pub(super) const BRIEFLY: Duration = Duration::from_secs(10);
/// How long an answer that needs the network may take.
pub(super) const NETWORK: Duration = Duration::from_secs(75);
