//! `configure session`: an `[sso-session]`, asked for, checked and written.

use clap::Args;
use serde_json::json;

use crate::aws_config::writing::{self, SessionText, Setting};
use crate::aws_config::{Catalog, SessionDefinition, SourceFile, Sources};
use crate::aws_config_file::AwsConfigFile;
use crate::env::Env;
use crate::ids::SessionName;
use crate::paths::shell_word;
use crate::settings::Settings;
use crate::source::{self, Locations};
use crate::untrusted::shown;

use super::super::context::Context;
use super::super::failure::Failure;
use super::{Edited, Trouble, check, edit, tell_the_agent};

/// Write an [sso-session] into the AWS config, after AWS has said that it is right
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = ABOUT_QUESTIONS)]
pub(super) struct Options {
    /// The session's name; an [sso-session] of that name is changed, another one made
    name: Option<String>,
    /// The address of the AWS access portal, such as https://example.awsapps.com/start
    #[arg(long, value_name = "URL")]
    start_url: Option<String>,
    /// The region in which IAM Identity Center was set up
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// What programs may do with the sign-in, separated by commas [default: sso:account:access]
    #[arg(long, value_name = "SCOPES")]
    scopes: Option<String>,
    /// Do not ask AWS whether start URL, region and scopes are right
    #[arg(long)]
    no_check: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was done as JSON
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let locations = Locations::from_env(context.env, None).map_err(Trouble::Source)?;
    let path = &locations.aws_config;
    let (sources, _) = source::read(&locations).map_err(Trouble::Source)?;
    let file = AwsConfigFile::read(path).map_err(Trouble::File)?;
    let edit_error = |error| Trouble::Edit { path: path.clone(), error };

    let name = name(options, &sources, context)?;
    let there = writing::session_text(file.bytes(), name.as_str()).map_err(edit_error)?;
    let settings = settings(options, there.as_ref(), context)?;
    let write = |bytes: &[u8]| -> Result<Vec<u8>, Failure> {
        let written = writing::set_session(bytes, name.as_str(), &settings).map_err(Trouble::Unwritable)?;
        Ok(written.map_err(edit_error)?)
    };
    let definition = definition(write(file.bytes())?, &name, &sources, &locations, context.env)?;
    if !options.no_check {
        context.progress(&format!("asking {}", definition.endpoints.oidc.host()));
        let checked = check::with_the_service(&definition, context.env);
        context.progress_done();
        checked?;
    }
    let (edited, ()) = edit(path, options.dry_run, context, |bytes| Ok((write(bytes)?, ())))?;
    tell(options, &name, &locations, edited, there.is_some(), context)
}

fn tell(
    options: &Options,
    name: &SessionName,
    locations: &Locations,
    edited: Edited,
    was_there: bool,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let path = shell_word(&locations.aws_config);
    let shown_name = shown(name.as_str()).to_string();
    match edited {
        Edited::Shown => return Ok(()),
        Edited::NotNeeded if options.dry_run => {
            context.say(&format!("nothing would be changed: {path} says so already"));
            return Ok(());
        }
        Edited::NotNeeded => context.say(&format!("nothing to do: {path} says so already")),
        Edited::Written => {
            let what = if was_there { "changed" } else { "added" };
            context.say(&format!("{what} [sso-session {shown_name}] in {path}"));
        }
    }
    // Where none runs, the sign-in starts one.
    tell_the_agent(context)?;
    let word = shell_word(name.as_str().as_ref());
    context.say(&format!("next: sso-agent login {word}"));
    context.say(&format!("then: sso-agent configure profiles --session {word}"));
    if options.json {
        let file = locations.aws_config.to_string_lossy();
        context.print_json(&json!({ "file": file, "session": name, "changed": edited == Edited::Written }))?;
    }
    Ok(())
}

fn name(options: &Options, sources: &Sources, context: &mut Context<'_>) -> Result<SessionName, Failure> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => {
            let catalog = Catalog::read(sources, context.env, &Settings::default());
            let only = match catalog.sessions.keys().filter(|name| !name.as_str().contains("://")).collect::<Vec<_>>()[..]
            {
                [only] => Some(only.to_string()),
                _ => None,
            };
            ask("Name of the session", only.as_deref(), "NAME", context)?
        }
    };
    name.parse().map_err(|error| usage(format!("the name is {error}"), "name it after your company, for example"))
}

fn settings(
    options: &Options,
    there: Option<&SessionText>,
    context: &mut Context<'_>,
) -> Result<Vec<Setting>, Failure> {
    let known = |value: fn(&SessionText) -> &Option<String>| there.and_then(|there| value(there).clone());
    let start_url = match &options.start_url {
        Some(given) => given.clone(),
        None => ask("Start URL", known(|there| &there.start_url).as_deref(), "--start-url", context)?,
    };
    let region = match &options.region {
        Some(given) => given.clone(),
        None => ask("Region of IAM Identity Center", known(|there| &there.region).as_deref(), "--region", context)?,
    };
    let mut values = vec![("sso_start_url", start_url), ("sso_region", region)];
    // In a new section also where nobody has said so: without a scope some tools get a sign-in that cannot be refreshed.
    let new = there.is_none().then(|| SCOPE.to_owned());
    values.extend(options.scopes.clone().or(new).map(|scopes| ("sso_registration_scopes", scopes)));
    values
        .into_iter()
        .map(|(key, value)| Setting::new(key, value.trim()).map_err(|error| Trouble::Unwritable(error).into()))
        .collect()
}

/// What the session would be, by the reader that everything else goes by.
fn definition(
    config: Vec<u8>,
    name: &SessionName,
    sources: &Sources,
    locations: &Locations,
    env: &Env,
) -> Result<SessionDefinition, Failure> {
    let config = Some(SourceFile { path: locations.aws_config.clone(), bytes: config });
    let sources = Sources { config, credentials: sources.credentials.clone() };
    let catalog = Catalog::read(&sources, env, &Settings::default());
    match catalog.sessions.get(name) {
        Some(Ok(definition)) if looks_like_a_region(definition.region.as_str()) => Ok(definition.clone()),
        Some(Ok(definition)) => {
            Err(usage(format!("{} is not a region", definition.region), "a region is written as in eu-west-1"))
        }
        Some(Err(rejected)) => Err(Trouble::Rejected { message: rejected.message.clone() }.into()),
        None => Err(Trouble::Rejected { message: "the session would not be read back".to_owned() }.into()),
    }
}

/// `word-word-number`, with as many words as the partition likes.
fn looks_like_a_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    words.split('-').count() >= 2
        && words.split('-').all(is_word)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Asks a person; where there is none, what is there already counts, else the option is missing.
fn ask(question: &str, known: Option<&str>, option: &str, context: &mut Context<'_>) -> Result<String, Failure> {
    let missing = || usage(format!("{option} is missing"), "nobody is here to be asked: say it on the command line");
    if !context.keyboard.is_attended() || !context.terminal.attended {
        return known.map(str::to_owned).ok_or_else(missing);
    }
    let prompt = match known {
        Some(known) => format!("{question} [{}]: ", shown(known)),
        None => format!("{question}: "),
    };
    loop {
        let Some(answer) = context.keyboard.answer(&prompt).map_err(Failure::Passphrase)? else {
            return Err(missing());
        };
        match (answer.trim(), known) {
            ("", Some(known)) => return Ok(known.to_owned()),
            ("", None) => {}
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}

fn usage(message: String, hint: &str) -> Failure {
    Failure::Usage { message, hint: hint.to_owned() }
}

const SCOPE: &str = "sso:account:access";
const ABOUT_QUESTIONS: &str = "On a terminal, what is not given is asked for; what stands in the file is the default. \
                               Nothing of the check is kept, and no browser is opened.";
