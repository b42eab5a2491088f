//! `service install`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::Request;
use crate::client::ClientError;
use crate::holder::read_holder;
use crate::paths::{check_private_directory, make_private_directory};
use crate::recorded::Recorded;
use crate::untrusted::shown;
use crate::whole_file;

use super::super::configure::unified;
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::stop;
use super::Trouble;
use super::control::{Kind, Line, Manager, State, typed};
use super::place::Place;
use super::seal::{Standing, standing};
use super::systemd::Wanted;

/// Have the agent started by systemd (launchd on macOS) when it is first needed, with this shell's proxies and endpoints
///
/// Writes the units for this program into your own directory of units, enables the socket, and checks that an agent
/// answers. The environment that matters to the agent is recorded in its state directory. Run it again after an upgrade,
/// or when that environment changes.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Print the files, the recorded variables and the commands, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also write over units that were edited or written by somebody else
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    manager: &'static str,
    program: PathBuf,
    packaged: Option<PathBuf>,
    files: Vec<File>,
    environment: Vec<Variable>,
    commands: Vec<Line>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct File {
    path: PathBuf,
    was: &'static str,
    written: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

/// Runs the command.
pub(super) fn run(options: &Options, socket: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    let plan = Plan::make(socket, context)?;
    plan.place.check_program()?;
    if let Some(warning) = plan.place.warning() {
        context.say(&warning);
    }
    if options.dry_run {
        return plan.show(options, context);
    }
    let manager = Manager::find(plan.kind, context.env)?;
    if !options.force {
        plan.refuse_edited()?;
    }
    let commands = plan.carry_out(&manager, socket, context)?;
    if options.json {
        return context.print_json(&plan.printed(commands, false));
    }
    plan.tell(context);
    Ok(())
}

/// What is to be done.
struct Plan {
    kind: Kind,
    place: Place,
    packaged: Option<PathBuf>,
    /// With what is there now.
    files: Vec<(Wanted, Standing)>,
    /// Ours from before the package, which would hide its units.
    in_the_way: Vec<PathBuf>,
    recorded: Recorded,
    /// Whether something else was recorded so far.
    newly_recorded: bool,
}

impl Plan {
    fn make(socket: Option<&Path>, context: &Context<'_>) -> Result<Self, Failure> {
        let (kind, env) = (Kind::HERE, context.env);
        let place = Place::find(env, socket)?;
        let packaged = kind.packaged(&place, env);
        let mut files = Vec::new();
        let mut in_the_way = Vec::new();
        for wanted in kind.wanted(&place, env)? {
            let found = standing(&wanted.path, &wanted.content).map_err(io_at("read", &wanted.path))?;
            match packaged {
                Some(_) if matches!(found, Standing::Current | Standing::Outdated) => in_the_way.push(wanted.path),
                Some(_) => {}
                None => files.push((wanted, found)),
            }
        }
        let recorded = Recorded::of(env)?;
        let newly_recorded = Recorded::read(&place.state_dir)?.unwrap_or_default() != recorded;
        Ok(Self { kind, place, packaged, files, in_the_way, recorded, newly_recorded })
    }

    fn refuse_edited(&self) -> Result<(), Trouble> {
        let edited = self.files.iter().filter(|(_, found)| *found == Standing::Edited);
        let paths: Vec<PathBuf> = edited.map(|(wanted, _)| wanted.path.clone()).collect();
        if paths.is_empty() { Ok(()) } else { Err(Trouble::Edited { paths }) }
    }

    fn changed(&self) -> impl Iterator<Item = &Wanted> {
        self.files.iter().filter(|(_, found)| *found != Standing::Current).map(|(wanted, _)| wanted)
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.files.iter().map(|(wanted, _)| wanted.clone()).collect()
    }

    /// The difference, the variables and the commands; nothing changes.
    fn show(&self, options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
        let mut commands = self.kind.reload();
        if self.changed().next().is_some() {
            commands.push(self.kind.halt());
        }
        commands.extend(self.kind.enable(&self.wanted(), false));
        if options.json {
            return context.print_json(&self.printed(commands, true));
        }
        for (wanted, found) in &self.files {
            let old = match std::fs::read(&wanted.path) {
                Ok(old) => old,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(io_at("read", &wanted.path)(error).into()),
            };
            context.print_diff(&unified(&wanted.path.to_string_lossy(), &old, wanted.content.as_bytes()))?;
            if *found == Standing::Edited && !options.force {
                let path = wanted.path.to_string_lossy();
                context.say(&format!("{} was not written by this command, or edited since: --force", shown(&path)));
            }
        }
        for path in &self.in_the_way {
            context.print(format!("remove {}\n", shown(&path.to_string_lossy())))?;
        }
        for (name, value) in self.recorded.masked() {
            context.print(format!("record {name}={value}\n"))?;
        }
        for line in &commands {
            context.print(format!("$ {}\n", typed(line)))?;
        }
        context.say("nothing was changed");
        Ok(())
    }

    fn carry_out(
        &self,
        manager: &Manager<'_>,
        socket: Option<&Path>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Line>, Failure> {
        make_private_directory(&self.place.state_dir)?;
        match check_private_directory(self.place.socket.directory()) {
            Err(error) if !error.is_missing() => return Err(error.into()),
            _ => {}
        }
        if self.kind == Kind::Launchd {
            // systemd makes it itself.
            make_private_directory(self.place.socket.directory())?;
        }
        if self.newly_recorded {
            self.recorded.write(&self.place.state_dir)?;
        }
        let before = manager.state()?;
        let mut changed = !self.in_the_way.is_empty();
        for path in &self.in_the_way {
            whole_file::remove(path).map_err(io_at("remove", path))?;
        }
        for wanted in self.changed() {
            changed = true;
            let directory = wanted.path.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(directory).map_err(io_at("make", directory))?;
            whole_file::replace(&wanted.path, wanted.content.as_bytes(), 0o644)
                .map_err(io_at("write", &wanted.path))?;
        }
        self.end_agent_by_hand(&before, socket, context)?;
        let mut commands = self.kind.reload();
        let halted = changed && (before.listening || before.pid.is_some());
        if halted {
            commands.push(self.kind.halt());
        }
        commands.extend(self.kind.enable(&self.wanted(), before.listening && !halted));
        if !halted && self.newly_recorded && before.pid.is_some() {
            commands.push(self.kind.restart());
        }
        for line in &commands {
            manager.run(line)?;
        }
        let theirs = version(context)?;
        if theirs.as_deref() != Some(env!("CARGO_PKG_VERSION")) {
            // The program was replaced under an agent that runs.
            let restart = self.kind.restart();
            manager.run(&restart)?;
            commands.push(restart);
            version(context)?;
        }
        Ok(commands)
    }

    /// An agent that holds the state directory and is not the manager's would keep the manager's from starting.
    fn end_agent_by_hand(
        &self,
        state: &State,
        socket: Option<&Path>,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let holder = read_holder(&self.place.state_dir).ok().flatten().filter(|holder| holder.lives());
        let Some(pid) = holder.map(|holder| holder.pid).filter(|pid| Some(*pid) != state.pid) else { return Ok(()) };
        context.say(&format!("stopping the agent that runs by hand (pid {pid}); the sign-ins stay"));
        stop::run(&stop::Options::default(), socket, context)
    }

    fn tell(&self, context: &mut Context<'_>) {
        for (wanted, found) in &self.files {
            let path = wanted.path.to_string_lossy();
            let path = shown(&path);
            match found {
                Standing::Current => context.say(&format!("unchanged: {path}")),
                _ => context.say(&format!("written:   {path}")),
            }
        }
        if let Some(directory) = &self.packaged {
            context.say(&format!("the units are the package's, in {}", shown(&directory.to_string_lossy())));
        }
        for path in &self.in_the_way {
            context.say(&format!("removed:   {}", shown(&path.to_string_lossy())));
        }
        let names: Vec<&str> = self.recorded.masked().map(|(name, _)| name).collect::<Vec<_>>();
        if !names.is_empty() {
            context.say(&format!("recorded for the agent: {}", names.join(", ")));
        }
        let socket = self.place.socket.path().to_string_lossy();
        context.say(&format!("the agent answers on {}, and is started when it is needed", shown(&socket)));
    }

    fn printed(&self, commands: Vec<Line>, dry_run: bool) -> Printed {
        let file = |(wanted, found): &(Wanted, Standing)| File {
            path: wanted.path.clone(),
            was: found.as_str(),
            written: !dry_run && *found != Standing::Current,
        };
        Printed {
            manager: self.kind.as_str(),
            program: self.place.program.clone(),
            packaged: self.packaged.clone(),
            files: self.files.iter().map(file).collect(),
            environment: variables(&self.recorded),
            commands,
            dry_run,
        }
    }
}

/// The recorded variables, without what is nobody's to see.
pub(super) fn variables(recorded: &Recorded) -> Vec<Variable> {
    recorded.masked().map(|(name, value)| Variable { name: name.to_owned(), value }).collect()
}

/// The version of the agent that answers.
fn version(context: &Context<'_>) -> Result<Option<String>, Trouble> {
    match context.agent.send(&Request::Health, START) {
        Ok(reply) => Ok(reply.agent_version),
        Err(error) => Err(silent(&error)),
    }
}

fn silent(error: &ClientError) -> Trouble {
    Trouble::Silent { why: error.to_string() }
}

pub(super) fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    move |source| Trouble::Io { doing, path: path.to_owned(), source }
}

/// How long the first answer may take: the agent has to start for it.
const START: Duration = Duration::from_secs(20);
