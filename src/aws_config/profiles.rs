//! Where a profile leads: its own `sso_*` keys, or a `credential_process` that runs our shim.
//!
//! Owns: the meaning of a profile's keys. Refuses to know about endpoints, and how profiles lead to other profiles.
//! Invariant: a profile that concerns us is either understood completely or rejected with a place and the remedy; one
//! that does not is left alone.

use std::collections::HashMap;

use super::catalog::{Place, Profile, Rejected, Warning};
use super::chains::{self, Chaining, Kind, Link, Profiles};
use super::sections::{Files, Section, Sections, Value};
use super::sessions::{self, Drafts};
use super::{shim, work};
use crate::api::TargetQuery;
use crate::ids::{Grant, ProfileName, SessionName, TargetId};
use crate::nearest::nearest;
use crate::untrusted::shown;

/// A profile that concerns us.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    pub(super) name: ProfileName,
    pub(super) section: &'a Section<'a>,
    /// The session its own keys lead to; such a profile has a say in how that session is reached, even if its
    /// account or role is wrong.
    pub(super) session: Option<SessionName>,
    meaning: Meaning,
}

#[derive(Debug)]
enum Meaning {
    Keys(Result<Option<TargetId>, Rejected>),
    Shim(Result<TargetQuery, Rejected>),
    /// A role that is assumed with the credentials of another profile, or with what its own other keys mean.
    Role(Option<Box<Meaning>>),
}

/// What a profile means, as far as it says so itself.
enum Settled {
    Profile(Result<Profile, Rejected>),
    Link(Kind),
}

/// Finds the profiles that concern us; legacy ones add their sessions to the drafts.
pub(super) fn leads<'a>(
    sections: &'a Sections<'a>,
    drafts: &mut Drafts,
    files: &Files,
    warnings: &mut Vec<Warning>,
) -> (Vec<Lead<'a>>, Vec<ProfileName>) {
    let mut leads = Vec::new();
    let mut names = Vec::new();
    for (text, section) in sections.profiles.iter() {
        let Ok(name) = text.parse::<ProfileName>() else {
            let message = "a profile's name is one line of at most 512 bytes: left out".to_owned();
            warnings.push(Warning { place: files.place(section.at), message });
            continue;
        };
        names.push(name.clone());
        leads.extend(Lead::read(name, section, sections, drafts, files, warnings));
    }
    names.sort_unstable();
    (leads, names)
}

/// What the profiles mean, now that all sessions are known, and which profiles disagree with theirs.
pub(super) fn resolve(
    leads: Vec<Lead<'_>>,
    drafts: &Drafts,
    dissenters: Vec<(ProfileName, Rejected)>,
    world: &chains::World<'_>,
) -> Profiles {
    let files = world.surroundings.files;
    // Put in order once, which is much less work than finding each one's place.
    let mut settled = Vec::with_capacity(leads.len());
    let mut links = HashMap::new();
    for Lead { name, section, session, meaning } in leads {
        match meaning.settle(&name, section, session, drafts, files) {
            Settled::Profile(profile) => settled.push((name, profile)),
            Settled::Link(kind) => drop(links.insert(name, Link { section, kind })),
        }
    }
    let mut profiles = Profiles::from_iter(settled);
    for (name, rejected) in dissenters {
        // What a profile itself got wrong comes first.
        let own = match links.get_mut(&name).map(|link| &mut link.kind) {
            Some(Kind::Role(own)) => own.as_deref_mut(),
            _ => profiles.get_mut(&name),
        };
        if let Some(profile @ Ok(_)) = own {
            *profile = Err(rejected);
        }
    }
    chains::follow(&links, &mut profiles, world);
    profiles
}

impl Meaning {
    fn settle(
        self,
        name: &ProfileName,
        section: &Section<'_>,
        session: Option<SessionName>,
        drafts: &Drafts,
        files: &Files,
    ) -> Settled {
        let place = files.place(section.at);
        Settled::Profile(match (self, session) {
            (Self::Role(None), _) => return Settled::Link(Kind::Role(None)),
            (Self::Role(Some(own)), session) => {
                let own = match own.settle(name, section, session, drafts, files) {
                    Settled::Profile(own) => own,
                    Settled::Link(_) => {
                        let message = "credential_process: it leads to another profile: write that one's name as \
                                       source_profile";
                        Err(Rejected { place: process_place(section, files), message: message.to_owned() })
                    }
                };
                return Settled::Link(Kind::Role(Some(Box::new(own))));
            }
            (Self::Keys(target), Some(session)) => {
                target.map(|target| Profile { name: name.clone(), target, session, through_shim: false, place })
            }
            (Self::Keys(target), None) => Err(match target {
                Err(rejected) => rejected,
                Ok(_) => Rejected { place, message: "it leads to no session".to_owned() },
            }),
            (Self::Shim(Ok(TargetQuery::Profile(to))), _) => {
                return Settled::Link(Kind::Shim(to, process_place(section, files)));
            }
            (Self::Shim(Ok(TargetQuery::Role { session, account, role })), _) => {
                let grant = Grant::Role { account, role };
                let place_of_call = process_place(section, files);
                shim_session(session, drafts)
                    .map(|session| {
                        let target = Some(TargetId { session: session.clone(), grant });
                        Profile { name: name.clone(), target, session, through_shim: true, place }
                    })
                    .map_err(|message| Rejected { place: place_of_call, message })
            }
            (Self::Shim(Err(rejected)), _) => Err(rejected),
        })
    }
}

impl<'a> Lead<'a> {
    /// What comes first in a profile is `role_arn`: so every SDK reads it.
    fn read(
        name: ProfileName,
        section: &'a Section<'a>,
        sections: &Sections<'_>,
        drafts: &mut Drafts,
        files: &Files,
        warnings: &mut Vec<Warning>,
    ) -> Option<Self> {
        match Chaining::of(name.as_str(), section) {
            Chaining::None => Self::of_own_keys(name, section, sections, drafts, files, warnings),
            Chaining::NotOurs => None,
            Chaining::FromProfile => Some(Self { name, section, session: None, meaning: Meaning::Role(None) }),
            Chaining::FromItself => {
                let own = Self::of_own_keys(name, section, sections, drafts, files, warnings)?;
                Some(Self { meaning: Meaning::Role(Some(Box::new(own.meaning))), ..own })
            }
            Chaining::FromNowhere => {
                let own = Self::of_own_keys(name, section, sections, drafts, files, warnings)?;
                let message = "role_arn without source_profile: add a line such as `source_profile = NAME`";
                let place = files.place(section.get("role_arn").map_or(section.at, |role| role.at));
                Some(Self { meaning: Meaning::Keys(Err(Rejected { place, message: message.to_owned() })), ..own })
            }
        }
    }

    fn of_own_keys(
        name: ProfileName,
        section: &'a Section<'a>,
        sections: &Sections<'_>,
        drafts: &mut Drafts,
        files: &Files,
        warnings: &mut Vec<Warning>,
    ) -> Option<Self> {
        let process = section.get("credential_process");
        let call = process.and_then(|process| shim::parse(process.text));
        let session = match (section.get("sso_session"), section.get("sso_start_url")) {
            (Some(session), _) => named_session(section, session, sections, files),
            (None, Some(start_url)) => sessions::legacy(name.as_str(), section, start_url, drafts, sections, files),
            (None, None) => {
                let meaning = match (call, process) {
                    (Some(call), Some(process)) => Meaning::Shim(call.map_err(|problem| Rejected {
                        place: files.place(process.at),
                        message: format!("credential_process: {problem}"),
                    })),
                    _ => Meaning::Keys(Err(without_session(&name, section, files)?)),
                };
                return Some(Self { name, section, session: None, meaning });
            }
        };
        if let (Some(_), Some(process)) = (call, process) {
            let message = format!(
                "profile {} has sso_* keys beside credential_process: some AWS tools use the one, some the other; \
                 leave one of them out",
                shown(name.as_str())
            );
            warnings.push(Warning { place: files.place(process.at), message });
        }
        Some(match session {
            Ok(session) => {
                let target = own_target(&session, section, files);
                Self { name, section, session: Some(session), meaning: Meaning::Keys(target) }
            }
            Err(rejected) => Self { name, section, session: None, meaning: Meaning::Keys(Err(rejected)) },
        })
    }
}

/// An account or a role without a session is meant for us, but leads nowhere.
fn without_session(name: &ProfileName, section: &Section<'_>, files: &Files) -> Option<Rejected> {
    let key = section.get("sso_account_id").or_else(|| section.get("sso_role_name"))?;
    let message = format!(
        "profile {} names an account or role but no session: add a line such as `sso_session = NAME`",
        shown(name.as_str())
    );
    Some(Rejected { place: files.place(key.at), message })
}

fn named_session(
    section: &Section<'_>,
    named: Value<'_>,
    sections: &Sections<'_>,
    files: &Files,
) -> Result<SessionName, Rejected> {
    let reject = |at, message| Rejected { place: files.place(at), message };
    let name: SessionName = named.text.parse().map_err(|error| reject(named.at, format!("sso_session is {error}")))?;
    let Some(session) = sections.sso_sessions.get(name.as_str()) else {
        let known = sections.sso_sessions.iter().map(|(name, _)| name);
        let message = format!("there is no [sso-session {}]{}", shown(name.as_str()), did_you_mean(&name, known));
        return Err(reject(named.at, message));
    };
    for key in ["sso_start_url", "sso_region"] {
        if let (Some(here), Some(there)) = (section.get(key), session.get(key))
            && here.text != there.text
        {
            let place = files.place(there.at);
            let message = format!("{key} differs from that of its sso_session at {place}: leave it out here");
            return Err(reject(here.at, message));
        }
    }
    Ok(name)
}

fn own_target(session: &SessionName, section: &Section<'_>, files: &Files) -> Result<Option<TargetId>, Rejected> {
    let reject = |at, message| Rejected { place: files.place(at), message };
    let (account, role) = match (section.get("sso_account_id"), section.get("sso_role_name")) {
        (None, None) => return Ok(None),
        (Some(account), Some(role)) => (account, role),
        (Some(account), None) => {
            let message = "sso_account_id without sso_role_name: add a line such as `sso_role_name = Developer`";
            return Err(reject(account.at, message.to_owned()));
        }
        (None, Some(role)) => {
            let message = "sso_role_name without sso_account_id: add a line such as `sso_account_id = 111122223333`";
            return Err(reject(role.at, message.to_owned()));
        }
    };
    let grant = Grant::Role {
        account: account.text.parse().map_err(|error| reject(account.at, format!("sso_account_id is {error}")))?,
        role: role.text.parse().map_err(|error| reject(role.at, format!("sso_role_name is {error}")))?,
    };
    Ok(Some(TargetId { session: session.clone(), grant }))
}

/// The session a shim's `--session` names, or the only one there is.
fn shim_session(named: Option<SessionName>, drafts: &Drafts) -> Result<SessionName, String> {
    let Some(name) = named else {
        let mut names = drafts.keys();
        return match (names.next(), names.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err("credential_process: there is no session; add an [sso-session] section".to_owned()),
            (Some(_), Some(_)) => Err("credential_process: there are several sessions; add --session NAME".to_owned()),
        };
    };
    if drafts.contains_key(&name) {
        return Ok(name);
    }
    let known = drafts.keys().map(SessionName::as_str);
    Err(format!("credential_process: there is no session {}{}", shown(name.as_str()), did_you_mean(&name, known)))
}

/// Where the `credential_process` is written.
fn process_place(section: &Section<'_>, files: &Files) -> Place {
    files.place(section.get("credential_process").map_or(section.at, |process| process.at))
}

fn did_you_mean<'n>(wanted: &SessionName, known: impl Iterator<Item = &'n str>) -> String {
    // A suggestion per profile must not make the reading of a large file quadratic.
    nearest(wanted.as_str(), known.take(MOST_SUGGESTED_FROM).inspect(|name| work::did(1 + name.len())))
        .map(|name| format!(" (did you mean {}?)", shown(name)))
        .unwrap_or_default()
}

const MOST_SUGGESTED_FROM: usize = 50;

#[cfg(test)]
mod tests {
    use crate::aws_config::Catalog;

    const SESSION: &str = "[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n";

    /// The target of profile `t` with these lines, which start at line 5.
    fn target(lines: &str) -> Result<String, String> {
        Catalog::of(&format!("{SESSION}[profile t]\n{lines}"), &[]).target_of("t")
    }

    #[test]
    fn a_profile_with_the_three_keys_is_a_target_and_with_one_a_session() {
        let target_keys = "sso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Developer\n";
        assert_eq!(target(target_keys), Ok("corp 111122223333 Developer".to_owned()));
        assert_eq!(target("sso_session = corp\n"), Ok("corp only".to_owned()));
        assert_eq!(target("region = eu-west-1\nsso_region = eu-west-1\n"), Err("not ours".to_owned()));
    }

    #[test]
    fn a_profile_in_the_credentials_file_is_one_and_wins_key_by_key() {
        let config = format!("{SESSION}[profile t]\nsso_session = corp\nsso_account_id = 111122223333\n");
        let catalog = Catalog::of_both(&config, "[t]\nsso_role_name = R\nsso_account_id = 444455556666\n", &[]);
        assert_eq!(catalog.target_of("t"), Ok("corp 444455556666 R".to_owned()));
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_named_with_its_line() {
        for (lines, start) in [
            ("sso_session = crop\n", "/config:5: there is no [sso-session crop] (did you mean corp?)"),
            (
                "sso_session = corp\nsso_account_id = 1111\nsso_role_name = R\n",
                "/config:6: sso_account_id is not a valid",
            ),
            ("sso_session = corp\nsso_account_id = 111122223333\nsso_role_name = a b\n", "/config:7: sso_role_name is"),
            ("sso_session = corp\nsso_account_id = 111122223333\n", "/config:6: sso_account_id without sso_role_name"),
            ("sso_session = corp\nsso_role_name = R\n", "/config:6: sso_role_name without sso_account_id"),
            ("sso_account_id = 111122223333\nsso_role_name = R\n", "/config:5: profile t names an account or role but"),
            (
                "sso_session = corp\nsso_region = eu-west-2\n",
                "/config:6: sso_region differs from that of its sso_session at /config:3",
            ),
            ("sso_session = corp\nsso_start_url = https://corp.example/start/\n", "/config:6: sso_start_url differs"),
        ] {
            let error = target(lines).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
        let equal = "sso_session = corp\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        assert!(target(equal).is_ok());
    }

    #[test]
    fn a_profile_that_runs_our_shim_is_the_target_that_its_arguments_name() {
        let expected = Ok("corp 111122223333 R".to_owned());
        let run = "credential_process = /usr/bin/sso-credential-process";
        assert_eq!(target(&format!("{run} --session corp --account 111122223333 --role R\n")), expected);
        assert_eq!(target(&format!("{run} --session=corp --account=111122223333 --role=R\n")), expected);
        assert_eq!(target(&format!("{run} --account 111122223333 --role R\n")), expected);
        assert_eq!(target("credential_process = /usr/bin/other --session corp\n"), Err("not ours".to_owned()));
        let error = target(&format!("{run} --session crop --account 111122223333 --role R\n")).unwrap_err();
        assert_eq!(error, "/config:5: credential_process: there is no session crop (did you mean corp?)");
        let error = target(&format!("{run} --account 1 --role R\n")).unwrap_err();
        assert!(error.starts_with("/config:5: credential_process: --account 1: "), "{error}");
    }

    #[test]
    fn a_shim_without_session_needs_exactly_one() {
        let other = SESSION.replace("corp", "other");
        let line = "credential_process = sso-credential-process --account 111122223333 --role R\n";
        let error = target(&format!("{line}{other}")).unwrap_err();
        assert!(error.contains("several sessions"), "{error}");
        let none = Catalog::of(&format!("[profile t]\n{line}"), &[]);
        assert!(none.target_of("t").unwrap_err().contains("there is no session"));
    }

    #[test]
    fn a_shim_follows_a_profile_for_one_hop_and_never_in_a_circle() {
        let run = "credential_process = sso-credential-process --profile";
        let keys = "sso_session = corp\nsso_account_id = 111122223333\nsso_role_name = R\n";
        let text = format!(
            "{SESSION}[profile one]\n{run} keys\n[profile keys]\n{keys}[profile two]\n{run} one\n\
             [profile loop]\n{run} loop\n\
             [profile lost]\n{run} nobody\n[profile only]\nsso_session = corp\n[profile bare]\n{run} only\n"
        );
        let catalog = Catalog::of(&text, &[]);
        assert_eq!(catalog.target_of("one"), Ok("corp 111122223333 R".to_owned()));
        for (name, reason) in [
            ("two", "is no profile with"),
            ("loop", "is no profile with"),
            ("lost", "nobody is no profile"),
            ("bare", "names no account"),
        ] {
            let error = catalog.target_of(name).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(catalog.profiles[&"one".parse().unwrap()].as_ref().unwrap().through_shim);
    }

    #[test]
    fn keys_beside_a_shim_count_and_are_a_warning() {
        let text = format!(
            "{SESSION}[profile t]\nsso_session = corp\ncredential_process = sso-credential-process --profile x\n"
        );
        let catalog = Catalog::of(&text, &[]);
        assert_eq!(catalog.target_of("t"), Ok("corp only".to_owned()));
        assert_eq!(catalog.warnings[0].place.line, 6);
    }

    #[test]
    fn hostile_names_are_shown_harmless() {
        let error = target("sso_session = \u{1b}[2J\u{202e}x\n").unwrap_err();
        assert!(error.chars().all(|character| !character.is_control() && character != '\u{202e}'), "{error:?}");
    }
}
