//! A stand-in for everything a command talks to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::api::{Code, Problem, Request};
use crate::client::{Absence, ClientError, Reply};
use crate::clock::Clock;
use crate::env::Env;
use crate::exit::Exit;
use crate::secret::{Secret, SecretBytes};
use crate::time::{Mono, Now, Timestamp};

use super::browser::{Browser, OpenError, Opening};
use super::context::{Ask, Context, Terminal};
use super::failure::Failure;
use super::passphrase::Keyboard;
use super::surroundings::{Machine, Surroundings};
use super::watching::{Feed, News};
use super::{Arguments, Command, dispatch};

/// What the stand-in agent does with one request.
pub(super) enum Answer {
    Body(Value),
    Raw(&'static str),
    Problem(Problem),
    /// There is no agent.
    NoAgent,
    /// Ctrl-C is pressed while the agent waits, then it answers.
    Interrupted(Value),
}

/// A world in which time passes only while the agent waits.
pub(super) struct World {
    pub(super) env: Env,
    pub(super) terminal: Terminal,
    pub(super) answers: RefCell<VecDeque<Answer>>,
    pub(super) asked: RefCell<Vec<Request>>,
    pub(super) opened: RefCell<Vec<String>>,
    pub(super) version: Cell<&'static str>,
    pub(super) interrupted: AtomicBool,
    /// What a person types when asked for a passphrase.
    pub(super) typed: RefCell<VecDeque<&'static str>>,
    /// Whether it is a person.
    pub(super) attended: Cell<bool>,
    pub(super) prompts: RefCell<Vec<String>>,
    pub(super) clock: TestClock,
    /// What happens to somebody who watches.
    pub(super) happenings: RefCell<VecDeque<Happening>>,
    /// What somebody who watches has asked, and after which pause.
    pub(super) watched: RefCell<Vec<(Request, Duration)>>,
    pub(super) size: Cell<(usize, usize)>,
}

/// What a command left behind.
pub(super) struct Outcome {
    pub(super) result: Result<(), Failure>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Outcome {
    pub(super) fn exit(&self) -> Exit {
        self.result.as_ref().map_or_else(Failure::exit, |()| Exit::Success)
    }
}

pub(super) struct TestClock(Mutex<Duration>);

impl Clock for TestClock {
    fn now(&self) -> Now {
        let passed = *self.0.lock().unwrap();
        Now { wall: noon().after(passed), mono: Mono::from_start(passed) }
    }
}

/// When the world begins.
fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

impl World {
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            env: Env::default(),
            terminal: Terminal { columns: 80, ..Terminal::default() },
            answers: RefCell::new(answers.into_iter().collect()),
            asked: RefCell::default(),
            opened: RefCell::default(),
            version: Cell::new(env!("CARGO_PKG_VERSION")),
            interrupted: AtomicBool::new(false),
            typed: RefCell::default(),
            attended: Cell::new(true),
            prompts: RefCell::default(),
            clock: TestClock(Mutex::new(Duration::ZERO)),
            happenings: RefCell::default(),
            watched: RefCell::default(),
            size: Cell::new((80, 24)),
        }
    }

    /// Runs a command line, as the real `main` does.
    pub(super) fn run(&self, line: &str) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let result = self.run_into(line, &mut stdout, &mut stderr);
        if let Err(failure) = &result {
            failure.report(&mut stderr, false);
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { result, stdout: text(stdout), stderr: text(stderr) }
    }

    /// The same, without the report of a failure.
    pub(super) fn run_into(
        &self,
        line: &str,
        stdout: &mut dyn std::io::Write,
        stderr: &mut dyn std::io::Write,
    ) -> Result<(), Failure> {
        let words = std::iter::once("sso-agent").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).unwrap();
        let Command::Asking(asking) = arguments.command else { panic!("run asks nobody") };
        dispatch(&asking, &mut self.context(stdout, stderr))
    }

    /// Does something that a command does.
    pub(super) fn with_context<T>(&self, run: impl FnOnce(&mut Context<'_>) -> T) -> T {
        run(&mut self.context(&mut std::io::sink(), &mut std::io::sink()))
    }

    /// The same, with what it prints as a result.
    pub(super) fn with_output<T>(&self, stdout: &mut Vec<u8>, run: impl FnOnce(&mut Context<'_>) -> T) -> T {
        run(&mut self.context(stdout, &mut std::io::sink()))
    }

    fn context<'a>(&'a self, stdout: &'a mut dyn std::io::Write, stderr: &'a mut dyn std::io::Write) -> Context<'a> {
        Context {
            env: &self.env,
            clock: &self.clock,
            zone: TimeZone::UTC,
            terminal: self.terminal,
            surroundings: Surroundings::of(&self.env, Machine::default()),
            agent: self,
            browser: self,
            keyboard: self,
            interrupted: &self.interrupted,
            stdout,
            stderr,
            version_told: false,
        }
    }
}

impl Ask for World {
    fn send(&self, request: &Request, _patience: Duration) -> Result<Reply, ClientError> {
        if let Request::LoginState { wait, .. } = request {
            *self.clock.0.lock().unwrap() += *wait;
        }
        self.asked.borrow_mut().push(request.clone());
        let answer = self.answers.borrow_mut().pop_front();
        let text = match answer.unwrap_or_else(|| panic!("nobody expected {request:?}")) {
            Answer::Body(body) => body.to_string(),
            Answer::Raw(text) => text.to_owned(),
            Answer::Problem(problem) => return Err(ClientError::Problem(Box::new(problem))),
            Answer::NoAgent => {
                return Err(ClientError::NoAgent { socket: "/run/agent.sock".into(), absence: Absence::NoSocket });
            }
            Answer::Interrupted(body) => {
                self.interrupted.store(true, Ordering::SeqCst);
                body.to_string()
            }
        };
        let body = SecretBytes::new(text.into_bytes());
        Ok(Reply { status: 200, agent_version: Some(self.version.get().to_owned()), body })
    }

    fn agent_version(&self) -> Option<String> {
        Some(self.version.get().to_owned())
    }

    fn pause(&self, pause: Duration) {
        *self.clock.0.lock().unwrap() += pause;
    }

    fn feed(&self) -> std::io::Result<Box<dyn Feed + '_>> {
        Ok(Box::new(self))
    }
}

/// What happens while somebody watches; after the last of it, Ctrl-C.
pub(super) enum Happening {
    /// The agent has something new.
    Answer,
    /// So much time passes.
    Time(Duration),
    /// The terminal is this large from now on.
    Size(usize, usize),
    /// Ctrl-Z.
    Suspended,
}

impl Feed for &World {
    fn ask(&mut self, request: Request, pause: Duration, _patience: Duration) {
        self.watched.borrow_mut().push((request, pause));
    }

    fn next(&mut self, most: Duration) -> News {
        let happening = self.happenings.borrow_mut().pop_front();
        let Some(happening) = happening else { return News::Enough };
        match happening {
            Happening::Answer => {
                let (request, pause) = self.watched.borrow().last().cloned().expect("it was asked");
                self.pause(pause);
                News::Answer(self.send(&request, Duration::ZERO))
            }
            Happening::Time(time) => {
                let passes = time.min(most);
                self.pause(passes);
                if passes < time {
                    self.happenings.borrow_mut().push_front(Happening::Time(time - passes));
                }
                News::Time
            }
            Happening::Size(columns, lines) => {
                self.size.set((columns, lines));
                News::Resized
            }
            Happening::Suspended => News::Suspended,
        }
    }

    fn suspend(&self) {}

    fn size(&self) -> (usize, usize) {
        self.size.get()
    }
}

impl Browser for World {
    fn open(&self, link: &str, command: Option<&[String]>) -> Result<Opening, OpenError> {
        let words = command.unwrap_or_default().iter().cloned().chain([link.to_owned()]).collect::<Vec<_>>();
        self.opened.borrow_mut().push(words.join(" "));
        Ok(Opening::default())
    }
}

impl Keyboard for World {
    fn is_attended(&self) -> bool {
        self.attended.get()
    }

    fn line(&self, prompt: &str) -> std::io::Result<Option<Secret>> {
        self.prompts.borrow_mut().push(prompt.to_owned());
        Ok(self.typed.borrow_mut().pop_front().map(|typed| Secret::new(typed.to_owned())))
    }

    fn answer(&self, prompt: &str) -> std::io::Result<Option<String>> {
        self.prompts.borrow_mut().push(prompt.to_owned());
        Ok(self.typed.borrow_mut().pop_front().map(str::to_owned))
    }
}

/// A sign-in's state with these members replaced.
pub(super) fn login_state(state: &str, changes: Value) -> Value {
    let mut body = json!({
        "state": state, "session": "corp", "flow": "device",
        "verification_uri": "https://device.sso.eu-west-1.amazonaws.com/",
        "verification_uri_complete": "https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH",
        "user_code": "ABCD-EFGH", "authorization_url": null, "expires_at": "2026-11-22T12:10:00Z",
        "started_by": "cli", "started_at": "2026-11-22T12:00:00Z", "replaced": false, "joined": false,
        "attempt": 7, "flow_chosen_by": "environment", "browser": null, "code": null, "message": null,
    });
    let (Value::Object(members), Value::Object(changes)) = (&mut body, changes) else { panic!("objects") };
    members.extend(changes);
    body
}

/// A problem of that code.
pub(super) fn problem(code: Code) -> Answer {
    Answer::Problem(Problem::new(code, code.title()))
}
