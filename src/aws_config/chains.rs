//! Profiles that lead to another profile: `role_arn` with a `source_profile`, and our shim's `--profile`.
//!
//! Owns: following such links, and the meaning of the keys beside `role_arn`. Refuses to know what the profiles at the
//! end of a chain are made of. Invariant: whatever the files say, a chain ends: at a target of ours, at a profile that
//! does not concern us, or with a rejection.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::catalog::{Place, Profile, Rejected};
use super::network::Surroundings;
use super::sections::{Section, Value};
use super::sts::{Chained, dissenters};
use super::work;
use crate::ids::{Assumption, Grant, ProfileName, RoleArn, RoleSessionName, TargetId};
use crate::nearest::nearest;
use crate::untrusted::shown;

/// The profiles that are understood, or rejected.
pub(super) type Profiles = BTreeMap<ProfileName, Result<Profile, Rejected>>;

/// What `role_arn` makes of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chaining {
    /// There is none.
    None,
    /// Its credentials come from elsewhere: a container, an instance, a web identity.
    NotOurs,
    /// They come from the profile that it names.
    FromProfile,
    /// They come from its own other keys: it names itself.
    FromItself,
    /// Nothing says where they come from.
    FromNowhere,
}

impl Chaining {
    /// Reads what comes before everything else in a profile.
    pub(super) fn of(name: &str, section: &Section<'_>) -> Self {
        if section.get("role_arn").is_none() {
            return Self::None;
        }
        match section.get("source_profile") {
            _ if section.get("web_identity_token_file").is_some() => Self::NotOurs,
            Some(source) if source.text == name => Self::FromItself,
            Some(_) => Self::FromProfile,
            None if section.get("credential_source").is_some() => Self::NotOurs,
            None => Self::FromNowhere,
        }
    }
}

/// A profile that leads to another one.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) section: &'a Section<'a>,
    pub(super) kind: Kind,
}

/// How it leads there.
#[derive(Debug)]
pub(super) enum Kind {
    /// Our shim's `--profile`, written there: it is that target.
    Shim(ProfileName, Place),
    /// It assumes a role with the credentials of its `source_profile`, or with its own.
    Role(Option<Box<Result<Profile, Rejected>>>),
}

/// Follows all links to their ends, each once.
pub(super) fn follow(links: &HashMap<ProfileName, Link<'_>>, profiles: &mut Profiles, world: &World<'_>) {
    let mut names: Vec<&ProfileName> = links.keys().collect();
    names.sort_unstable();
    let mut ends = Ends { links, profiles, world, depths: HashMap::new(), chained: Vec::new() };
    for name in names {
        ends.reach(name);
    }
    let chained = ends.chained;
    let mut dissenters = dissenters(&chained);
    let behind_a_shim = |name: &ProfileName| match links.get(name).map(|link| &link.kind) {
        Some(Kind::Shim(to, _)) => to.clone(),
        _ => name.clone(),
    };
    // Sources come before whoever is chained to them.
    for Chained { name, source, place, .. } in &chained {
        let Some(source) = source.as_ref().map(behind_a_shim) else { continue };
        if let Some(rejected) = dissenters.get(&source) {
            let rejected = unusable(&source, rejected, place.clone());
            dissenters.entry(name.clone()).or_insert(rejected);
        }
    }
    for (name, link) in links {
        if let Kind::Shim(to, place) = &link.kind
            && let Some(rejected) = dissenters.get(to)
        {
            let message = format!("credential_process: profile {} cannot be used: {rejected}", shown(to.as_str()));
            profiles.insert(name.clone(), Err(Rejected { place: place.clone(), message }));
        }
    }
    for (name, rejected) in dissenters {
        profiles.insert(name, Err(rejected));
    }
}

/// What is needed besides the profiles.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) surroundings: &'a Surroundings<'a>,
    /// All profiles there are, also those that do not concern us.
    pub(super) names: &'a [ProfileName],
}

struct Ends<'a, 'f> {
    links: &'a HashMap<ProfileName, Link<'f>>,
    profiles: &'a mut Profiles,
    world: &'a World<'a>,
    /// How many roles are assumed one after the other, for those that are known.
    depths: HashMap<ProfileName, usize>,
    chained: Vec<Chained>,
}

impl<'a> Ends<'a, '_> {
    /// Finds out what this profile means, and before that whatever it leads to.
    fn reach(&mut self, name: &'a ProfileName) {
        let mut path = vec![name];
        let mut on_path = HashSet::from([name]);
        let mut end = None;
        // Down to something that is known, each profile at most once.
        while let Some(next) = path.last().and_then(|last| self.next(last)) {
            work::did(1 + next.as_str().len());
            if self.depths.contains_key(next) || !self.links.contains_key(next) {
                break;
            }
            if !on_path.insert(next) {
                end = Some(next);
                break;
            }
            path.push(next);
        }
        if let Some(again) = end {
            let circle = path.iter().position(|name| *name == again).unwrap_or_default();
            for name in path.split_off(circle) {
                let place = self.place(name);
                let message = "source_profile: the profiles lead back to this one, so that none has credentials";
                self.know(name, Some(Err(Rejected { place, message: message.to_owned() })), 0);
            }
        }
        for name in path.into_iter().rev() {
            if !self.depths.contains_key(name) {
                let (profile, depth) = self.resolve(name);
                self.know(name, profile, depth);
            }
        }
    }

    /// What a link leads to, if that is to be known first.
    fn next(&self, name: &ProfileName) -> Option<&'a ProfileName> {
        let link = self.links.get(name)?;
        let to = match &link.kind {
            // Not from one shim line to another: what that leads to is only one hop away, so there are no loops.
            Kind::Shim(to, _) => self.links.get_key_value(to).filter(|(_, to)| matches!(to.kind, Kind::Role(_)))?.0,
            Kind::Role(Some(_)) => return None,
            Kind::Role(None) => self.links.get_key_value(&source(link.section)?)?.0,
        };
        Some(to)
    }

    fn know(&mut self, name: &ProfileName, profile: Option<Result<Profile, Rejected>>, depth: usize) {
        self.depths.insert(name.clone(), depth);
        if let Some(profile) = profile {
            self.profiles.insert(name.clone(), profile);
        }
    }

    /// The profile, if it concerns us, now that what it leads to is known.
    fn resolve(&mut self, name: &'a ProfileName) -> (Option<Result<Profile, Rejected>>, usize) {
        let Some(Link { section, kind }) = self.links.get(name) else { return (None, 0) };
        match kind {
            Kind::Shim(to, place) => {
                let depth = self.depths.get(to).copied().unwrap_or_default();
                (Some(self.shim(name, to, place.clone())), depth)
            }
            Kind::Role(own) => {
                let from = source(section);
                let depth = 1 + from.as_ref().and_then(|from| self.depths.get(from)).copied().unwrap_or_default();
                let source = match (own, &from) {
                    (Some(own), _) => Some(own.as_ref().clone()),
                    (None, Some(from)) => self.profiles.get(from).cloned(),
                    (None, None) => None,
                };
                let profile = match (source, from) {
                    (Some(_), _) if depth > MOST_HOPS => {
                        let message =
                            format!("source_profile: more than {MOST_HOPS} roles are assumed one after another");
                        Some(Err(Rejected { place: self.place(name), message }))
                    }
                    (Some(source), from) => Some(self.role(name, section, from.filter(|_| own.is_none()), source)),
                    // A typing error, and not a profile that does not concern us.
                    (None, from) => self.unknown_source(section, from.as_ref()),
                };
                (profile, depth)
            }
        }
    }

    fn shim(&self, name: &ProfileName, to: &ProfileName, place: Place) -> Result<Profile, Rejected> {
        let is_shim = self.links.get(to).is_some_and(|link| matches!(link.kind, Kind::Shim(..)));
        let message = match self.profiles.get(to).filter(|_| !is_shim) {
            Some(Ok(Profile { target: Some(target), session, .. })) => {
                return Ok(Profile {
                    name: name.clone(),
                    target: Some(target.clone()),
                    session: session.clone(),
                    through_shim: true,
                    place,
                });
            }
            Some(Ok(_)) => format!("profile {} names no account and role", shown(to.as_str())),
            Some(Err(rejected)) => format!("profile {} cannot be used: {rejected}", shown(to.as_str())),
            None => format!(
                "{} is no profile with sso_session, sso_account_id and sso_role_name, or a role_arn that leads to one",
                shown(to.as_str())
            ),
        };
        Err(Rejected { place, message: format!("credential_process: {message}") })
    }

    fn role(
        &mut self,
        name: &ProfileName,
        section: &Section<'_>,
        from: Option<ProfileName>,
        source: Result<Profile, Rejected>,
    ) -> Result<Profile, Rejected> {
        let surroundings = self.world.surroundings;
        let reject = |value: &Value<'_>, message| Rejected { place: surroundings.files.place(value.at), message };
        let place = self.place(name);
        let source = match (source, &from) {
            (Ok(source), _) => source,
            (Err(rejected), Some(from)) => return Err(unusable(from, &rejected, place)),
            (Err(rejected), None) => return Err(rejected),
        };
        let Some(target) = source.target else {
            let which = from.as_ref().unwrap_or(name);
            let message = format!("source_profile: profile {} names no account and role", shown(which.as_str()));
            return Err(Rejected { place, message });
        };
        if let Some(mfa) = section.get("mfa_serial") {
            let message = "mfa_serial: a role that asks for an MFA code cannot be assumed here, because nobody could \
                           type the code to a program; leave it out if the role does not need it";
            return Err(reject(&mfa, message.to_owned()));
        }
        if let Some(other) = section.get("credential_source") {
            return Err(reject(&other, "credential_source beside source_profile: leave one of them out".to_owned()));
        }
        let read = Reader { section, surroundings };
        let role: RoleArn = read.needed("role_arn")?;
        let session_name = match read.optional("role_session_name")? {
            Some(name) => name,
            None => surroundings.session_name(),
        };
        let view = surroundings.sts(section, &role)?;
        let assumption = Assumption {
            source: target.grant,
            role,
            session_name,
            external_id: read.optional("external_id")?,
            duration: read.optional("duration_seconds")?,
            sts: view.place(),
        };
        let session = target.session;
        let chained =
            Chained { name: name.clone(), session: session.clone(), source: from, view, place: place.clone() };
        self.chained.push(chained);
        let target = TargetId { session: session.clone(), grant: Grant::Assumed(Arc::new(assumption)) };
        Ok(Profile { name: name.clone(), target: Some(target), session, through_shim: false, place })
    }

    fn unknown_source(&self, section: &Section<'_>, from: Option<&ProfileName>) -> Option<Result<Profile, Rejected>> {
        let written = section.get("source_profile")?;
        let is_there = |name: &&ProfileName| self.world.names.binary_search(name).is_ok();
        if from.filter(is_there).is_some() {
            return None;
        }
        let known = self.world.names.iter().take(MOST_SUGGESTED_FROM).map(ProfileName::as_str);
        let near = nearest(written.text, known.inspect(|name| work::did(1 + name.len())))
            .map(|name| format!(" (did you mean {}?)", shown(name)))
            .unwrap_or_default();
        let message = format!("source_profile: there is no profile {}{near}", shown(written.text));
        Some(Err(Rejected { place: self.world.surroundings.files.place(written.at), message }))
    }

    /// Where the link is written.
    fn place(&self, name: &ProfileName) -> Place {
        let files = self.world.surroundings.files;
        match self.links.get(name) {
            Some(Link { section, .. }) => {
                let written = section.get("source_profile").or_else(|| section.get("credential_process"));
                files.place(written.map_or(section.at, |written| written.at))
            }
            None => Place { file: std::path::PathBuf::new(), line: 0 },
        }
    }
}

impl Surroundings<'_> {
    /// What AWS's logs call us where the profile does not say it: the same name every time and for every role, with
    /// the user of this machine in it, so that a line of CloudTrail says whose agent it was and a policy can name it.
    fn session_name(&self) -> RoleSessionName {
        let user = ["USER", "LOGNAME"].into_iter().find_map(|name| self.env.get(name)).unwrap_or_default();
        let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        let user: String = user.chars().map(|c| if legal(c) { c } else { '-' }).take(MOST_OF_USER).collect();
        let separator = if user.is_empty() { "" } else { "-" };
        format!("sso-agent{separator}{user}").parse().expect("it consists of legal characters")
    }
}

/// Reads the values of a section into types.
struct Reader<'a> {
    section: &'a Section<'a>,
    surroundings: &'a Surroundings<'a>,
}

impl Reader<'_> {
    fn needed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<T, Rejected> {
        let missing = || Rejected {
            place: self.surroundings.files.place(self.section.at),
            message: format!("there is no {key}"),
        };
        self.optional(key)?.ok_or_else(missing)
    }

    fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<Option<T>, Rejected> {
        let Some(value) = self.section.get(key) else { return Ok(None) };
        work::did(value.text.len());
        let reject =
            |error| Rejected { place: self.surroundings.files.place(value.at), message: format!("{key} is {error}") };
        value.text.parse().map(Some).map_err(reject)
    }
}

/// The profile that the section says its credentials come from, if that can be one's name.
fn source(section: &Section<'_>) -> Option<ProfileName> {
    section.get("source_profile")?.text.parse().ok()
}

fn unusable(source: &ProfileName, rejected: &Rejected, place: Place) -> Rejected {
    let message = format!("source_profile: profile {} cannot be used: {rejected}", shown(source.as_str()));
    Rejected { place, message }
}

/// So many roles may be assumed one after another. Nobody needs as many, and each costs a call.
const MOST_HOPS: usize = 5;
const MOST_OF_USER: usize = 48;
const MOST_SUGGESTED_FROM: usize = 50;
