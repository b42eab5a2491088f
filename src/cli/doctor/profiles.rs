//! Whether AWS's own tools get as far as asking us.

use std::collections::BTreeMap;
use std::path::Path;

use crate::aws_config::survey::Served;
use crate::cli::context::Context;
use crate::exit::Exit;
use crate::paths::shell_word;

use super::configuration::Work;
use super::places::is_program;
use super::sheet::Sheet;

pub(super) fn look(work: &Work, sheet: &mut Sheet, context: &Context<'_>) {
    keys_of_the_shell(sheet, context);
    if let Some(place) = &work.survey.default_keys {
        sheet.warning(
            "default_profile",
            format!("{place}: keys of its own; a tool that is told no profile uses them and not the agent"),
            "remove them if they are not meant to be used, or name a profile with AWS_PROFILE".to_owned(),
        );
    }
    let served = &work.survey.served;
    if served.is_empty() {
        return sheet.skipped("shim_paths", "no profile has our shim as its credential_process");
    }
    paths(served, sheet);
    before_us(served, sheet);
}

/// Keys in the environment come before every profile, in every tool.
fn keys_of_the_shell(sheet: &mut Sheet, context: &Context<'_>) {
    let set: Vec<&str> = KEYS.into_iter().filter(|name| context.env.get_os(name).is_some()).collect();
    if set.is_empty() {
        return sheet.ok("shell_keys", "none of this shell's variables comes before a profile");
    }
    sheet.warning(
        "shell_keys",
        format!("{} set: AWS tools in this shell use that and no profile", are(&set)),
        format!("unset {}", set.join(" ")),
    );
}

fn are(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
        [] => String::new(),
    }
}

/// The programs that the profiles name, each once.
fn paths(served: &[Served], sheet: &mut Sheet) {
    let mut programs: BTreeMap<&str, Vec<&Served>> = BTreeMap::new();
    for profile in served {
        programs.entry(&profile.program).or_default().push(profile);
    }
    for (program, profiles) in programs {
        let path = Path::new(program);
        let whose = match profiles.as_slice() {
            [one] => format!("profile {} ({})", one.profile, one.place),
            [first, ..] => format!("{} profiles, such as {} ({})", profiles.len(), first.profile, first.place),
            [] => String::new(),
        };
        if !path.is_absolute() {
            sheet.warning(
                "shim_paths",
                format!(
                    "{program} of {whose} is no whole path: a tool with another PATH or directory does not find it"
                ),
                "write it from / on, or: sso-agent configure profiles --credential-process".to_owned(),
            );
        } else if !path.exists() {
            sheet.error(
                "shim_paths",
                Exit::Configuration,
                format!("{} of {whose} is not there", shell_word(path)),
                "correct it, or: sso-agent configure profiles --credential-process".to_owned(),
            );
        } else if !is_program(path) {
            sheet.error(
                "shim_paths",
                Exit::Configuration,
                format!("{} of {whose} cannot be run", shell_word(path)),
                format!("chmod +x {}", shell_word(path)),
            );
        } else {
            sheet.ok("shim_paths", format!("{} of {whose}", shell_word(path)));
        }
    }
}

fn before_us(served: &[Served], sheet: &mut Sheet) {
    let mut shadowed = served.iter().filter(|profile| !profile.before_us.is_empty()).peekable();
    if shadowed.peek().is_none() {
        return sheet.ok("shadowed_profiles", "nothing comes before the credential_process of a profile");
    }
    for profile in shadowed.take(MOST) {
        let keys: Vec<String> = profile.before_us.iter().map(|(key, place)| format!("{key} at {place}")).collect();
        sheet.warning(
            "shadowed_profiles",
            format!(
                "profile {} has {}: some AWS tools use that and do not ask the agent",
                profile.profile,
                keys.join(" and ")
            ),
            "remove it, or give one of the two another name".to_owned(),
        );
    }
}

const KEYS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE"];
const MOST: usize = 10;
