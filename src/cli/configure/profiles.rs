//! `configure profiles`: everything the user may use, as profiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::aws_config::writing::{self, ProfileEntry, Setting, Standing, is_plain_path};
use crate::aws_config::{Catalog, SessionDefinition};
use crate::ids::{Grant, Region, SessionName};
use crate::paths::shell_word;
use crate::settings::Settings;
use crate::source::{self, Locations};
use crate::untrusted::shown;

use super::super::choice;
use super::super::context::Context;
use super::super::failure::Failure;
use super::filter::{self, Filter};
use super::listing::{self, Target};
use super::naming::{self, Template};
use super::{Edited, Trouble, edit, tell_the_agent};
use crate::api::SessionQuery;

/// Write a profile for every account and role you may use into the AWS config
#[derive(Debug, Clone, Args)]
#[command(after_help = ABOUT_THE_REGION)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    #[arg(long, value_name = "NAME")]
    session: Option<SessionName>,
    /// Only these: account=PATTERN (name or id) or role=PATTERN, != for all but these; may be repeated
    #[arg(long, value_name = "WHAT=PATTERN")]
    filter: Vec<Filter>,
    /// What profiles are called, with {account_name}, {account_id}, {role} and {session}
    #[arg(long, value_name = "TEMPLATE", default_value = "{account_name}-{role}")]
    name_template: Template,
    /// Profiles that get their credentials from the agent (the default)
    #[arg(long, conflicts_with = "sso")]
    credential_process: bool,
    /// Profiles with sso_session, sso_account_id and sso_role_name, for tools that insist on these
    #[arg(long)]
    sso: bool,
    /// The region to work in [default: the default profile's, else the session's]
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,
    /// Take the profiles of the session out of the file again
    #[arg(long, conflicts_with_all = ["filter", "sso", "credential_process", "region"])]
    remove: bool,
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
    let (sources, _) = source::read(&locations).map_err(Trouble::Source)?;
    let catalog = Catalog::read(&sources, context.env, &Settings::default());
    let session = session(options.session.as_ref(), &catalog, context)?;
    let form = Form::of(options, session)?;
    let targets = if options.remove { Vec::new() } else { targets(options, &session.name, context)? };
    let credentials = sources.credentials.map(|file| file.bytes).unwrap_or_default();
    let edit_error = |error| Trouble::Edit { path: locations.aws_config.clone(), error };

    let make = |bytes: &[u8]| -> Result<(Vec<u8>, Outcome), Failure> {
        let standing = writing::standing(bytes, &session.name).map_err(edit_error)?;
        let taken = writing::taken_names(bytes, &credentials, &session.name).map_err(edit_error)?;
        let region = options.region.clone().or_else(|| writing::default_region(bytes));
        let named = naming::assign(&options.name_template, &session.name, &targets, &standing, &taken);
        let entries = named
            .iter()
            .map(|named| form.entry(&named.name, named.target, region.as_ref().unwrap_or(&session.region)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let new = writing::replace_profiles(bytes, &session.name, &entries).map_err(edit_error)?;
        let avoided = named.into_iter().filter_map(|named| Some((named.avoided?, named.name))).collect();
        Ok((new, Outcome::of(&standing, &entries, avoided)))
    };
    let (edited, outcome) = edit(&locations.aws_config, options.dry_run, context, make)?;
    tell(options, &session.name, &locations.aws_config, edited, &outcome, context)
}

fn session<'c>(
    argument: Option<&SessionName>,
    catalog: &'c Catalog,
    context: &Context<'_>,
) -> Result<&'c SessionDefinition, Failure> {
    let known = || catalog.sessions.keys().map(|name| shown(name.as_str()).to_string()).collect::<Vec<_>>();
    let unknown =
        |name: &SessionName| Failure::UnknownSession { name: shown(name.as_str()).to_string(), known: known() };
    let of_profile = |name| match catalog.profiles.get(name) {
        Some(Ok(profile)) => Some(profile.session.clone()),
        _ => None,
    };
    let name = match choice::session(argument, context.env)? {
        SessionQuery::Named(name) => name,
        query => {
            let profile = if let SessionQuery::OfProfile(name) = &query { of_profile(name) } else { None };
            let mut names = catalog.sessions.keys();
            match (profile, names.next(), names.next()) {
                (Some(name), _, _) => name,
                (None, Some(only), None) => only.clone(),
                (None, None, _) => {
                    return Err(Failure::Usage {
                        message: "there is no session in the AWS config".to_owned(),
                        hint: "make one with: sso-agent configure session".to_owned(),
                    });
                }
                (None, Some(_), Some(_)) => {
                    return Err(Failure::Usage {
                        message: "nothing says which session is meant".to_owned(),
                        hint: format!("give --session; there are {}", known().join(", ")),
                    });
                }
            }
        }
    };
    match catalog.sessions.get(&name) {
        Some(Ok(definition)) => Ok(definition),
        Some(Err(rejected)) => Err(Trouble::Rejected { message: rejected.to_string() }.into()),
        None => Err(unknown(&name)),
    }
}

fn targets(options: &Options, session: &SessionName, context: &mut Context<'_>) -> Result<Vec<Target>, Failure> {
    let mut targets = listing::all(session, context)?;
    let all = targets.len();
    targets.retain(|target| filter::admits(&options.filter, target));
    match (all, targets.len()) {
        // Nothing may be a mistake of ours or of the service; taking all profiles away is not the answer to that.
        (0, _) => Err(Failure::Usage {
            message: "there are no roles you may take, so nothing was changed".to_owned(),
            hint: "to take this session's profiles out of the file, use --remove".to_owned(),
        }),
        (_, 0) => Err(Failure::Usage {
            message: format!("none of your {all} roles is what the filters say, so nothing was changed"),
            hint: "see what there is: sso-agent roles".to_owned(),
        }),
        _ => Ok(targets),
    }
}

/// How a profile says where its credentials come from.
enum Form<'s> {
    Process { shim: PathBuf, session: &'s SessionName },
    Sso { session: &'s SessionName },
}

impl<'s> Form<'s> {
    fn of(options: &Options, session: &'s SessionDefinition) -> Result<Self, Failure> {
        let name = &session.name;
        let legal = writing::new_session_name(name.as_str());
        if let (Err(error), false) = (legal, options.remove) {
            return Err(Failure::Usage {
                message: error.to_string(),
                hint: "give the session a plain name: sso-agent configure session NAME".to_owned(),
            });
        }
        if options.sso {
            if name.as_str().contains("://") {
                return Err(Failure::Usage {
                    message: "--sso needs a session with a name".to_owned(),
                    hint: "make one: sso-agent configure session NAME".to_owned(),
                });
            }
            return Ok(Self::Sso { session: name });
        }
        let shim = if options.remove { PathBuf::new() } else { shim()? };
        Ok(Self::Process { shim, session: name })
    }

    fn entry(&self, name: &str, target: &Target, region: &Region) -> Result<ProfileEntry, Failure> {
        let (account, role) = (&target.account, &target.role);
        let mut settings = match self {
            Self::Process { shim, session } => {
                let shim = shim.to_string_lossy();
                let line = format!("{shim} --session {session} --account {account} --role {role}");
                vec![Setting::new("credential_process", line)]
            }
            Self::Sso { session } => vec![
                Setting::new("sso_session", session.as_str()),
                Setting::new("sso_account_id", account.as_str()),
                Setting::new("sso_role_name", role.as_str()),
            ],
        };
        settings.push(Setting::new("region", region.as_str()));
        let settings = settings.into_iter().collect::<Result<_, _>>().map_err(Trouble::Unwritable)?;
        Ok(ProfileEntry::new(name, target.grant(), settings).map_err(Trouble::Unwritable)?)
    }
}

/// The program beside this one that hands out credentials.
fn shim() -> Result<PathBuf, Failure> {
    let trouble = |message| Trouble::Shim { message };
    let own = std::env::current_exe()
        .and_then(std::fs::canonicalize)
        .map_err(|error| trouble(format!("where this program is cannot be found out: {error}")))?;
    let shim = own.with_file_name("sso-credential-process");
    if !shim.is_file() {
        return Err(trouble(format!("there is no {}", shell_word(&shim))).into());
    }
    match shim.to_str().filter(|path| is_plain_path(path)) {
        Some(_) => Ok(shim),
        None => Err(trouble(format!("some clients would not run {}", shell_word(&shim))).into()),
    }
}

/// What the edit means for the profiles.
struct Outcome {
    profiles: Vec<(String, Grant)>,
    added: usize,
    gone: Vec<String>,
    /// Names that others have, and what was taken instead.
    avoided: Vec<(String, String)>,
}

impl Outcome {
    fn of(standing: &[Standing], entries: &[ProfileEntry], avoided: Vec<(String, String)>) -> Self {
        let before: BTreeMap<&str, &Standing> =
            standing.iter().map(|standing| (standing.name.as_str(), standing)).collect();
        let profiles: Vec<(String, Grant)> =
            entries.iter().map(|entry| (entry.name().to_owned(), entry.grant().clone())).collect();
        let after: BTreeMap<&str, &Grant> = profiles.iter().map(|(name, grant)| (name.as_str(), grant)).collect();
        let added = after.keys().filter(|name| !before.contains_key(*name)).count();
        let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (*name).to_owned()).collect();
        Self { added, gone, profiles, avoided }
    }
}

fn tell(
    options: &Options,
    session: &SessionName,
    path: &Path,
    edited: Edited,
    outcome: &Outcome,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let file = shell_word(path);
    for (wanted, name) in &outcome.avoided {
        context.say(&format!("{wanted} is somebody else's name: the profile is called {name}"));
    }
    let Outcome { profiles, added, gone, .. } = outcome;
    let count = match profiles.len() {
        1 => "1 profile".to_owned(),
        count => format!("{count} profiles"),
    };
    let what = format!("{count}, {added} new, {} gone", gone.len());
    match edited {
        Edited::NotNeeded => context.say(&format!("nothing to do: {file} has no other than these: {count}")),
        Edited::Shown => context.say(&format!("{file} would have {what}")),
        Edited::Written => {
            context.say(&format!("{file} has {what}"));
            tell_the_agent(context)?;
        }
    }
    if options.json {
        let profiles: Vec<_> = profiles
            .iter()
            .map(|(name, grant)| json!({ "profile": name, "account_id": grant.account(), "role_name": grant.role() }))
            .collect();
        context.print_json(&json!({
            "file": path.to_string_lossy(),
            "session": session,
            "changed": edited == Edited::Written,
            "profiles": profiles,
            "gone": gone,
        }))?;
    }
    Ok(())
}

const ABOUT_THE_REGION: &str = "\
All profiles of a session stand between two marked lines, which are replaced as a whole at each run; the rest of the file \
is not touched. A name that another profile has is left to it. --filter may be repeated: filters of the same kind are \
alternatives, account and role must both agree. In patterns * is any text and ? any character; case does not matter.

  sso-agent configure profiles --filter 'account=prod-*' --filter 'role!=*ReadOnly*' --dry-run";
