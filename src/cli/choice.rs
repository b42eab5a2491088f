//! Which session and which target a command line means.
//!
//! Owns: the order argument, `AWS_PROFILE`, `AWS_DEFAULT_PROFILE`. Refuses to know what a profile leads to: the agent
//! reads the configuration, not the caller.

use clap::Args;

use crate::api::{SessionQuery, TargetQuery};
use crate::env::Env;
use crate::ids::{AccountId, ProfileName, RoleName, SessionName};
use crate::untrusted::shown;

use super::failure::Failure;

/// The arguments that say what role credentials are for.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TargetOptions {
    /// A profile of the AWS configuration that leads to a role: with sso_* keys, our credential_process or a role_arn
    #[arg(long, value_name = "NAME", conflicts_with_all = ["session", "account", "role"])]
    profile: Option<ProfileName>,
    /// The session; may be left out where there is only one
    #[arg(long, value_name = "NAME", requires = "account")]
    session: Option<SessionName>,
    /// The account's twelve digits
    #[arg(long, value_name = "ID", requires = "role")]
    account: Option<AccountId>,
    /// The role's name in that account
    #[arg(long, value_name = "NAME", requires = "account")]
    role: Option<RoleName>,
}

/// The session a command is about: its argument, else what the environment's profile leads to, else the only one.
pub(super) fn session(argument: Option<&SessionName>, env: &Env) -> Result<SessionQuery, Failure> {
    match argument {
        Some(name) => Ok(SessionQuery::Named(name.clone())),
        None => Ok(profile_of(env)?.map_or(SessionQuery::Only, SessionQuery::OfProfile)),
    }
}

/// The target a command is about: its arguments, else the environment's profile.
pub(super) fn target(options: &TargetOptions, env: &Env) -> Result<TargetQuery, Failure> {
    if let Some(profile) = &options.profile {
        return Ok(TargetQuery::Profile(profile.clone()));
    }
    if let (Some(account), Some(role)) = (&options.account, &options.role) {
        return Ok(TargetQuery::Role {
            session: options.session.clone(),
            account: account.clone(),
            role: role.clone(),
        });
    }
    profile_of(env)?.map(TargetQuery::Profile).ok_or_else(|| Failure::Usage {
        message: "nothing says which account and role are meant".to_owned(),
        hint: "give --profile NAME, or --account ID --role NAME [--session NAME], or set AWS_PROFILE; sso-agent roles \
               lists what there is"
            .to_owned(),
    })
}

fn profile_of(env: &Env) -> Result<Option<ProfileName>, Failure> {
    let set = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].into_iter().find(|name| env.get_os(name).is_some());
    let Some(variable) = set else { return Ok(None) };
    env.get(variable).unwrap_or_default().parse().map(Some).map_err(|error| Failure::Usage {
        message: format!("{variable} is {error}: {}", shown(env.get(variable).unwrap_or("not text"))),
        hint: format!("correct or unset {variable}, or name the session or profile on the command line"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn profile(name: &str) -> ProfileName {
        name.parse().unwrap()
    }

    #[test]
    fn an_argument_beats_aws_profile_which_beats_aws_default_profile() {
        let both = Env::from_iter([("AWS_PROFILE", "dev"), ("AWS_DEFAULT_PROFILE", "old")]);
        let name: SessionName = "corp".parse().unwrap();
        assert_eq!(session(Some(&name), &both).unwrap(), SessionQuery::Named(name));
        assert_eq!(session(None, &both).unwrap(), SessionQuery::OfProfile(profile("dev")));
        let old = Env::from_iter([("AWS_PROFILE", ""), ("AWS_DEFAULT_PROFILE", "old")]);
        assert_eq!(session(None, &old).unwrap(), SessionQuery::OfProfile(profile("old")));
        assert_eq!(session(None, &Env::default()).unwrap(), SessionQuery::Only);
    }

    #[test]
    fn a_target_comes_from_the_arguments_else_from_aws_profile() {
        let env = Env::from_iter([("AWS_PROFILE", "dev")]);
        assert_eq!(target(&TargetOptions::default(), &env).unwrap(), TargetQuery::Profile(profile("dev")));
        let named = TargetOptions { profile: Some(profile("prod")), ..TargetOptions::default() };
        assert_eq!(target(&named, &env).unwrap(), TargetQuery::Profile(profile("prod")));
        let (account, role): (AccountId, RoleName) = ("111122223333".parse().unwrap(), "Admin".parse().unwrap());
        let direct =
            TargetOptions { account: Some(account.clone()), role: Some(role.clone()), ..TargetOptions::default() };
        assert_eq!(target(&direct, &env).unwrap(), TargetQuery::Role { session: None, account, role });
    }

    #[test]
    fn without_any_name_the_error_lists_what_helps() {
        let failure = target(&TargetOptions::default(), &Env::default()).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        let mut lines = Vec::new();
        failure.report(&mut lines, false);
        let text = String::from_utf8(lines).unwrap();
        for help in ["--profile", "--account", "--role", "AWS_PROFILE"] {
            assert!(text.contains(help), "{text}");
        }
    }

    #[test]
    fn a_profile_name_that_is_none_is_a_usage_error_and_shown_clean() {
        let env = Env::from_iter([("AWS_PROFILE", "a\x1b[2J")]);
        let failure = session(None, &env).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(!failure.to_string().contains('\x1b'));
    }
}
