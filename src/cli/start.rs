//! `start`: the agent in the background.
//!
//! Owns: whether one is started at all, who starts it (we, or the service manager that has a unit for it), what it is
//! given, and waiting for its word. Refuses to know how it runs: `background` and `agent` do. Invariants: of many that
//! start at once one starts, and the others wait for that; the agent gets no descriptor, directory or terminal of ours;
//! on demand it gets no more of the environment than `launch` lets through.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::event::PollFlags;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::background;
use crate::client::{Client, ClientError, Deadline};
use crate::descriptors;
use crate::env::Env;
use crate::exit::Exit;
use crate::launch;
use crate::paths::{self, SocketPath};
use crate::recorded::from_anywhere;
use crate::service;
use crate::source::Locations;
use crate::untrusted::shown;

use super::context::{BRIEFLY, Context, read};
use super::failure::Failure;
use super::run::LogOptions;
use super::status::every_status;
use super::supervisor::Supervisor;

/// Start the agent in the background, and return when it is ready
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Say nothing unless it fails, mind what forbids to start an agent on demand, and pass on only a part of the
    /// environment: what programs run that find no agent
    #[arg(long, conflicts_with_all = ["json", "config", "log_format", "log_json"])]
    quiet: bool,
    /// The agent's settings, instead of ~/.config/sso-agent/config.toml
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
    /// Print what runs as JSON
    #[arg(long)]
    json: bool,
}

/// Stop the agent and start it again; who is signed in stays so
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Restart {
    /// The agent's settings, instead of ~/.config/sso-agent/config.toml
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
    /// Print what runs as JSON
    #[arg(long)]
    json: bool,
}

impl Restart {
    /// The second half.
    pub(super) fn start(&self) -> Options {
        Options { quiet: false, config: self.config.clone(), log: self.log.clone(), json: self.json }
    }
}

/// An agent that answers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) socket: String,
}

/// What `start --json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    started: bool,
    pid: u32,
    version: &'a str,
    socket: &'a str,
    /// Where its log is, if it is a file.
    log: Option<&'a Path>,
}

/// Runs the command; `socket` is the value of `--socket`.
pub(super) fn run(options: &Options, socket: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    let start = Start::new(options, socket, context.env)?;
    if options.quiet {
        let one_line = |failure: Failure| Failure::ForPrograms { message: one_line(&failure), exit: failure.exit() };
        start.start(context).map(drop).map_err(one_line)
    } else {
        let (running, how) = start.start(context)?;
        start.tell(&running, how, context)
    }
}

/// How it came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It ran before.
    Already,
    /// It was started here.
    Started,
    /// The service manager has started it, and keeps its log.
    BySupervisor,
}

/// Everything that one start needs to know.
pub(super) struct Start<'a> {
    options: &'a Options,
    env: &'a Env,
    socket: SocketPath,
    state_dir: PathBuf,
}

impl<'a> Start<'a> {
    pub(super) fn new(options: &'a Options, socket: Option<&Path>, env: &'a Env) -> Result<Self, Failure> {
        let socket = SocketPath::find(env, socket)?;
        Ok(Self { options, env, socket, state_dir: paths::state_dir(env)? })
    }

    /// The service manager, if the agent is its affair. A unit knows nothing of settings that were named here.
    fn unit(&self) -> Option<Supervisor> {
        let named = self.options.config.is_some();
        if named { None } else { Supervisor::of_installed_unit(self.env, &self.socket) }
    }

    /// Why no agent may be started on demand, if so.
    fn forbidden(&self) -> Option<Failure> {
        let place = if launch::is_forbidden(self.env) {
            "SSO_AGENT_AUTOSTART".to_owned()
        } else {
            // Settings that cannot be read are the agent's to complain about.
            let settings = Locations::from_env(self.env, None).and_then(|locations| locations.settings()).ok()?;
            if settings.autostart {
                return None;
            }
            format!("autostart in {}", shown(&settings.file.to_string_lossy()))
        };
        Some(Failure::NotStarted {
            message: format!("the agent is not running, and {place} forbids to start it on demand; sso-agent start"),
            exit: Exit::NoAgent,
        })
    }

    /// Returns when an agent answers.
    pub(super) fn start(&self, context: &mut Context<'_>) -> Result<(Running, How), Failure> {
        let client = Client::new(self.socket.clone(), Some(self.state_dir.clone()));
        if let Some(running) = answering(&client)? {
            return Ok((running, How::Already));
        }
        if let Some(failure) = self.forbidden().filter(|_| self.options.quiet) {
            return Err(failure);
        }
        paths::make_private_directory(&self.state_dir)?;
        let deadline = Deadline::after(PATIENCE);
        let _turn = Turn::take(&self.state_dir, deadline)?;
        context.progress("starting the agent");
        let outcome = loop {
            // Whoever had the turn before may have started one.
            match answering(&client) {
                Ok(None) => {}
                Ok(Some(running)) => break Ok((running, How::Already)),
                Err(failure) => break Err(failure),
            }
            if let Some(supervisor) = self.unit() {
                break supervisor.start().and_then(|()| {
                    let running = answering(&client)?.ok_or_else(|| Failure::NotStarted {
                        message: format!("{supervisor} has started the agent, and it does not answer"),
                        exit: Exit::NoAgent,
                    })?;
                    Ok((running, How::BySupervisor))
                });
            }
            match self.launch(deadline) {
                Ok(Word::Ready { pid }) => {
                    let version = env!("CARGO_PKG_VERSION").to_owned();
                    let socket = self.socket.path().display().to_string();
                    break Ok((Running { pid, version, socket }, How::Started));
                }
                // Another one was faster, by another way than ours: in the next round it answers, or has ended.
                Ok(Word::Taken(_)) if !deadline.left().is_zero() => {}
                Ok(Word::Taken(failure)) | Err(failure) => break Err(failure),
            }
        };
        context.progress_done();
        outcome
    }

    fn launch(&self, deadline: Deadline) -> Result<Word, Failure> {
        let failed = |doing| move |source| Failure::Start { doing, source };
        descriptors::keep_from_children().map_err(failed("look at what is open"))?;
        let mut command = Command::new(self.program()?);
        command.args(["run", "--background"]);
        if self.socket.is_explicit() {
            command.arg("--socket").arg(self.socket.path());
        }
        if let Some(config) = &self.options.config {
            command.arg("--config").arg(std::path::absolute(config).map_err(failed("find the settings"))?);
        }
        if self.options.log.is_json() {
            command.args(["--log-format", "json"]);
        }
        command.env_clear().envs(self.environment()).current_dir("/");
        service::keep_from(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        word(command.spawn().map_err(failed("run its program"))?, deadline)
    }

    /// On demand only what nobody else can have written; somebody who types `start` has chosen the program already.
    fn program(&self) -> Result<PathBuf, Failure> {
        let ours = if self.options.quiet { None } else { std::env::current_exe().ok().filter(|path| path.exists()) };
        let program = match ours {
            Some(program) => Some(program),
            None => launch::program()
                .map_err(|error| Failure::NotStarted { message: error.to_string(), exit: Exit::NoAgent })?,
        };
        program.ok_or_else(|| Failure::NotStarted {
            message: "the program of this command is not where it was; start it again".to_owned(),
            exit: Exit::NoAgent,
        })
    }

    /// What the agent is given. Relative paths are meant from here, and it works elsewhere.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut variables = if self.options.quiet {
            launch::environment(self.env)
        } else {
            self.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        for (name, value) in &mut variables {
            if let Some(name) = name.to_str() {
                *value = from_anywhere(name, value);
            }
        }
        variables
    }

    /// Says what runs now.
    pub(super) fn tell(&self, running: &Running, how: How, context: &mut Context<'_>) -> Result<(), Failure> {
        let log = self.state_dir.join(background::LOG.name);
        let log = Some(log.as_path()).filter(|log| how != How::BySupervisor && log.exists());
        if self.options.json {
            let Running { pid, version, socket } = running;
            return context.print_json(&Printed { started: how != How::Already, pid: *pid, version, socket, log });
        }
        let socket = shown(&running.socket).to_string();
        let already = if how == How::Already { " already" } else { "" };
        context.say(&format!("the agent is running{already}: pid {}, socket {socket}", running.pid));
        if let Some(log) = log.filter(|_| how == How::Started) {
            context.say(&format!("its log: {}", shown(&log.to_string_lossy())));
        }
        context.remark_on_version(Some(&running.version));
        Ok(())
    }
}

/// The agent that answers here, if one does. One that starts or ends is waited for.
pub(super) fn answering(client: &Client) -> Result<Option<Running>, Failure> {
    let mut absent = false;
    let answer = client.send_or(&every_status(), BRIEFLY, &mut |_| {
        absent = true;
        Err(ClientError::NotStarted { message: String::new() })
    });
    match answer {
        Ok(reply) => read(&reply).map(Some),
        Err(_) if absent => Ok(None),
        Err(ClientError::NoAgent { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an agent said about its start.
enum Word {
    Ready {
        pid: u32,
    },
    /// And how it said that for people.
    Taken(Failure),
}

/// Waits for the agent's word.
fn word(mut child: Child, deadline: Deadline) -> Result<Word, Failure> {
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failure::NotStarted {
            message: "the agent has no standard output".to_owned(),
            exit: Exit::Internal,
        });
    };
    let failed = |source| Failure::Start { doing: "listen to it", source };
    let mut stdout = BufReader::new(stdout);
    let mut word = String::new();
    // It writes one whole line, or none.
    deadline.wait(stdout.get_ref(), PollFlags::IN)?;
    stdout.read_line(&mut word).map_err(failed)?;
    if word.trim_end() == background::READY {
        return Ok(Word::Ready { pid: child.id() });
    }
    // Whatever it was, it has come to its end.
    let mut report = Vec::new();
    deadline.wait(&stderr, PollFlags::IN)?;
    stderr.by_ref().take(MOST_REPORT).read_to_end(&mut report).map_err(failed)?;
    drop(stderr);
    let status = child.wait().map_err(failed)?;
    let mut report = String::from_utf8_lossy(&report).into_owned();
    if report.trim().is_empty() {
        report = format!("error: the agent ended at its start: {status}");
    }
    let failure = Failure::Reported { report, exit: status.code().and_then(Exit::of_code).unwrap_or(Exit::NoAgent) };
    if word.trim_end() == background::TAKEN { Ok(Word::Taken(failure)) } else { Err(failure) }
}

/// The turn to start an agent; the next in line has it when this is dropped.
struct Turn {
    _file: File,
}

impl Turn {
    /// Waits for it, but not for ever: whoever has it may hang. Where there can be no such line, everybody tries, and the
    /// state lock decides.
    fn take(state_dir: &Path, deadline: Deadline) -> Result<Option<Self>, Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let Ok(file) = rustix::fs::open(state_dir.join(TURN_FILE), flags, Mode::RUSR | Mode::WUSR) else {
            return Ok(None);
        };
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self { _file: file.into() })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if deadline.left().is_zero() => {
                    let message = format!(
                        "somebody else has been starting the agent for {} s and is not done; look for: sso-agent start",
                        PATIENCE.as_secs()
                    );
                    return Err(Failure::NotStarted { message, exit: Exit::NoAgent });
                }
                Err(Errno::WOULDBLOCK) => deadline.pause(TURN_PAUSE)?,
                Err(_) => return Ok(None),
            }
        }
    }
}

/// A failure in one line, for programs that have no more room.
fn one_line(failure: &Failure) -> String {
    let mut report = Vec::new();
    failure.report(&mut report, false);
    let report = String::from_utf8_lossy(&report).into_owned();
    let parts: Vec<&str> = report
        .lines()
        .map(|line| {
            ["error: ", "caused by: ", "hint: "].iter().fold(line.trim(), |line, word| line.trim_start_matches(word))
        })
        .filter(|line| !line.is_empty())
        .collect();
    let text = parts.join("; ");
    if text.starts_with("the agent is not running") { text } else { format!("the agent could not be started: {text}") }
}

/// An agent whose keyring does not answer is ready sooner.
const PATIENCE: Duration = Duration::from_secs(30);
const TURN_PAUSE: Duration = Duration::from_millis(20);
const TURN_FILE: &str = "start.lock";
const MOST_REPORT: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn whoever_hangs_with_the_turn_is_not_waited_for_without_end() {
        let dir = Scratch::new();
        let soon = || Deadline::after(Duration::from_millis(1));
        let turn = Turn::take(dir.path(), soon()).unwrap();
        assert!(turn.is_some());
        assert!(matches!(Turn::take(dir.path(), soon()), Err(Failure::NotStarted { exit: Exit::NoAgent, .. })));
        drop(turn);
        assert!(Turn::take(dir.path(), soon()).unwrap().is_some());
        assert!(Turn::take(&dir.path().join("nothing"), soon()).unwrap().is_none());
    }
}
