//! `service status`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::api::Request;
use crate::env::Env;
use crate::exit::Exit;
use crate::recorded::{Difference, Recorded};
use crate::untrusted::shown;

use super::super::context::{BRIEFLY, Context};
use super::super::failure::Failure;
use super::super::paint::Paint;
use super::Trouble;
use super::control::{Kind, Manager, State};
use super::install::{Variable, io_at, variables};
use super::place::Place;
use super::seal::{Standing, standing};

/// Show whether the service is installed, enabled and running, and where its environment differs from this shell's
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    manager: &'static str,
    /// Why the manager cannot be asked.
    no_manager: Option<String>,
    installed: bool,
    enabled: bool,
    listening: bool,
    files: Vec<File>,
    packaged: Option<PathBuf>,
    program: PathBuf,
    version: &'static str,
    running: Option<Running>,
    environment: Environment,
}

#[derive(Debug, Serialize)]
struct File {
    path: PathBuf,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct Running {
    pid: u32,
    version: Option<String>,
}

#[derive(Debug, Serialize)]
struct Environment {
    recorded: Vec<Variable>,
    differences: Vec<Differing>,
}

#[derive(Debug, Serialize)]
struct Differing {
    name: String,
    recorded: Option<String>,
    here: Option<String>,
}

/// What there is of the service, for the program and the places at hand.
pub(in super::super) struct Found {
    program: PathBuf,
    state_dir: PathBuf,
    /// The files that belong to it, and how they are.
    files: Vec<(PathBuf, Standing)>,
    /// Where a package's units for this program lie.
    packaged: Option<PathBuf>,
    state: State,
    no_manager: Option<String>,
}

/// What is to be said of the service, where only one thing can be.
pub(in super::super) enum Verdict {
    /// Nothing of it is there.
    Missing,
    /// Not all of it is there, or of another program.
    Stale(PathBuf),
    /// The manager that should know it cannot be asked.
    NoManager(String),
    /// It would not be there after the next login.
    NotEnabled,
    /// Nobody listens now.
    NotListening,
    /// As it should be.
    Good(PathBuf),
}

impl Found {
    /// Looks, and changes nothing.
    pub(in super::super) fn look(env: &Env, socket: Option<&Path>) -> Result<Self, Failure> {
        let kind = Kind::HERE;
        let place = Place::find(env, socket)?;
        let packaged = kind.packaged(&place, env);
        let mut files = Vec::new();
        for wanted in kind.wanted(&place, env)? {
            let found = standing(&wanted.path, &wanted.content).map_err(io_at("read", &wanted.path))?;
            files.push((wanted.path, found));
        }
        let (state, no_manager) = match Manager::find(kind, env).and_then(|manager| manager.state()) {
            Ok(state) => (state, None),
            Err(Trouble::NoManager { what }) => (State::default(), Some(what)),
            Err(trouble) => return Err(trouble.into()),
        };
        Ok(Self { program: place.program, state_dir: place.state_dir, files, packaged, state, no_manager })
    }

    fn installed(&self) -> bool {
        self.packaged.is_some() || self.files.iter().all(|(_, found)| *found != Standing::Missing)
    }

    /// The worst of it. A unit that somebody has edited is theirs to judge.
    pub(in super::super) fn verdict(self) -> Verdict {
        let is = |standing: Standing| move |(_, found): &&(PathBuf, Standing)| *found == standing;
        if self.packaged.is_none() && self.files.iter().all(|(_, found)| *found == Standing::Missing) {
            return Verdict::Missing;
        }
        let stale = self.files.iter().find(is(Standing::Outdated));
        let stale = stale.or_else(|| self.files.iter().filter(|_| self.packaged.is_none()).find(is(Standing::Missing)));
        if let Some((path, _)) = stale {
            return Verdict::Stale(path.clone());
        }
        match self.no_manager {
            Some(what) => Verdict::NoManager(what),
            None if !self.state.enabled => Verdict::NotEnabled,
            None if !self.state.listening => Verdict::NotListening,
            None => Verdict::Good(
                self.packaged.or_else(|| self.files.into_iter().next().map(|(path, _)| path)).unwrap_or_default(),
            ),
        }
    }
}

/// Runs the command. Exit code 4 where no service is there to answer.
pub(super) fn run(options: &Options, socket: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    let found = Found::look(context.env, socket)?;
    let installed = found.installed();
    let Found { program, state_dir, files, packaged, state, no_manager } = found;
    let file = |(path, found): (PathBuf, Standing)| File { path, state: found.as_str() };
    let recorded = Recorded::read(&state_dir)?;
    // To a service that was never installed there is nothing to compare.
    let differences = recorded.as_ref().map_or_else(Vec::new, |recorded| recorded.differences(context.env));
    let printed = Printed {
        manager: Kind::HERE.as_str(),
        no_manager,
        installed,
        enabled: state.enabled,
        listening: state.listening,
        files: files.into_iter().map(file).collect(),
        packaged,
        program,
        version: env!("CARGO_PKG_VERSION"),
        // Asking where none runs would have one started.
        running: state.pid.map(|pid| Running { pid, version: version(context) }),
        environment: Environment {
            recorded: recorded.as_ref().map_or_else(Vec::new, variables),
            differences: differences.iter().map(Differing::from).collect(),
        },
    };
    if options.json {
        context.print_json(&printed)?;
    } else {
        let text = printed.render(&differences, context.terminal.colour_out);
        context.print(text)?;
    }
    if printed.installed && printed.listening { Ok(()) } else { Err(Failure::Silent(Exit::NoAgent)) }
}

fn version(context: &Context<'_>) -> Option<String> {
    context.agent.send(&Request::Health, BRIEFLY).ok()?.agent_version
}

impl From<&Difference> for Differing {
    fn from(difference: &Difference) -> Self {
        let Difference { name, recorded, here } = difference.clone();
        Self { name, recorded, here }
    }
}

impl Printed {
    fn render(&self, differences: &[Difference], colour: bool) -> String {
        let mut text = String::new();
        let path = |path: &Path| shown(&path.to_string_lossy()).to_string();
        let mut line = |name: &str, paint: Paint, value: &str| {
            let _ = writeln!(text, "{name:<13}{}", paint.apply(value, colour));
        };
        let yes = |good: bool, yes: &'static str, no: &'static str| {
            if good { (Paint::Green, yes) } else { (Paint::Yellow, no) }
        };
        let (paint, word) = yes(self.installed, "yes", "no: sso-agent service install");
        line("installed:", paint, word);
        if let Some(directory) = &self.packaged {
            line("", Paint::Plain, &format!("{}: the package's units", path(directory)));
        }
        for file in &self.files {
            match file.state {
                "missing" => {}
                "current" => line("", Paint::Plain, &path(&file.path)),
                state => {
                    let words = if state == "edited" {
                        "not written by this command, or edited since"
                    } else {
                        "of another version or another program: sso-agent service install"
                    };
                    line("", Paint::Yellow, &format!("{}: {words}", path(&file.path)));
                }
            }
        }
        if let Some(what) = &self.no_manager {
            line(&format!("{}:", self.manager), Paint::Red, &shown(what).to_string());
        } else {
            let (paint, word) = yes(self.enabled, "yes", "no");
            line("enabled:", paint, word);
            let (paint, word) = yes(self.listening, "yes", "no");
            line("listening:", paint, word);
        }
        match &self.running {
            None => line("running:", Paint::Plain, "no: it starts when it is asked"),
            Some(Running { pid, version }) => {
                let theirs = shown(version.as_deref().unwrap_or("does not answer")).to_string();
                let same = version.as_deref() == Some(self.version);
                let (paint, note) = if same {
                    (Paint::Green, String::new())
                } else {
                    (Paint::Yellow, format!("; this program is {}: sso-agent service install", self.version))
                };
                line("running:", paint, &format!("pid {pid}, version {theirs}{note}"));
            }
        }
        line("program:", Paint::Plain, &path(&self.program));
        for (index, Variable { name, value }) in self.environment.recorded.iter().enumerate() {
            line(if index == 0 { "environment:" } else { "" }, Paint::Plain, &format!("{name}={value}"));
        }
        for (index, difference) in differences.iter().enumerate() {
            line(if index == 0 { "differs:" } else { "" }, Paint::Yellow, &difference.to_string());
        }
        text
    }
}
