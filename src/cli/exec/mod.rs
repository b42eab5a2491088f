//! `exec`: a command with credentials that stay fresh.
//!
//! Owns: what the command gets into its hands, and that it gets nothing where there is nothing to be had. The credentials
//! come from an endpoint in this process ([`endpoint`]), not from the agent's: a restart of that does not cut the command
//! off. Invariants: nothing is run without credentials; the command sees those of one target and of no other; a secret is
//! in its environment and in no arguments; it ends us as it ended itself.

mod child;
mod endpoint;
mod environment;
mod overlay;
mod source;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::api::{CredentialDocument, Request, TargetQuery};
use crate::aws_config::{SourceFile, Sources, shadow};
use crate::client::Client;
use crate::clock::SystemClock;
use crate::ids::Region;
use crate::paths;
use crate::source::Locations;
use crate::time::parse_duration;
use crate::untrusted::shown;

use super::choice::{self, TargetOptions};
use super::context::{Context, read};
use super::failure::Failure;

pub use child::End;

/// Run a command with credentials that keep refreshing
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// How the command gets its credentials
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// How long they must still live, if they can, for example 30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    min_validity: Option<Duration>,
    /// How long to wait for the first ones
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    timeout: Duration,
    /// Also within a command of exec for something else
    #[arg(long)]
    nested: bool,
    /// The command and its arguments; your shell where there is none
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// From an endpoint on 127.0.0.1 that ends with the command; they are renewed for as long as it runs
    #[default]
    Container,
    /// In its environment, once: for programs that know nothing else
    Env,
}

/// Runs the command. Asks `client`, which is also what `context` asks, as long as the command runs.
pub(super) fn run(options: &Options, client: &Client, context: &mut Context<'_>) -> Result<End, Failure> {
    let target = target(options, context)?;
    let words = target.to_string();
    let (program, arguments) = program(options, context);
    let ask = |timeout| Request::Credentials {
        target: target.clone(),
        min_validity: options.min_validity,
        timeout: Some(timeout),
    };
    let reply = context.ask_slowly(&ask(options.timeout), options.timeout + MARGIN, "asking for role credentials")?;
    let document: CredentialDocument = read(&reply)?;
    let places = overlay::Places::of(context.env);
    let (sources, unknown) = sources(context);
    let region = match &target {
        TargetQuery::Profile(profile) => shadow::region(&sources, profile.as_str()),
        TargetQuery::Role { .. } => None,
    };
    let mut command = command(&program, &arguments, &words, region.as_ref(), context);
    for variable in unknown {
        command.env(variable, "/dev/null");
    }
    if options.command.is_empty() {
        let shell = program.to_string_lossy();
        context.say(&format!("{} with credentials for {}; exit ends them", shown(&shell), shown(&words)));
    }
    match options.mode {
        Mode::Env => {
            into_environment(&mut command, &document);
            let until = context.until(document.expiration);
            context.say(&format!("The credentials in the environment are valid {until} and are not renewed."));
            // In our place: nothing is left to be done here.
            Ok(not_started(&program, &command.exec(), context))
        }
        Mode::Container => {
            let clock = Arc::new(SystemClock);
            let overlay = overlay::Overlay::over(&sources, &places).map_err(Failure::Endpoint)?;
            for (variable, path) in overlay.iter().flat_map(overlay::Overlay::files) {
                command.env(variable, path);
            }
            let token = endpoint::token().map_err(Failure::Endpoint)?;
            let source = source::FromAgent::new(
                client.clone(),
                ask(options.timeout),
                token.mark(),
                document,
                Arc::clone(&clock) as Arc<_>,
                paths::state_dir(context.env).ok(),
            );
            let endpoint = endpoint::Endpoint::open(source, clock).map_err(Failure::Endpoint)?;
            command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint.url());
            command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.text().expose());
            command.envs(environment::past_proxies(context.env));
            match child::run(&mut command) {
                Ok(end) => Ok(end),
                Err(child::Trouble::Start(error)) => Ok(not_started(&program, &error, context)),
                Err(child::Trouble::Signals(error)) => Err(Failure::Signals(error)),
            }
        }
    }
}

/// What the command is to be, where that is allowed here.
fn target(options: &Options, context: &Context<'_>) -> Result<TargetQuery, Failure> {
    let outer = context.env.get(environment::MARK);
    let target = choice::target(&options.target, context.env).map_err(|failure| match outer {
        Some(outer) => Failure::Usage {
            message: "nothing says which account and role are meant".to_owned(),
            hint: format!("this is a command of sso-agent exec for {} already", shown(outer)),
        },
        None => failure,
    })?;
    let wanted = target.to_string();
    match outer {
        Some(outer) if !options.nested && outer != wanted => Err(Failure::Usage {
            message: format!(
                "this is a command of sso-agent exec for {} already, and {} is another",
                shown(outer),
                shown(&wanted)
            ),
            hint: "leave that one first; or say that it is meant, with --nested".to_owned(),
        }),
        _ => Ok(target),
    }
}

/// What to run, and its arguments.
fn program(options: &Options, context: &Context<'_>) -> (OsString, Vec<OsString>) {
    match options.command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments.to_vec()),
        None => {
            let shell = context.env.get_os("SHELL").filter(|shell| !shell.is_empty());
            (shell.unwrap_or(OsStr::new("/bin/sh")).to_owned(), Vec::new())
        }
    }
}

/// The command in an environment in which nothing leads elsewhere.
fn command(
    program: &OsStr,
    arguments: &[OsString],
    words: &str,
    region: Option<&Region>,
    context: &Context<'_>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for name in environment::LEADING_ELSEWHERE {
        command.env_remove(name);
    }
    command.envs(environment::regions(context.env, region)).env(environment::MARK, words);
    command
}

fn into_environment(command: &mut Command, document: &CredentialDocument) {
    command.env("AWS_ACCESS_KEY_ID", &document.access_key_id);
    command.env("AWS_SECRET_ACCESS_KEY", document.secret_access_key.expose());
    command.env("AWS_SESSION_TOKEN", document.session_token.expose());
    command.env("AWS_CREDENTIAL_EXPIRATION", document.expiration.to_string());
    if let Some(account) = &document.account_id {
        command.env("AWS_ACCOUNT_ID", account.as_str());
    }
}

/// The files that the command will read, as far as they can be read; and the variables that must name one, because
/// programs look for a home directory where the environment names none, and nobody knows what they would find.
fn sources(context: &Context<'_>) -> (Sources, Vec<&'static str>) {
    let file = |path: PathBuf| {
        // What comes through a pipe is the command's to read.
        let bytes =
            std::fs::metadata(&path).is_ok_and(|found| found.is_file()).then(|| std::fs::read(&path).ok())??;
        Some(SourceFile { path, bytes })
    };
    match Locations::from_env(context.env, None) {
        Ok(locations) => {
            let (config, credentials) = (file(locations.aws_config), file(locations.aws_credentials));
            (Sources { config, credentials }, Vec::new())
        }
        Err(_) => {
            let named = |variable| context.env.get_os(variable).map(PathBuf::from);
            let unknown = FILES.into_iter().filter(|variable| named(variable).is_none()).collect();
            let [config, credentials] = FILES.map(|variable| named(variable).and_then(file));
            (Sources { config, credentials }, unknown)
        }
    }
}

fn not_started(program: &OsStr, error: &io::Error, context: &mut Context<'_>) -> End {
    let program = program.to_string_lossy();
    context.say(&format!("error: {} cannot be run: {error}", shown(&program)));
    End::not_started(error)
}

const FILES: [&str; 2] = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];
const MARGIN: Duration = Duration::from_secs(2);

const AFTER_HELP: &str = "\
The command ends exec as it ended itself: with its exit code, or by the same signal; 127 where it is not found, 126 \
where it cannot be run. The endpoint ends with it: a program that goes on in the background has credentials until those \
it has expire.";
