//! How a session is reached: its endpoints and the certificates it trusts.
//!
//! Owns: the order of precedence (environment, `services` section, profile, AWS's rules) and the rule that a
//! session's traffic follows its profiles only as long as all of them agree. Refuses to know about proxies.
//! Invariant: no single profile can point a session somewhere else; one that tries is rejected, and an endpoint that
//! cannot be used never falls back to another one.

use std::path::PathBuf;

use super::catalog::{Rejected, Warning};
use super::profiles::Lead;
use super::sections::{At, Files, Named, Section};
use super::sessions::Draft;
use crate::env::Env;
use crate::identity_center::partition::{self, Service};
use crate::identity_center::{Endpoint, Endpoints, InvalidEndpoint};
use crate::ids::{ProfileName, SessionName};
use crate::untrusted::shown;

/// How a session is reached.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) endpoints: Endpoints,
    pub(super) endpoints_from: String,
    pub(super) ca_bundle: Option<PathBuf>,
}

/// What was found out about one session.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) network: Result<Network, Rejected>,
    /// Profiles that want the session to be reached in another way.
    pub(super) dissenters: Vec<(ProfileName, Rejected)>,
    pub(super) warnings: Vec<Warning>,
}

/// Everything that has a say besides the session's own profiles.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) env: &'a Env,
    pub(super) services: &'a Named<'a>,
    /// The default profile, which is asked for sessions that no profile leads to.
    pub(super) default: Option<&'a Section<'a>>,
    pub(super) files: &'a Files,
}

impl Surroundings<'_> {
    /// Decides how the session is reached that these profiles lead to.
    pub(super) fn decide(&self, name: &SessionName, draft: &Draft, profiles: &[&Lead<'_>]) -> Verdict {
        let neutral = match self.view(None, draft) {
            Ok(view) => view,
            Err(problem) => return Verdict::rejected(self.reject(problem, draft.at)),
        };
        let mut dissenters = Vec::new();
        let mut views = Vec::with_capacity(profiles.len());
        for &lead in profiles {
            match self.own_view(lead.section, draft) {
                Ok(view) => views.push((lead, view)),
                Err(problem) => dissenters.push((lead.name.clone(), self.reject(problem, lead.section.at))),
            }
        }
        let fallback = match (profiles, self.default) {
            ([], Some(default)) => match self.own_view(default, draft) {
                Ok(view) => view.unwrap_or_else(|| neutral.clone()),
                Err(problem) => return Verdict::rejected(self.reject(problem, default.at)),
            },
            _ => neutral.clone(),
        };
        let mut chosen = fallback;
        for item in [Item::Oidc, Item::Portal, Item::CaBundle] {
            let view_of = |index: usize| -> &View { views[index].1.as_ref().unwrap_or(&neutral) };
            let other = (1..views.len()).find(|index| !item.same(view_of(0), view_of(*index)));
            if let (false, None) = (views.is_empty(), other) {
                item.copy(view_of(0), &mut chosen);
            }
            let Some(other) = other else { continue };
            for (index, (lead, _)) in views.iter().enumerate() {
                if item.same(view_of(index), &neutral) {
                    continue;
                }
                let opponent = if item.same(view_of(index), view_of(0)) { other } else { 0 };
                let rejected = self.dissent(name, item, view_of(index), &neutral, lead, views[opponent].0);
                dissenters.push((lead.name.clone(), rejected));
            }
        }
        let warnings = self.fips_warning(name, draft, &chosen).into_iter().collect();
        Verdict { network: self.network(chosen, draft), dissenters, warnings }
    }

    fn network(&self, view: View, draft: &Draft) -> Result<Network, Rejected> {
        let mut endpoints = [view.oidc.clone(), view.portal.clone()].into_iter().map(|choice| {
            choice.endpoint.map_err(|error| {
                let problem = Problem { by: Some(choice.by), message: format!("{}: {error}", choice.by.key()) };
                self.reject(problem, draft.at)
            })
        });
        let (Some(oidc), Some(portal)) = (endpoints.next().transpose()?, endpoints.next().transpose()?) else {
            return Err(self.reject(Problem { by: None, message: "no endpoint".to_owned() }, draft.at));
        };
        let endpoints_from = if view.oidc.by == view.portal.by {
            self.show(view.oidc.by)
        } else {
            format!("{} for sso-oidc, {} for sso", self.show(view.oidc.by), self.show(view.portal.by))
        };
        Ok(Network {
            endpoints: Endpoints { oidc, portal },
            endpoints_from,
            ca_bundle: view.ca_bundle.map(|(path, _)| path),
        })
    }

    /// What a profile says, or `None` if it says nothing about the network.
    fn own_view(&self, section: &Section<'_>, draft: &Draft) -> Result<Option<View>, Problem> {
        let silent = KEYS.iter().all(|key| section.get(key).is_none());
        if silent { Ok(None) } else { self.view(Some(section), draft).map(Some) }
    }

    /// How the session would be reached if this profile were its only one.
    fn view(&self, section: Option<&Section<'_>>, draft: &Draft) -> Result<View, Problem> {
        let ignore = self.switch(section, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")?;
        let fips = self.switch(section, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")?;
        let dual_stack = self.switch(section, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")?;
        let choose = |service: Service| -> Result<Choice, Problem> {
            let custom = if ignore.is_some() { None } else { self.custom(service, section)? };
            Ok(match custom {
                Some((text, by)) => Choice { endpoint: text.parse(), by, fips_not_used: fips },
                None => Choice {
                    endpoint: Ok(partition::resolve(service, &draft.region, fips.is_some(), dual_stack.is_some())),
                    by: fips.or(dual_stack).map_or(Decider::Rules, Decider::switched),
                    fips_not_used: None,
                },
            })
        };
        let ca_bundle = match (self.env.get_os("AWS_CA_BUNDLE"), section.and_then(|section| section.get("ca_bundle"))) {
            (Some(path), _) => Some((PathBuf::from(path), Decider::Variable("AWS_CA_BUNDLE"))),
            (None, Some(path)) => Some((self.path(&path.text), Decider::Line(path.at, "ca_bundle"))),
            (None, None) => None,
        };
        Ok(View { oidc: choose(Service::Oidc)?, portal: choose(Service::Portal)?, ca_bundle })
    }

    /// The endpoint somebody configured.
    fn custom<'s>(
        &'s self,
        service: Service,
        section: Option<&'s Section<'_>>,
    ) -> Result<Option<(&'s str, Decider)>, Problem> {
        let (variable, key) = match service {
            Service::Oidc => ("AWS_ENDPOINT_URL_SSO_OIDC", "sso_oidc"),
            Service::Portal => ("AWS_ENDPOINT_URL_SSO", "sso"),
        };
        for variable in [variable, "AWS_ENDPOINT_URL"] {
            if let Some(value) = self.env.get_os(variable) {
                // What is not even text is no URL either.
                return Ok(Some((value.to_str().unwrap_or_default(), Decider::Variable(variable))));
            }
        }
        let Some(section) = section else { return Ok(None) };
        if let Some(named) = section.get("services") {
            let by = Decider::Line(named.at, "services");
            let services = self.services.get(&named.text).ok_or_else(|| Problem {
                by: Some(by),
                message: format!("there is no [services {}]", shown(&named.text)),
            })?;
            if let Some(url) = services.block(key).and_then(|block| block.child("endpoint_url")) {
                return Ok(Some((&url.text, Decider::Line(url.at, "endpoint_url"))));
            }
        }
        Ok(section.get("endpoint_url").map(|url| (url.text.as_ref(), Decider::Line(url.at, "endpoint_url"))))
    }

    /// Whether something is switched on, and by what; the environment is asked first.
    fn switch(
        &self,
        section: Option<&Section<'_>>,
        variable: &'static str,
        key: &'static str,
    ) -> Result<Option<Decider>, Problem> {
        let written = match self.env.get_os(variable) {
            Some(value) => Some((value.to_str().unwrap_or_default(), Decider::Variable(variable))),
            None => section
                .and_then(|section| section.get(key))
                .map(|value| (value.text.as_ref(), Decider::Line(value.at, key))),
        };
        match written {
            None => Ok(None),
            Some((value, by)) if value.eq_ignore_ascii_case("true") => Ok(Some(by)),
            Some((value, _)) if value.eq_ignore_ascii_case("false") => Ok(None),
            Some((_, by)) => Err(Problem { by: Some(by), message: format!("{}: expected true or false", by.key()) }),
        }
    }

    /// A leading `~/` is the home directory; nothing else is expanded.
    fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.env.get_os("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(text),
        }
    }

    fn dissent(
        &self,
        session: &SessionName,
        item: Item,
        wanted: &View,
        used: &View,
        lead: &Lead<'_>,
        opponent: &Lead<'_>,
    ) -> Rejected {
        let (wanted, by) = item.show(wanted);
        let (used, used_by) = item.show(used);
        let message = format!(
            "{} is {wanted} for profile {} ({}), but session {} uses {used} ({}), because its profile {} ({}) does not \
             say the same: the profiles of a session must agree on it",
            item.name(),
            shown(lead.name.as_str()),
            self.show(by),
            shown(session.as_str()),
            self.show(used_by),
            shown(opponent.name.as_str()),
            self.files.place(opponent.section.at),
        );
        self.reject(Problem { by: Some(by), message }, lead.section.at)
    }

    fn fips_warning(&self, name: &SessionName, draft: &Draft, view: &View) -> Option<Warning> {
        let choice = [&view.oidc, &view.portal].into_iter().find(|choice| choice.fips_not_used.is_some())?;
        let message = format!(
            "session {} uses the endpoint of {}, which need not be a FIPS endpoint, although {} asks for one",
            shown(name.as_str()),
            self.show(choice.by),
            self.show(choice.fips_not_used?),
        );
        Some(Warning { place: self.files.place(choice.by.line().unwrap_or(draft.at)), message })
    }

    /// The problem at the line it is about, or where it shows if no line is to blame.
    fn reject(&self, problem: Problem, otherwise: At) -> Rejected {
        let at = problem.by.and_then(Decider::line).unwrap_or(otherwise);
        Rejected { place: self.files.place(at), message: problem.message }
    }

    fn show(&self, decider: Decider) -> String {
        match decider {
            Decider::Rules => "the region".to_owned(),
            Decider::Switched(None, key) => format!("the region and {key}"),
            Decider::Switched(Some(at), key) => format!("the region and {key} at {}", self.files.place(at)),
            Decider::Variable(name) => name.to_owned(),
            Decider::Line(at, _) => self.files.place(at).to_string(),
        }
    }
}

impl Verdict {
    const fn rejected(rejected: Rejected) -> Self {
        Self { network: Err(rejected), dissenters: Vec::new(), warnings: Vec::new() }
    }
}

/// What decided something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decider {
    /// AWS's rules, from the region alone.
    Rules,
    /// AWS's rules, with FIPS or dual-stack switched on by a line or a variable.
    Switched(Option<At>, &'static str),
    Variable(&'static str),
    Line(At, &'static str),
}

impl Decider {
    const fn switched(self) -> Self {
        match self {
            Self::Line(at, key) => Self::Switched(Some(at), key),
            Self::Variable(name) => Self::Switched(None, name),
            other => other,
        }
    }

    const fn line(self) -> Option<At> {
        match self {
            Self::Line(at, _) | Self::Switched(Some(at), _) => Some(at),
            _ => None,
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Rules => "the region",
            Self::Switched(_, key) | Self::Variable(key) | Self::Line(_, key) => key,
        }
    }
}

/// A value that makes no sense.
#[derive(Debug)]
struct Problem {
    by: Option<Decider>,
    message: String,
}

#[derive(Debug, Clone)]
struct Choice {
    endpoint: Result<Endpoint, InvalidEndpoint>,
    by: Decider,
    /// What asked for FIPS, where a custom endpoint is used instead.
    fips_not_used: Option<Decider>,
}

#[derive(Debug, Clone)]
struct View {
    oidc: Choice,
    portal: Choice,
    ca_bundle: Option<(PathBuf, Decider)>,
}

/// What the profiles of a session must agree on.
#[derive(Debug, Clone, Copy)]
enum Item {
    Oidc,
    Portal,
    CaBundle,
}

impl Item {
    fn same(self, one: &View, other: &View) -> bool {
        let same = |one: &Choice, other: &Choice| match (&one.endpoint, &other.endpoint) {
            (Ok(one), Ok(other)) => one == other,
            // Two unusable endpoints are the same only if they are the same line.
            (Err(_), Err(_)) => one.by == other.by,
            _ => false,
        };
        match self {
            Self::Oidc => same(&one.oidc, &other.oidc),
            Self::Portal => same(&one.portal, &other.portal),
            Self::CaBundle => {
                one.ca_bundle.as_ref().map(|(path, _)| path) == other.ca_bundle.as_ref().map(|(path, _)| path)
            }
        }
    }

    fn copy(self, from: &View, to: &mut View) {
        match self {
            Self::Oidc => to.oidc = from.oidc.clone(),
            Self::Portal => to.portal = from.portal.clone(),
            Self::CaBundle => to.ca_bundle.clone_from(&from.ca_bundle),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Oidc => "the sso-oidc endpoint",
            Self::Portal => "the sso endpoint",
            Self::CaBundle => "the CA bundle",
        }
    }

    fn show(self, view: &View) -> (String, Decider) {
        let choice = match self {
            Self::Oidc => &view.oidc,
            Self::Portal => &view.portal,
            Self::CaBundle => {
                return match &view.ca_bundle {
                    Some((path, by)) => (shown(&path.to_string_lossy()).to_string(), *by),
                    None => ("the platform's".to_owned(), Decider::Rules),
                };
            }
        };
        // An endpoint that could not be parsed may carry a password: it is not shown.
        let endpoint = choice.endpoint.as_ref().map_or_else(|error| format!("unusable ({error})"), Endpoint::to_string);
        (endpoint, choice.by)
    }
}

/// The keys of a profile that say something about the network.
const KEYS: [&str; 6] = [
    "services",
    "endpoint_url",
    "ignore_configured_endpoint_urls",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ca_bundle",
];
