//! Sessions and profiles as the rest of the program sees them.
//!
//! Owns: the catalog, how it is put together, and what differs between two of them. Refuses to know how the files are
//! written. Invariant: a session in it has a usable origin, a profile in it a session that is in it too; everything
//! else that concerns us is in it as a rejection with a place.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use super::chains;
use super::ini::{self, Complaint};
use super::network::{Network, Surroundings};
use super::profiles::{self, Lead};
use super::sections::{self, File, Files, Sections};
use super::sessions;
use crate::env::Env;
use crate::identity_center::{Endpoint, Endpoints, Origin};
use crate::ids::{ProfileName, Region, SessionName, TargetId};
use crate::nearest::nearest;
use crate::settings::Settings;
use crate::untrusted::shown;

/// One configuration file as it was read; absent files are `None` in [`Sources`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was read from, for messages.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The files a catalog is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `~/.aws/config` or `AWS_CONFIG_FILE`.
    pub config: Option<SourceFile>,
    /// `~/.aws/credentials` or `AWS_SHARED_CREDENTIALS_FILE`.
    pub credentials: Option<SourceFile>,
}

/// A place in a configuration file, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", shown(&self.file.to_string_lossy()), self.line)
    }
}

/// Something in the configuration that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What and why, for people.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// An `[sso-session]`, or the session of legacy profiles, fit for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDefinition {
    /// Its name; for legacy profiles the start URL as written.
    pub name: SessionName,
    /// The start URL as written.
    pub start_url: String,
    /// `sso_region`.
    pub region: Region,
    /// `sso_registration_scopes`, or `sso:account:access` where none are written.
    pub scopes: Vec<String>,
    /// Where its services are.
    pub endpoints: Endpoints,
    /// What decided the endpoints, for messages: "the region", "AWS_ENDPOINT_URL_SSO_OIDC", "~/.aws/config:12".
    pub endpoints_from: String,
    /// A PEM bundle that replaces the platform's roots.
    pub ca_bundle: Option<PathBuf>,
    /// Where the console's sign-in service is, if not where AWS's rules say.
    pub signin: Option<Endpoint>,
    /// Where it is written.
    pub place: Place,
}

impl SessionDefinition {
    /// The origin that a sign-in made now would be bound to.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            start_url: self.start_url.clone(),
            resolved_start_url: self.start_url.clone(),
            region: self.region.clone(),
            oidc: self.endpoints.oidc.clone(),
            portal: self.endpoints.portal.clone(),
        }
    }
}

/// A session or profile that is written but cannot be used: `invalid_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where.
    pub place: Place,
    /// What is missing or wrong, for people.
    pub message: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// What a profile means to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The target its keys (or its `credential_process` through our shim) name; `None` for a profile that only
    /// names a session.
    pub target: Option<TargetId>,
    /// The session it leads to.
    pub session: SessionName,
    /// Whether the target was read from a `credential_process` line that runs our shim.
    pub through_shim: bool,
    /// Where it is written.
    pub place: Place,
}

/// Everything the agent takes from the AWS configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Sessions by name.
    pub sessions: BTreeMap<SessionName, Result<SessionDefinition, Rejected>>,
    /// Profiles that lead to a session, by name. Profiles that do not concern us are not here.
    pub profiles: BTreeMap<ProfileName, Result<Profile, Rejected>>,
    /// The names of all profiles, also of those that do not concern us, sorted.
    pub other_profiles: Vec<ProfileName>,
    /// The `region` of each profile that has one and leads to a session.
    pub regions: BTreeMap<ProfileName, Region>,
    /// What was left out.
    pub warnings: Vec<Warning>,
}

/// What differs between two catalogs, as far as sessions in use are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sessions that are new, gone or defined differently.
    pub sessions: Vec<SessionName>,
    /// Profiles that are new, gone or mean something else.
    pub profiles: Vec<ProfileName>,
}

impl Catalog {
    /// Reads the files. Never fails: what cannot be read is in `warnings` or rejected by itself.
    #[must_use]
    pub fn read(sources: &Sources, env: &Env, settings: &Settings) -> Self {
        let files = Files::of(sources);
        let mut warnings = Vec::new();
        let (config, complaints) = decode(sources.config.as_ref());
        sections::warn(File::Config, complaints, &files, &mut warnings);
        let (credentials, complaints) = decode(sources.credentials.as_ref());
        sections::warn(File::Credentials, complaints, &files, &mut warnings);
        let sections = Sections::read(&config, &credentials, &files, &mut warnings);

        let (mut drafts, nameless) = sessions::explicit(&sections, &files);
        warnings.extend(nameless.into_iter().map(|Rejected { place, message }| Warning { place, message }));
        let (leads, other_profiles) = profiles::leads(&sections, &mut drafts, &files, &mut warnings);

        let mut voters: HashMap<&SessionName, Vec<&Lead<'_>>> = HashMap::new();
        for lead in &leads {
            if let Some(session) = &lead.session {
                voters.entry(session).or_default().push(lead);
            }
        }
        let default = sections.profiles.get("default");
        let surroundings = Surroundings { env, services: &sections.services, default, files: &files };
        let mut dissenters = Vec::new();
        let mut sessions = BTreeMap::new();
        for (name, draft) in &drafts {
            let session = match draft {
                Err(rejected) => Err(rejected.clone()),
                Ok(draft) => {
                    let voters = voters.get(name).map_or(&[][..], Vec::as_slice);
                    let verdict = surroundings.decide(name, draft, voters);
                    warnings.extend(verdict.warnings);
                    dissenters.extend(verdict.dissenters);
                    verdict.network.map(|Network { endpoints, endpoints_from, ca_bundle, signin }| SessionDefinition {
                        name: name.clone(),
                        start_url: draft.start_url.clone(),
                        region: draft.region.clone(),
                        scopes: draft.scopes.clone(),
                        endpoints,
                        endpoints_from,
                        ca_bundle,
                        signin,
                        place: files.place(draft.at),
                    })
                }
            };
            sessions.insert(name.clone(), session);
        }
        let region = |lead: &Lead<'_>| lead.section.get("region")?.text.parse().ok();
        let regions = leads.iter().filter_map(|lead| Some((lead.name.clone(), region(lead)?))).collect();
        let world = chains::World { surroundings: &surroundings, names: &other_profiles };
        let profiles = profiles::resolve(leads, &drafts, dissenters, &world);
        warnings.extend(settings_for_nothing(settings, &sessions));
        Self { sessions, profiles, other_profiles, regions, warnings }
    }

    /// What differs between this catalog and a newer one. Lines that only moved are no difference.
    #[must_use]
    pub fn diff(&self, newer: &Self) -> Diff {
        let same_session = |one: &SessionDefinition, other: &SessionDefinition| {
            one.origin() == other.origin() && one.scopes == other.scopes && one.ca_bundle == other.ca_bundle
        };
        let same_profile = |one: &Profile, other: &Profile| {
            one.target == other.target && one.session == other.session && one.through_shim == other.through_shim
        };
        Diff {
            sessions: differing(&self.sessions, &newer.sessions, same_session),
            profiles: differing(&self.profiles, &newer.profiles, same_profile),
        }
    }
}

pub(super) fn decode(source: Option<&SourceFile>) -> (Cow<'_, str>, Vec<Complaint>) {
    source.map(|source| ini::decode(&source.bytes)).unwrap_or_default()
}

/// The names in either map whose values are not both there and the same. Both are walked once, side by side.
fn differing<K: Ord + Clone, V>(
    older: &BTreeMap<K, Result<V, Rejected>>,
    newer: &BTreeMap<K, Result<V, Rejected>>,
    same: impl Fn(&V, &V) -> bool,
) -> Vec<K> {
    let (mut older, mut newer) = (older.iter().peekable(), newer.iter().peekable());
    let mut names = Vec::new();
    loop {
        let order = match (older.peek(), newer.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return names,
        };
        let before = (order != Ordering::Greater).then(|| older.next()).flatten();
        let after = (order != Ordering::Less).then(|| newer.next()).flatten();
        let differs = match (before, after) {
            (Some((_, Ok(before))), Some((_, Ok(after)))) => !same(before, after),
            (Some((_, Err(before))), Some((_, Err(after)))) => before.message != after.message,
            _ => true,
        };
        names.extend(before.or(after).filter(|_| differs).map(|(name, _)| name.clone()));
    }
}

/// Settings that are for a session nobody has written down.
fn settings_for_nothing(
    settings: &Settings,
    sessions: &BTreeMap<SessionName, Result<SessionDefinition, Rejected>>,
) -> Vec<Warning> {
    let unknown = settings.sessions.iter().filter(|(name, _)| !sessions.contains_key(name));
    unknown
        .take(MOST_UNKNOWN)
        .map(|(name, session)| {
            let suggestion = nearest(name.as_str(), sessions.keys().map(SessionName::as_str))
                .map(|name| format!(" (did you mean {}?)", shown(name)))
                .unwrap_or_default();
            let message = format!("there is no session {}{suggestion}", shown(name.as_str()));
            Warning { place: Place { file: settings.file.clone(), line: session.line }, message }
        })
        .collect()
}

const MOST_UNKNOWN: usize = 20;

#[cfg(test)]
impl Catalog {
    /// The catalog of a config file, for tests.
    pub(super) fn of(config: &str, env: &[(&str, &str)]) -> Self {
        Self::of_both(config, "", env)
    }

    /// The catalog of both files, for tests.
    pub(super) fn of_both(config: &str, credentials: &str, env: &[(&str, &str)]) -> Self {
        let file = |path: &str, text: &str| Some(SourceFile { path: path.into(), bytes: text.into() });
        let sources = Sources { config: file("/config", config), credentials: file("/credentials", credentials) };
        Self::read(&sources, &env.iter().copied().collect(), &Settings::default())
    }

    /// The session's definition or why it was rejected, for tests.
    pub(super) fn session_named(&self, name: &str) -> Result<&SessionDefinition, String> {
        let session = self.sessions.get(&name.parse().unwrap()).ok_or("unknown".to_owned())?;
        session.as_ref().map_err(ToString::to_string)
    }

    /// The profile's target as text or why it was rejected, for tests.
    pub(super) fn target_of(&self, name: &str) -> Result<String, String> {
        let profile = self.profiles.get(&name.parse().unwrap()).ok_or("not ours".to_owned())?;
        let profile = profile.as_ref().map_err(ToString::to_string)?;
        Ok(profile.target.as_ref().map_or_else(|| format!("{} only", profile.session), ToString::to_string))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const CONFIG: &str = "[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n\
                          [profile dev]\nsso_session = corp\nsso_account_id = 111122223333\n\
                          sso_role_name = Developer\n";

    #[test]
    fn lines_that_only_moved_are_no_difference() {
        let moved = format!("# a comment\n\n{}", CONFIG.replace("[profile dev]\n", "[profile dev]\nregion = x\n"));
        assert_eq!(Catalog::of(CONFIG, &[]).diff(&Catalog::of(&moved, &[])), Diff::default());
    }

    #[test]
    fn what_is_new_gone_or_changed_differs_and_nothing_else() {
        let before = Catalog::of(
            &format!("{CONFIG}[profile gone]\nsso_session = corp\n[sso-session other]\nsso_region = eu-west-1\n"),
            &[],
        );
        let after = Catalog::of(
            &format!(
                "{}[profile new]\nsso_session = corp\n",
                CONFIG.replace("sso_region = eu-west-1", "sso_region = eu-west-2")
            ),
            &[],
        );
        let diff = before.diff(&after);
        assert_eq!(diff.sessions.iter().map(SessionName::as_str).collect::<Vec<_>>(), ["corp", "other"]);
        assert_eq!(diff.profiles.iter().map(ProfileName::as_str).collect::<Vec<_>>(), ["gone", "new"]);
        let elsewhere = Catalog::of(CONFIG, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
        assert_eq!(Catalog::of(CONFIG, &[]).diff(&elsewhere).sessions.len(), 1);
    }

    #[test]
    fn settings_for_a_session_that_nobody_has_written_are_a_warning() {
        let settings = Settings {
            file: "/config.toml".into(),
            ..Settings::parse("[session.crop]\nflow = \"device\"\n[session.corp]\nflow = \"device\"").unwrap()
        };
        let sources =
            Sources { config: Some(SourceFile { path: "/c".into(), bytes: CONFIG.into() }), credentials: None };
        let warnings = Catalog::read(&sources, &Env::default(), &settings).warnings;
        let shown: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/config.toml:1: there is no session crop (did you mean corp?)"]);
    }

    #[test]
    fn a_line_that_cannot_be_read_costs_that_line() {
        let config = CONFIG.replace("sso_session = corp\n", "nonsense\nsso_session = corp\n");
        let catalog = Catalog::of(&config, &[]);
        assert_eq!(catalog.target_of("dev").as_deref(), Ok("corp 111122223333 Developer"));
        assert_eq!(catalog.warnings[0].to_string(), "/config:5: not of the form `key = value`: left out");
    }

    /// Not a measurement (that is the benchmark's): a quadratic step would make this test take minutes.
    #[test]
    fn a_large_configuration_is_read_whole() {
        let mut config = String::from(CONFIG);
        for number in 0..20_000 {
            let (account, other) = (100_000_000_000_u64 + number, number % 7);
            match number % 4 {
                0 => write!(
                    config,
                    "[profile p{number}]\nsso_session = corp\nsso_account_id = {account}\nsso_role_name = R\n"
                ),
                1 => write!(config, "[profile p{number}]\nsso_session = gone{number}\nuse_fips_endpoint = true\n"),
                2 => write!(
                    config,
                    "[profile p{number}]\nsso_start_url = https://e.example/{number}\nsso_region = eu-west-{other}\n"
                ),
                _ => write!(
                    config,
                    "[profile p{number}]\ncredential_process = sso-credential-process --profile p{}\n",
                    number - 3
                ),
            }
            .unwrap();
        }
        let catalog = Catalog::of(&config, &[]);
        assert_eq!(catalog.profiles.len(), 20_001);
        assert_eq!(catalog.profiles.values().filter(|profile| profile.is_err()).count(), 5_000);
        assert_eq!(catalog.sessions.len(), 5_001);
        assert_eq!(catalog.diff(&catalog), Diff::default());
    }

    /// Lines that say something, so that random files say something too.
    const LINES: [&str; 30] = [
        "[sso-session a]",
        "[sso-session https://a.example/start]",
        "[profile x]",
        "[profile y]",
        "[default]",
        "[profile default]",
        "[services s]",
        "[x]",
        "[broken",
        "sso_session = a",
        "sso_session = b",
        "sso_start_url = https://a.example/start",
        "sso_start_url = http://b.example/start",
        "sso_region = eu-west-1",
        "sso_region = eu-west-2",
        "sso_account_id = 111122223333",
        "sso_account_id = 1",
        "sso_role_name = R",
        "services = s",
        "endpoint_url = http://127.0.0.1:1",
        "  endpoint_url = http://127.0.0.1:2",
        "sso =",
        "sso_oidc =",
        "use_fips_endpoint = true",
        "ignore_configured_endpoint_urls = true",
        "ca_bundle = /ca.pem",
        "credential_process = sso-credential-process --profile x",
        "credential_process = sso-credential-process --profile y",
        "credential_process = sso-credential-process --account 111122223333 --role R",
        "garbage",
    ];

    proptest::proptest! {
        #[test]
        fn any_bytes_make_a_catalog(bytes: Vec<u8>, credentials: Vec<u8>) {
            let file = |bytes: Vec<u8>| Some(SourceFile { path: "/c".into(), bytes });
            let sources = Sources { config: file(bytes), credentials: file(credentials) };
            let _ = Catalog::read(&sources, &Env::default(), &Settings::default());
        }

        #[test]
        fn a_usable_profile_leads_to_a_session_that_is_there(
            config in proptest::collection::vec(proptest::sample::select(LINES.to_vec()), 0..60),
            credentials in proptest::collection::vec(proptest::sample::select(LINES.to_vec()), 0..10),
        ) {
            let catalog = Catalog::of_both(&config.join("\n"), &credentials.join("\n"), &[]);
            for profile in catalog.profiles.values().flatten() {
                proptest::prop_assert!(catalog.sessions.contains_key(&profile.session));
                proptest::prop_assert!(profile.target.as_ref().is_none_or(|target| target.session == profile.session));
                proptest::prop_assert!(catalog.other_profiles.binary_search(&profile.name).is_ok());
            }
            let rejected = catalog.profiles.values().filter_map(|profile| profile.as_ref().err());
            let rejected = rejected.chain(catalog.sessions.values().filter_map(|session| session.as_ref().err()));
            for place in rejected.map(|rejected| &rejected.place).chain(catalog.warnings.iter().map(|warning| &warning.place)) {
                let lines = if place.file.ends_with("config") { config.len() } else { credentials.len() };
                proptest::prop_assert!((1..=lines).contains(&place.line), "{place}");
            }
            proptest::prop_assert_eq!(catalog.diff(&catalog), Diff::default());
        }
    }
}
