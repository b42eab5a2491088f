//! What is configured, and where in which file something cannot be read.

use std::path::{Path, PathBuf};

use crate::aws_config::survey::{Survey, survey};
use crate::aws_config::{Catalog, SessionDefinition, Sources};
use crate::cli::context::Context;
use crate::doors::Doors;
use crate::env::Env;
use crate::exit::Exit;
use crate::launch;
use crate::nearest::nearest;
use crate::paths::{home, shell_word};
use crate::recorded::{Recorded, recorded_env};
use crate::settings::Settings;
use crate::source::{Locations, SourceError, read};

use super::Facts;
use super::sheet::Sheet;

/// What is configured, as far as it can be read.
pub(super) struct Work {
    /// The environment that an agent of here would work with.
    pub(super) env: Env,
    pub(super) settings: Settings,
    pub(super) sessions: Vec<SessionDefinition>,
    pub(super) survey: Survey,
}

/// Whether an agent may be started on demand.
pub(super) fn autostart(env: &Env) -> bool {
    let locations = Locations::from_env(env, None).ok();
    let settings = locations.and_then(|locations| read(&of_settings(&locations)).ok());
    !launch::is_forbidden(env) && settings.is_none_or(|(_, settings)| settings.autostart)
}

pub(super) fn look(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) -> Work {
    let env = environment(facts, sheet, context);
    let nothing = |env| Work { env, settings: Settings::default(), sessions: Vec::new(), survey: Survey::default() };
    let locations = match Locations::from_env(&env, None) {
        Ok(locations) => locations,
        Err(error) => {
            sheet.error("aws_config", Exit::Configuration, in_words(&error), "set HOME".to_owned());
            return nothing(env);
        }
    };
    // One at a time, so that what is wrong with one file hides nothing of the others.
    let config = Locations { aws_credentials: none(), settings: none(), ..locations.clone() };
    let credentials = Locations { aws_config: none(), settings: none(), ..locations.clone() };
    let settings = of_settings(&locations);
    let config =
        file("aws_config", &config, &locations.aws_config, CONFIGURE, sheet).map(|(sources, _)| sources.config);
    let credentials = file("aws_credentials", &credentials, &locations.aws_credentials, None, sheet)
        .map(|(sources, _)| sources.credentials);
    let settings = file("settings", &settings, &locations.settings, None, sheet).map(|(_, settings)| settings);
    let sources = Sources { config: config.flatten(), credentials: credentials.flatten() };
    let settings = settings.unwrap_or_default();
    let mut catalog = Catalog::read(&sources, &env, &settings);
    // What it says of names that lead nowhere.
    drop(Doors::of(&mut catalog, &settings, home(&env).ok().as_deref()));
    warnings(&catalog, sheet);
    sessions(&catalog, sheet);
    profiles(&catalog, sheet);
    chosen(&catalog, context.env, sheet);
    let sessions = catalog.sessions.into_values().filter_map(Result::ok).collect();
    Work { env, settings, sessions, survey: survey(&sources) }
}

/// The agent's environment and this shell's.
fn environment(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) -> Env {
    match Recorded::read(&facts.state_dir) {
        Ok(None) => sheet.skipped(
            "environment",
            "none is recorded for the agent; one that a shell or a command starts works with theirs",
        ),
        Ok(Some(recorded)) => {
            let differences = recorded.differences(context.env);
            if differences.is_empty() {
                sheet.ok("environment", "what is recorded for the agent is what this shell has");
            }
            for difference in differences {
                sheet.warning(
                    "environment",
                    difference.to_string(),
                    "to take over what this shell has: sso-agent service install".to_owned(),
                );
            }
        }
        Err(error) => sheet.error("environment", Exit::Configuration, error.to_string(), error.hint()),
    }
    recorded_env(&facts.state_dir, context.env).unwrap_or_else(|_| context.env.clone())
}

const CONFIGURE: Option<&str> = Some("aws configure sso, or: sso-agent configure session NAME");

fn file(
    check: &'static str,
    only: &Locations,
    path: &Path,
    wanted: Option<&str>,
    sheet: &mut Sheet,
) -> Option<(Sources, Settings)> {
    match read(only) {
        Ok(found) => {
            match (path.exists(), wanted) {
                (true, _) => sheet.ok(check, shell_word(path)),
                (false, Some(remedy)) => {
                    sheet.error(
                        check,
                        Exit::Configuration,
                        format!("{} is not there", shell_word(path)),
                        remedy.to_owned(),
                    );
                }
                (false, None) => sheet.ok(check, format!("{} is not there, and need not be", shell_word(path))),
            }
            Some(found)
        }
        Err(error) => {
            let text = in_words(&error);
            // Where there is a command that helps, it is the end of the words.
            let (detail, remedy) = match text.split_once(": run `") {
                Some((detail, command)) => (detail.to_owned(), Some(command.trim_end_matches('`').to_owned())),
                None => (text, Some(format!("correct {}, then: sso-agent reload", shell_word(path)))),
            };
            sheet.error(check, Exit::Configuration, detail, remedy);
            None
        }
    }
}

/// A place that says nothing.
fn none() -> PathBuf {
    PathBuf::from("/dev/null")
}

fn of_settings(locations: &Locations) -> Locations {
    Locations { aws_config: none(), aws_credentials: none(), ..locations.clone() }
}

fn in_words(error: &SourceError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn warnings(catalog: &Catalog, sheet: &mut Sheet) {
    for warning in catalog.warnings.iter().take(MOST) {
        sheet.warning("configuration_line", warning.to_string(), None);
    }
    more("configuration_line", catalog.warnings.len(), sheet);
}

fn more(check: &'static str, all: usize, sheet: &mut Sheet) {
    if all > MOST {
        sheet.warning(check, format!("{} more like these", all - MOST), "sso-agent status lists all".to_owned());
    }
}

fn sessions(catalog: &Catalog, sheet: &mut Sheet) {
    if catalog.sessions.is_empty() {
        sheet.error("sessions", Exit::Configuration, "no session is configured", CONFIGURE.map(str::to_owned));
        return;
    }
    let names: Vec<&str> =
        catalog.sessions.iter().filter(|(_, session)| session.is_ok()).map(|(name, _)| name.as_str()).collect();
    if !names.is_empty() {
        let others = names.len().saturating_sub(MOST);
        let and = if others > 0 { format!(" and {others} more") } else { String::new() };
        sheet.ok("sessions", format!("{}{and}", names[..names.len().min(MOST)].join(", ")));
    }
    for rejected in catalog.sessions.values().filter_map(|session| session.as_ref().err()).take(MOST) {
        sheet.error("session", Exit::Configuration, rejected.to_string(), Some(CORRECT.to_owned()));
    }
}

fn profiles(catalog: &Catalog, sheet: &mut Sheet) {
    let rejected: Vec<_> = catalog.profiles.values().filter_map(|profile| profile.as_ref().err()).collect();
    let targets = catalog.profiles.values().flatten().filter(|profile| profile.target.is_some()).count();
    let through = catalog.profiles.values().flatten().filter(|profile| profile.through_shim).count();
    let others = catalog.other_profiles.len() - catalog.profiles.len();
    let detail = format!("{targets} lead to a role, {through} of them through the shim; {others} not of ours");
    if targets == 0 && rejected.is_empty() {
        let remedy = "to have every AWS tool served: sso-agent configure profiles --credential-process";
        sheet.warning("profiles", detail, remedy.to_owned());
    } else {
        sheet.ok("profiles", detail);
    }
    for rejected in rejected.iter().take(MOST) {
        sheet.error("profile", Exit::Configuration, rejected.to_string(), Some(CORRECT.to_owned()));
    }
    more("profile", rejected.len(), sheet);
}

/// Which profile this shell means.
fn chosen(catalog: &Catalog, env: &Env, sheet: &mut Sheet) {
    let set = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].iter().find_map(|name| Some((*name, env.get(name)?)));
    let Some((variable, name)) = set else { return };
    if catalog.other_profiles.iter().any(|profile| profile.as_str() == name) {
        return sheet.ok("chosen_profile", format!("{variable} is {name}"));
    }
    let meant = nearest(name, catalog.other_profiles.iter().map(crate::ids::ProfileName::as_str).take(MOST_SUGGESTED));
    let remedy = meant.map_or_else(|| format!("unset {variable}"), |meant| format!("export {variable}={meant}"));
    sheet.error(
        "chosen_profile",
        Exit::Configuration,
        format!("{variable} is {name}, and there is no such profile"),
        remedy,
    );
}

const CORRECT: &str = "correct that line; the agent reads it again by itself";
/// Of one kind of trouble.
const MOST: usize = 10;
const MOST_SUGGESTED: usize = 50;
