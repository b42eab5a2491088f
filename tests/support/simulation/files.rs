//! The configuration files of the simulated user, and what is done to them.
//!
//! Invariant: what a file says at a moment is a value; the agent knows it from the moment it has read it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sso_agent::aws_config::{Catalog, Place, Profile, Rejected, SessionDefinition};
use sso_agent::engine::Configuration;
use sso_agent::identity_center::{Endpoint, Endpoints};
use sso_agent::ids::{Assumption, Grant, ProfileName, SessionName, StsPlace, TargetId};
use sso_agent::settings::{Publish, SessionSettings, Settings, SignInMode};

use super::chance::Chance;
use super::service::CHAINED_ROLE;

/// What the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// By session.
    pub sessions: Vec<Entry>,
}

/// What they say about one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub leads: Leads,
    /// `refresh_margin`.
    pub margin: Option<Duration>,
}

/// Where a session leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To the service.
    Home,
    /// To another place.
    Elsewhere,
    /// It is not there.
    Nowhere,
    /// It cannot be used.
    Astray,
}

impl Files {
    /// As they begin.
    pub fn new(sessions: usize) -> Self {
        Self { sessions: vec![Entry { leads: Leads::Home, margin: None }; sessions] }
    }

    /// Somebody edits them.
    pub fn edit(&mut self, chance: &mut Chance) {
        let which = usize::try_from(chance.below(self.sessions.len() as u64)).unwrap_or_default();
        let entry = &mut self.sessions[which];
        match chance.weighed(&[4, 2, 1, 3]) {
            0 => entry.leads = Leads::Elsewhere,
            1 => entry.leads = Leads::Nowhere,
            2 => entry.leads = Leads::Astray,
            _ => {
                entry.margin = chance.pick(&[None, Some(5), Some(60), Some(1200), Some(7200)]).map(Duration::from_secs)
            }
        }
    }

    /// Every session is where it was.
    pub fn put_back(&mut self) {
        for entry in &mut self.sessions {
            entry.leads = Leads::Home;
        }
    }

    /// Whether every session is where it belongs.
    pub fn are_in_order(&self) -> bool {
        self.sessions.iter().all(|entry| entry.leads == Leads::Home)
    }

    /// As the agent reads them.
    pub fn read(&self) -> Configuration {
        let mut catalog = Catalog::default();
        let mut settings = Settings::default();
        for (number, entry) in self.sessions.iter().enumerate() {
            let name = session_name(number);
            let definition = match entry.leads {
                Leads::Nowhere => continue,
                Leads::Astray => Err(Rejected { place: place(), message: "sso_region is missing".to_owned() }),
                leads => Ok(definition(number, leads == Leads::Elsewhere)),
            };
            catalog.sessions.insert(name.clone(), definition);
            let profile = Profile {
                name: format!("profile-{number}").parse().expect("a profile's name"),
                target: Some(TargetId { session: name.clone(), grant: grant(0) }),
                session: name.clone(),
                through_shim: false,
                place: place(),
            };
            catalog.profiles.insert(profile.name.clone(), Ok(profile));
            for role in [CHAINED_ROLE, CHAINED_ROLE + 1] {
                let profile = Profile {
                    name: chained_profile(number, role),
                    target: Some(TargetId { session: name.clone(), grant: grant(role) }),
                    session: name.clone(),
                    through_shim: false,
                    place: place(),
                };
                catalog.profiles.insert(profile.name.clone(), Ok(profile));
            }
            // One is published whole, one as far as the token goes, the others are not.
            let publish = [Publish::Full, Publish::Token].get(number).copied().unwrap_or_default();
            let sign_in = if is_on_demand(number) { SignInMode::OnDemand } else { SignInMode::Manual };
            let entry =
                SessionSettings { refresh_margin: entry.margin, sign_in, publish, ..SessionSettings::default() };
            settings.sessions.insert(name, entry);
        }
        Configuration { catalog, settings }
    }
}

/// Whether a request starts the sign-in of this session.
pub const fn is_on_demand(session: usize) -> bool {
    session % 2 == 1
}

/// The name of the session with this number.
pub fn session_name(number: usize) -> SessionName {
    format!("s{number}").parse().expect("a session's name")
}

/// The number of the session with this name.
pub fn session_number(name: &SessionName) -> usize {
    name.as_str()[1..].parse().expect("a name from here")
}

/// What is asked for in a session.
pub fn grant(role: usize) -> Grant {
    if role >= CHAINED_ROLE {
        let source = if role == CHAINED_ROLE { grant(0) } else { grant(role - 1) };
        return Grant::Assumed(Arc::new(Assumption {
            source,
            role: format!("arn:aws:iam::444455556666:role/Role{role}").parse().expect("a role's ARN"),
            session_name: "sso-agent-user".parse().expect("a name"),
            external_id: None,
            duration: None,
            sts: StsPlace {
                region: "eu-west-1".parse().expect("a region"),
                address: (&endpoint("https://sts.eu-west-1.amazonaws.com")).into(),
                ca_bundle: None,
            },
        }));
    }
    Grant::Role { account: account(), role: format!("Role{role}").parse().expect("a role's name") }
}

/// The profile of a role that is assumed.
pub fn chained_profile(session: usize, role: usize) -> ProfileName {
    format!("chained-{session}-{role}").parse().expect("a profile's name")
}

/// The session and the role of such a profile.
pub fn chained(profile: &ProfileName) -> Option<(usize, usize)> {
    let (session, role) = profile.as_str().strip_prefix("chained-")?.split_once('-')?;
    Some((session.parse().ok()?, role.parse().ok()?))
}

/// The only account
pub fn account() -> sso_agent::ids::AccountId {
    "111122223333".parse().expect("an account")
}

/// The number of the role.
pub fn role_number(grant: &Grant) -> usize {
    grant.role().as_str()[4..].parse().expect("a role from here")
}

/// Where sso-oidc is, at home and elsewhere.
pub fn oidc(elsewhere: bool) -> &'static Endpoint {
    static ENDPOINTS: LazyLock<[Endpoint; 2]> =
        LazyLock::new(|| ["https://oidc.eu-west-1.amazonaws.com", ELSEWHERE].map(endpoint));
    &ENDPOINTS[usize::from(elsewhere)]
}

/// Where the portal is.
pub fn portal(elsewhere: bool) -> &'static Endpoint {
    static ENDPOINTS: LazyLock<[Endpoint; 2]> =
        LazyLock::new(|| ["https://portal.sso.eu-west-1.amazonaws.com", ELSEWHERE].map(endpoint));
    &ENDPOINTS[usize::from(elsewhere)]
}

fn endpoint(url: &str) -> Endpoint {
    url.parse().expect("an endpoint")
}

fn definition(number: usize, elsewhere: bool) -> SessionDefinition {
    SessionDefinition {
        name: session_name(number),
        start_url: format!("https://s{number}.awsapps.com/start"),
        region: "eu-west-1".parse().expect("a region"),
        scopes: vec!["sso:account:access".to_owned()],
        endpoints: Endpoints { oidc: oidc(elsewhere).clone(), portal: portal(elsewhere).clone() },
        endpoints_from: "the region".to_owned(),
        ca_bundle: None,
        signin: None,
        place: place(),
    }
}

fn place() -> Place {
    Place { file: "/home/user/.aws/config".into(), line: 1 }
}

const ELSEWHERE: &str = "http://localhost:4566";
