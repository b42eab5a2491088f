//! The command line: one file per command, and the only place that prints for people.
//!
//! Owns: arguments, words, formats, exit codes. Refuses to know secrets beyond the moment they are printed, and how the
//! agent works: everything but `run` goes through `client::Client`, and `start` and `stop` through the system. Invariant: results go to stdout, words for people to
//! stderr; foreign text is cleaned before a person sees it; commands see the world only through their `Context`.

mod accounts;
mod adopt;
mod audit;
mod browser;
pub(crate) mod button;
mod choice;
#[cfg(test)]
mod command_tests;
mod complete;
mod configure;
mod console;
mod container;
mod context;
mod credentials;
mod doctor;
mod doorway;
mod exec;
mod failure;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub(crate) mod fuzz;
mod json;
mod lock;
mod login;
mod logout;
mod man;
mod paint;
mod passphrase;
mod qr;
mod refresh;
mod reload;
mod roles;
mod run;
mod service;
#[cfg(test)]
mod shell_tests;
mod start;
mod starting;
mod status;
mod stop;
mod storage;
mod supervisor;
mod surroundings;
mod table;
#[cfg(test)]
mod testing;
mod token;
mod watching;
mod width;
mod words;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser, Subcommand};
use jiff::tz::TimeZone;

use crate::client::Client;
use crate::clock::Clock;
use crate::env::Env;
use crate::exit::Exit;
use crate::hardening;
use crate::paths::{self, SocketPath};

use browser::SystemBrowser;
use context::{Context, Terminal};
use failure::Failure;
use passphrase::StandardInput;
use starting::Starting;
use surroundings::{Machine, Surroundings};

pub use exec::End;

/// Signs in to AWS IAM Identity Center once, and serves credentials that stay fresh
#[derive(Debug, Parser)]
#[command(name = "sso-agent", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    /// The agent's socket, instead of the usual place or SSO_AGENT_SOCK
    #[arg(long, global = true, value_name = "PATH", display_order = 900)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Options),
    Start(start::Options),
    Stop(stop::Options),
    Restart(start::Restart),
    Exec(exec::Options),
    #[command(flatten)]
    Asking(Asking),
    Service(service::Options),
    Completions(complete::Options),
    Man(man::Options),
    #[command(hide = true)]
    Complete(complete::Question),
}

/// The commands that see the world through a [`Context`]; all but `audit` ask an agent that runs.
#[derive(Debug, Subcommand)]
enum Asking {
    Login(login::Options),
    Logout(logout::Options),
    Status(status::Options),
    Credentials(credentials::Options),
    Token(token::Options),
    Console(console::Options),
    Container(container::Options),
    Accounts(accounts::Options),
    Roles(roles::Options),
    Refresh(refresh::Options),
    Adopt(adopt::Options),
    Reload(reload::Options),
    Lock(lock::Options),
    Unlock(lock::UnlockOptions),
    Audit(audit::Options),
    Storage(storage::Options),
    Configure(configure::Options),
    Doctor(doctor::Options),
}

/// Parses the arguments, runs the command and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>, env: &Env, clock: &dyn Clock) -> Ending {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to be told if this cannot be printed.
            let _ = error.print();
            return Ending::Exit(if error.use_stderr() { Exit::Usage } else { Exit::Success });
        }
    };
    let terminal = Terminal::of_process(env);
    match run_here(arguments, env, clock, terminal) {
        Ok(ending) => ending,
        Err(failure) => {
            failure.report(&mut io::stderr(), terminal.colour_err);
            Ending::Exit(failure.exit())
        }
    }
}

/// How this process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a code of our own.
    Exit(Exit),
    /// As the command ended that was run here.
    Like(End),
}

impl Ending {
    /// The code to end with. If a signal has ended the command, the same ends this process now.
    #[must_use]
    pub fn take(self) -> ExitCode {
        match self {
            Self::Exit(exit) => exit.into(),
            Self::Like(End::Code(code)) => code.into(),
            Self::Like(End::Signal(signal)) => {
                // One that it does not know, or that somebody has blocked here, is told as shells tell it.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                u8::try_from(128 + signal).unwrap_or(u8::MAX).into()
            }
        }
    }
}

/// Runs a command in this process: real streams, real agent, real browser.
fn run_here(arguments: Arguments, env: &Env, clock: &dyn Clock, terminal: Terminal) -> Result<Ending, Failure> {
    let Arguments { socket: named, command } = arguments;
    let command = match command {
        Command::Run(options) => return ended(run::run(options, named, env)),
        Command::Completions(options) => return ended(print_text(complete::script(&options))),
        Command::Man(options) => return ended(man::run(&options, Arguments::command())),
        Command::Complete(question) => return ended(print_text(&completed(question, named.as_deref(), env))),
        command => command,
    };
    let socket = SocketPath::find(env, named.as_deref())?;
    // Without a home there is no lock to look into for another socket, and the socket alone has to do.
    let mut client = Client::new(socket, paths::state_dir(env).ok());
    // The others see no secret; and a browser started by `login` should not inherit our limits and umask. A measure
    // that cannot be taken here is no reason to bother whoever wants credentials: the agent logs the same.
    // The first byte of an answer is early enough: until then the agent may see who we are. But a passphrase is typed.
    match &command {
        Command::Asking(Asking::Credentials(_) | Asking::Token(_)) => {
            client = client.before_answer(|| drop(hardening::harden()));
        }
        // Not what the browser or the command would inherit.
        Command::Asking(Asking::Console(_)) | Command::Exec(_) => {
            client = client.before_answer(hardening::keep_others_out);
        }
        Command::Asking(Asking::Storage(_) | Asking::Lock(_) | Asking::Unlock(_)) => drop(hardening::harden()),
        _ => {}
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    if matches!(command, Command::Asking(Asking::Login(_))) {
        catch_interrupts(&interrupted).map_err(Failure::Signals)?;
    }
    let surroundings = Surroundings::of(env, Machine::look());
    let mut context = Context {
        env,
        clock,
        zone: TimeZone::system(),
        terminal,
        surroundings,
        agent: &Starting { client: &client, env },
        browser: &SystemBrowser { env, surroundings },
        keyboard: &StandardInput,
        interrupted: &interrupted,
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        version_told: false,
    };
    ended(match &command {
        Command::Exec(options) => return exec::run(options, &client, &mut context).map(Ending::Like),
        Command::Start(options) => start::run(options, named.as_deref(), &mut context),
        Command::Stop(options) => stop::run(options, named.as_deref(), &mut context),
        Command::Restart(options) => stop::restart(options, named.as_deref(), &mut context),
        Command::Service(options) => service::run(options, named.as_deref(), &mut context),
        Command::Asking(asking) => dispatch(asking, &mut context),
        // They were run above.
        Command::Run(_) | Command::Completions(_) | Command::Man(_) | Command::Complete(_) => Ok(()),
    })
}

fn ended(outcome: Result<(), Failure>) -> Result<Ending, Failure> {
    outcome.map(|()| Ending::Exit(Exit::Success))
}

fn dispatch(asking: &Asking, context: &mut Context<'_>) -> Result<(), Failure> {
    match asking {
        Asking::Login(options) => login::run(options, context),
        Asking::Logout(options) => logout::run(options, context),
        Asking::Status(options) => status::run(options, context),
        Asking::Credentials(options) => credentials::run(options, context),
        Asking::Token(options) => token::run(options, context),
        Asking::Console(options) => console::run(options, context),
        Asking::Container(options) => container::run(options, context),
        Asking::Accounts(options) => accounts::run(options, context),
        Asking::Roles(options) => roles::run(options, context),
        Asking::Refresh(options) => refresh::run(options, context),
        Asking::Adopt(options) => adopt::run(options, context),
        Asking::Reload(options) => reload::run(options, context),
        Asking::Lock(options) => lock::run(options, context),
        Asking::Unlock(options) => lock::unlock(options, context),
        Asking::Audit(options) => audit::run(options, context),
        Asking::Storage(options) => storage::run(options, context),
        Asking::Configure(options) => configure::run(options, context),
        Asking::Doctor(options) => doctor::run(options, context),
    }
}

/// What may follow on a command line. Whoever types it has not asked for an agent, so none is started.
fn completed(question: complete::Question, socket: Option<&Path>, env: &Env) -> String {
    let socket = question.socket().map(Path::new).or(socket);
    let client = SocketPath::find(env, socket).map(|socket| Client::new(socket, paths::state_dir(env).ok()));
    let agent = client.ok().map(|client| Arc::new(client) as Arc<complete::Agent>);
    complete::answer(question, Arguments::command(), env, agent)
}

fn print_text(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)
}

/// The first Ctrl-C is noted, so that what was started can be cancelled; the second ends the process as ever.
fn catch_interrupts(interrupted: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first one finds the flag not yet set.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(interrupted))?;
    }
    Ok(())
}

impl Terminal {
    /// What the process is connected to, and what the user wants of it.
    fn of_process(env: &Env) -> Self {
        let dumb = env.get("TERM") == Some("dumb");
        let plain = dumb || env.get_os("NO_COLOR").is_some();
        let attended = io::stderr().is_terminal();
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let results = io::stdout().is_terminal();
        Self {
            results,
            width: results.then(|| watching::size().0),
            redraws: results && !dumb,
            colour_out: results && !plain,
            colour_err: attended && !plain,
            attended,
            live: attended && !dumb,
            columns: if columns == 0 { USUAL_COLUMNS } else { columns },
        }
    }
}

const USUAL_COLUMNS: usize = 80;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 a bug, 2 usage, 3 sign-in required or not completed, 4 no agent, 5 configuration, \
6 refused by AWS or by your settings, 7 temporary, 8 locked, 9 storage";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        let names: Vec<String> =
            Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert_eq!(
            names,
            [
                "run",
                "start",
                "stop",
                "restart",
                "exec",
                "login",
                "logout",
                "status",
                "credentials",
                "token",
                "console",
                "container",
                "accounts",
                "roles",
                "refresh",
                "adopt",
                "reload",
                "lock",
                "unlock",
                "audit",
                "storage",
                "configure",
                "doctor",
                "service",
                "completions",
                "man",
                "complete",
            ]
        );
        let help = |words: &[&str]| Arguments::try_parse_from(words).unwrap_err();
        assert_eq!(help(&["sso-agent", "--help"]).kind(), clap::error::ErrorKind::DisplayHelp);
        for name in &names {
            let page = help(&["sso-agent", name, "--help"]);
            assert_eq!(page.kind(), clap::error::ErrorKind::DisplayHelp, "{name}");
            assert!(page.to_string().contains("--socket"), "{name}");
        }
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        for wrong in [
            "credentials --profile p --account 111122223333 --role R",
            "credentials --account 111122223333",
            "credentials --role R",
            "credentials --session corp",
            "credentials --account 1111 --role R",
            "credentials --account 111122223333 --role R;id",
            "credentials --format cmd",
            "exec --account 111122223333 x",
            "exec --mode magic x",
            "exec --porfile dev x",
            "container",
            "container token",
            "container token revoke",
            "container token revoke --all x",
            "container token add --name a/b",
            "logout corp --all",
            "status --check --json",
            "status --min-validity 1h",
            "login --timeout 1d",
            "login --flow magic",
            "audit --since 1h --last 5",
            "audit --last some",
            "storage",
            "storage migrate",
            "storage migrate --to none",
            "storage migrate --to passphrase secret",
            "storage unlock secret",
            "lock --passphrase secret",
            "unlock secret",
            "console --print --no-browser",
            "console --json",
            "adopt corp other",
            "start --quiet --json",
            "start --quiet --config /x",
            "stop now",
            "configure",
            "configure profiles --sso --credential-process",
            "configure profiles --name-template {nobody}",
            "configure profiles --filter prod",
            "configure profiles --remove --sso",
            "configure session corp --json --dry-run",
            "service",
            "service install now",
            "completions cmd",
            "man",
            "",
        ] {
            let words = std::iter::once("sso-agent").chain(wrong.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_err(), "{wrong}");
        }
        for right in [
            "credentials --account 111122223333 --role R --format env-no-export --min-validity 30m",
            "exec --profile dev -- terraform plan -out=x --profile y",
            "exec --profile dev terraform plan -out x",
            "exec --account 111122223333 --role R --mode env --nested --min-validity 30m",
            "status corp --check --min-validity 1h --socket /run/x",
            "--socket /run/x login corp --flow device --no-browser --json --timeout 5m --force --new-session",
            "token --kind id --min-validity 90",
            "console --profile p --destination s3 --print --json",
            "console --account 111122223333 --role R --no-browser",
            "logout --all",
            "storage migrate --to systemd-credential --json",
            "storage status --json --socket /run/x",
            "roles corp --account 111122223333 --json",
            "run --config /x --log-json",
            "run --log-format json",
            "start --config /x --log-json --json",
            "restart --config /x",
            "stop --json --socket /run/x",
            "lock --passphrase --json",
            "unlock --json",
            "audit --since 8h --session corp --json",
            "service install --dry-run --force --json --socket /run/x",
            "service uninstall --dry-run --force --json",
            "service status --json",
            "completions fish",
            "man /tmp/x",
            "complete --index 1 -- sso-agent --soc",
            "configure session corp --start-url https://x.example/start --region eu-west-1 --scopes a,b --no-check --dry-run",
            "configure profiles --session corp --filter account=prod* --filter role!=Admin --sso --region eu-west-1 --json",
        ] {
            let words = std::iter::once("sso-agent").chain(right.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_ok(), "{right}");
        }
    }
}
