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
use super::work;
use crate::env::Env;
use crate::identity_center::partition::{self, Service};
use crate::identity_center::{Endpoint, Endpoints, InvalidEndpoint};
use crate::ids::{ProfileName, Region, SessionName};
use crate::untrusted::shown;

/// How a session is reached.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) endpoints: Endpoints,
    pub(super) endpoints_from: String,
    pub(super) ca_bundle: Option<PathBuf>,
    /// Where the console's sign-in service is, where that was configured.
    pub(super) signin: Option<Endpoint>,
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
        for item in [Item::Oidc, Item::Portal, Item::Signin, Item::CaBundle] {
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
        let mut endpoints = [&view.oidc, &view.portal, &view.signin].into_iter().cloned().map(|choice| {
            choice.endpoint.map_err(|error| {
                let problem = Problem { by: Some(choice.by), message: format!("{}: {error}", choice.by.key()) };
                self.reject(problem, draft.at)
            })
        });
        let (Some(oidc), Some(portal)) = (endpoints.next().transpose()?, endpoints.next().transpose()?) else {
            return Err(self.reject(Problem { by: None, message: "no endpoint".to_owned() }, draft.at));
        };
        let signin = endpoints.next().transpose()?.filter(|_| view.signin.by.is_somebody());
        let endpoints_from = if view.oidc.by == view.portal.by {
            self.show(view.oidc.by)
        } else {
            format!("{} for sso-oidc, {} for sso", self.show(view.oidc.by), self.show(view.portal.by))
        };
        Ok(Network {
            endpoints: Endpoints { oidc, portal },
            endpoints_from,
            ca_bundle: view.ca_bundle.map(|(path, _)| path),
            signin,
        })
    }

    /// What a profile says, or `None` if it says nothing about the network.
    fn own_view(&self, section: &Section<'_>, draft: &Draft) -> Result<Option<View>, Problem> {
        let silent = KEYS.iter().all(|key| section.get(key).is_none());
        if silent { Ok(None) } else { self.view(Some(section), draft).map(Some) }
    }

    /// How the session would be reached if this profile were its only one.
    fn view(&self, section: Option<&Section<'_>>, draft: &Draft) -> Result<View, Problem> {
        Ok(View {
            oidc: self.choice(Service::Oidc, &draft.region, section)?,
            portal: self.choice(Service::Portal, &draft.region, section)?,
            signin: self.choice(Service::Signin, &draft.region, section)?,
            ca_bundle: self.ca_bundle(section)?,
        })
    }

    /// Where a service would be if this profile were the only one.
    pub(super) fn choice(
        &self,
        service: Service,
        region: &Region,
        section: Option<&Section<'_>>,
    ) -> Result<Choice, Problem> {
        let ignore = self.switch(section, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")?;
        let fips = self.switch(section, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")?;
        let dual_stack = self.switch(section, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")?;
        let custom = if ignore.is_some() { None } else { self.custom(service, section)? };
        work::did(custom.map_or(0, |(text, _)| text.len().min(LONGEST_URL)));
        Ok(match custom {
            Some((text, by)) if text.len() > LONGEST_URL => {
                Choice { endpoint: Err(InvalidEndpoint::NotAUrl), by, fips_not_used: fips }
            }
            Some((text, by)) => Choice { endpoint: text.parse(), by, fips_not_used: fips },
            None => Choice {
                endpoint: Ok(partition::resolve(service, region, fips.is_some(), dual_stack.is_some())),
                by: fips.or(dual_stack).map_or(Decider::Rules, Decider::switched),
                fips_not_used: None,
            },
        })
    }

    /// The CA bundle somebody configured.
    pub(super) fn ca_bundle(&self, section: Option<&Section<'_>>) -> Result<Option<(PathBuf, Decider)>, Problem> {
        match (self.env.get_os("AWS_CA_BUNDLE"), section.and_then(|section| section.get("ca_bundle"))) {
            (Some(path), _) => Ok(Some((PathBuf::from(path), Decider::Variable("AWS_CA_BUNDLE")))),
            (None, Some(path)) => {
                let by = Decider::Line(path.at, "ca_bundle");
                if path.text.len() > LONGEST_PATH {
                    return Err(Problem { by: Some(by), message: "ca_bundle: longer than a path can be".to_owned() });
                }
                work::did(path.text.len());
                Ok(Some((self.path(path.text), by)))
            }
            // Whose `aws` works behind a company's proxy with this variable alone expects the same of us.
            (None, None) => Ok(self
                .env
                .get_os("REQUESTS_CA_BUNDLE")
                .map(|path| (PathBuf::from(path), Decider::Variable("REQUESTS_CA_BUNDLE")))),
        }
    }

    /// The endpoint somebody configured.
    fn custom<'s>(
        &'s self,
        service: Service,
        section: Option<&'s Section<'_>>,
    ) -> Result<Option<(&'s str, Decider)>, Problem> {
        for variable in [service.endpoint_variable(), "AWS_ENDPOINT_URL"] {
            if let Some(value) = self.env.get_os(variable) {
                // What is not even text is no URL either.
                return Ok(Some((value.to_str().unwrap_or_default(), Decider::Variable(variable))));
            }
        }
        let Some(section) = section else { return Ok(None) };
        if let Some(named) = section.get("services") {
            let by = Decider::Line(named.at, "services");
            let services = self.services.get(named.text).ok_or_else(|| Problem {
                by: Some(by),
                message: format!("there is no [services {}]", shown(named.text)),
            })?;
            if let Some(url) = services.block(service.config_key()).and_then(|block| block.child("endpoint_url")) {
                return Ok(Some((url.text, Decider::Line(url.at, "endpoint_url"))));
            }
        }
        Ok(section.get("endpoint_url").map(|url| (url.text, Decider::Line(url.at, "endpoint_url"))))
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
            None => {
                section.and_then(|section| section.get(key)).map(|value| (value.text, Decider::Line(value.at, key)))
            }
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
        let asked = choice.fips_not_used?;
        let message = format!(
            "session {} uses the endpoint of {}, which need not be a FIPS endpoint, although {}{} asks for one",
            shown(name.as_str()),
            self.show(choice.by),
            asked.key(),
            asked.line().map(|at| format!(" at {}", self.files.place(at))).unwrap_or_default(),
        );
        Some(Warning { place: self.files.place(choice.by.line().unwrap_or(draft.at)), message })
    }

    /// The problem at the line it is about, or where it shows if no line is to blame.
    pub(super) fn reject(&self, problem: Problem, otherwise: At) -> Rejected {
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
pub(super) enum Decider {
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

    /// Whether it is not AWS's rules.
    const fn is_somebody(self) -> bool {
        matches!(self, Self::Variable(_) | Self::Line(..))
    }

    pub(super) const fn line(self) -> Option<At> {
        match self {
            Self::Line(at, _) | Self::Switched(Some(at), _) => Some(at),
            _ => None,
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Rules => "the region",
            Self::Switched(_, key) | Self::Variable(key) | Self::Line(_, key) => key,
        }
    }
}

/// A value that makes no sense.
#[derive(Debug)]
pub(super) struct Problem {
    by: Option<Decider>,
    message: String,
}

#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) endpoint: Result<Endpoint, InvalidEndpoint>,
    pub(super) by: Decider,
    /// What asked for FIPS, where a custom endpoint is used instead.
    fips_not_used: Option<Decider>,
}

#[derive(Debug, Clone)]
struct View {
    oidc: Choice,
    portal: Choice,
    signin: Choice,
    ca_bundle: Option<(PathBuf, Decider)>,
}

/// What the profiles of a session must agree on.
#[derive(Debug, Clone, Copy)]
enum Item {
    Oidc,
    Portal,
    Signin,
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
            Self::Signin => same(&one.signin, &other.signin),
            Self::CaBundle => {
                one.ca_bundle.as_ref().map(|(path, _)| path) == other.ca_bundle.as_ref().map(|(path, _)| path)
            }
        }
    }

    fn copy(self, from: &View, to: &mut View) {
        match self {
            Self::Oidc => to.oidc = from.oidc.clone(),
            Self::Portal => to.portal = from.portal.clone(),
            Self::Signin => to.signin = from.signin.clone(),
            Self::CaBundle => to.ca_bundle.clone_from(&from.ca_bundle),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Oidc => "the sso-oidc endpoint",
            Self::Portal => "the sso endpoint",
            Self::Signin => "the signin endpoint",
            Self::CaBundle => "the CA bundle",
        }
    }

    fn show(self, view: &View) -> (String, Decider) {
        let choice = match self {
            Self::Oidc => &view.oidc,
            Self::Portal => &view.portal,
            Self::Signin => &view.signin,
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

/// Every profile that leads to a value goes over it, so that a long one would make reading quadratic.
const LONGEST_URL: usize = 2048;
const LONGEST_PATH: usize = 4096;
/// The keys of a profile that say something about the network.
const KEYS: [&str; 6] = [
    "services",
    "endpoint_url",
    "ignore_configured_endpoint_urls",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ca_bundle",
];

#[cfg(test)]
mod tests {
    use crate::aws_config::Catalog;

    const SESSION: &str = "[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = us-east-1\n";
    const DEFAULTS: [&str; 2] = ["https://oidc.us-east-1.amazonaws.com", "https://portal.sso.us-east-1.amazonaws.com"];

    fn endpoints(catalog: &Catalog) -> Result<[String; 2], String> {
        let endpoints = &catalog.session_named("corp")?.endpoints;
        Ok([endpoints.oidc.to_string(), endpoints.portal.to_string()])
    }

    fn from(catalog: &Catalog) -> &str {
        &catalog.session_named("corp").unwrap().endpoints_from
    }

    #[test]
    fn a_session_with_one_profile_goes_where_that_profile_would_go() {
        let cases: serde_json::Value = serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/wire/endpoint-url-config-botocore.json"
        )))
        .unwrap();
        let mut checked = 0;
        for case in cases.as_array().unwrap() {
            // Plain http to other machines is refused here.
            let text = |value: &serde_json::Value| value.as_str().unwrap().replace("http://", "https://");
            if case["name"] == "sso-session-endpoint-ignored" {
                continue;
            }
            let config = text(&case["config"]).replace("[profile t]\n", "[profile t]\nsso_session = corp\n") + SESSION;
            let env: Vec<(String, String)> =
                case["env"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
            let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let catalog = Catalog::of(&config, &env);
            let expected = text(&case["result"]);
            if expected.starts_with("ERR") {
                assert!(catalog.target_of("t").unwrap_err().contains("there is no [services nope]"));
            } else {
                let [oidc, portal] = endpoints(&catalog).unwrap();
                assert!(expected.contains(&format!("'sso-oidc': '{oidc}'")), "{case}: {oidc}");
                assert!(expected.contains(&format!("'sso': '{portal}'")), "{case}: {portal}");
            }
            checked += 1;
        }
        assert_eq!(checked, 14);
    }

    #[test]
    fn a_session_knows_what_decided_its_endpoints() {
        let profile = "[profile t]\nsso_session = corp\n";
        let of = |lines: &str, env: &[(&str, &str)]| {
            from(&Catalog::of(&format!("{SESSION}{profile}{lines}"), env)).to_owned()
        };
        assert_eq!(of("", &[]), "the region");
        assert_eq!(of("", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]), "AWS_ENDPOINT_URL");
        assert_eq!(of("endpoint_url = http://127.0.0.1:1\n", &[]), "/config:6");
        assert_eq!(of("use_fips_endpoint = true\n", &[]), "the region and use_fips_endpoint at /config:6");
        assert_eq!(of("", &[("AWS_USE_DUALSTACK_ENDPOINT", "TRUE")]), "the region and AWS_USE_DUALSTACK_ENDPOINT");
        assert_eq!(
            of("services = s\n[services s]\nsso =\n  endpoint_url = http://127.0.0.1:1\n", &[]),
            "the region for sso-oidc, /config:9 for sso"
        );
    }

    #[test]
    fn one_profile_alone_cannot_send_a_session_elsewhere() {
        let text = format!(
            "{SESSION}[profile good]\nsso_session = corp\n[profile evil]\nsso_session = corp\n\
             endpoint_url = https://evil.example\n"
        );
        let catalog = Catalog::of(&text, &[]);
        assert_eq!(endpoints(&catalog).unwrap(), DEFAULTS);
        assert!(catalog.target_of("good").is_ok());
        let error = catalog.target_of("evil").unwrap_err();
        assert!(error.starts_with("/config:8: ") && error.contains("https://evil.example"), "{error}");
        assert!(error.contains("profile good (/config:4)") && error.contains("(the region)"), "{error}");
    }

    #[test]
    fn profiles_that_agree_are_followed_and_those_that_disagree_are_all_rejected() {
        let profile = |name: &str, url: &str| format!("[profile {name}]\nsso_session = corp\nendpoint_url = {url}\n");
        let (a, b) = (profile("a", "http://127.0.0.1:1"), profile("b", "http://127.0.0.1:1/"));
        let agreed = Catalog::of(&format!("{SESSION}{a}{b}"), &[]);
        assert_eq!(endpoints(&agreed).unwrap(), ["http://127.0.0.1:1"; 2]);
        let c = profile("c", "http://127.0.0.1:2");
        let catalog = Catalog::of(&format!("{SESSION}{a}{b}{c}"), &[]);
        assert_eq!(endpoints(&catalog).unwrap(), DEFAULTS);
        assert!(catalog.target_of("a").unwrap_err().contains("profile c "));
        assert!(catalog.target_of("b").unwrap_err().contains("profile c "));
        assert!(catalog.target_of("c").unwrap_err().contains("profile a "));
        let same = Catalog::of(&format!("{SESSION}{a}{b}{c}"), &[("AWS_ENDPOINT_URL", "http://127.0.0.1:3")]);
        assert!(same.target_of("c").is_ok(), "the environment decides for all");
    }

    #[test]
    fn a_shim_profile_has_no_say_and_default_has_one_where_nobody_else_has() {
        let shim = "[profile t]\ncredential_process = sso-credential-process --account 111122223333 --role R\n\
                    endpoint_url = http://127.0.0.1:1\n";
        let catalog = Catalog::of(&format!("{SESSION}{shim}"), &[]);
        assert_eq!(endpoints(&catalog).unwrap(), DEFAULTS);
        assert!(catalog.target_of("t").is_ok());
        let default = "[default]\nendpoint_url = http://127.0.0.1:2\nca_bundle = ~/ca.pem\n";
        let catalog = Catalog::of(&format!("{SESSION}{shim}{default}"), &[("HOME", "/home/u")]);
        assert_eq!(endpoints(&catalog).unwrap(), ["http://127.0.0.1:2"; 2]);
        let bundle = catalog.session_named("corp").unwrap().ca_bundle.clone();
        assert_eq!(bundle, Some("/home/u/ca.pem".into()));
        let catalog = Catalog::of(&format!("{SESSION}{default}[profile a]\nsso_session = corp\n"), &[]);
        assert_eq!(endpoints(&catalog).unwrap(), DEFAULTS);
    }

    #[test]
    fn an_unusable_endpoint_rejects_the_session_and_does_not_fall_back() {
        let error = |lines: &str, env: &[(&str, &str)]| {
            endpoints(&Catalog::of(&format!("{SESSION}[profile t]\nsso_session = corp\n{lines}"), env)).unwrap_err()
        };
        let from_env = error("", &[("AWS_ENDPOINT_URL_SSO", "http://e.example")]);
        assert!(from_env.contains("AWS_ENDPOINT_URL_SSO: plain http is accepted for loopback"), "{from_env}");
        let from_file = error("endpoint_url = https://u:hunter2@e.example?token=hunter2\n", &[]);
        assert!(from_file.starts_with("/config:6: endpoint_url: ") && !from_file.contains("hunter2"), "{from_file}");
        assert!(error("", &[("AWS_ENDPOINT_URL", "nonsense")]).contains("AWS_ENDPOINT_URL: not an endpoint"));
        let fips = error("", &[("AWS_USE_FIPS_ENDPOINT", "yes")]);
        assert!(fips.ends_with("AWS_USE_FIPS_ENDPOINT: expected true or false"), "{fips}");
    }

    #[test]
    fn an_unusable_endpoint_of_one_of_several_profiles_rejects_that_profile_without_showing_it() {
        let text = format!(
            "{SESSION}[profile a]\nsso_session = corp\n[profile b]\nsso_session = corp\n\
             endpoint_url = https://u:hunter2@x\n"
        );
        let catalog = Catalog::of(&text, &[]);
        assert_eq!(endpoints(&catalog).unwrap(), DEFAULTS);
        let error = catalog.target_of("b").unwrap_err();
        assert!(error.contains("unusable") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_custom_endpoint_wins_over_fips_with_a_warning() {
        let text = format!("{SESSION}[profile t]\nsso_session = corp\nuse_fips_endpoint = true\n");
        let catalog = Catalog::of(&text, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
        assert_eq!(endpoints(&catalog).unwrap(), ["http://127.0.0.1:1"; 2]);
        let warning = catalog.warnings[0].to_string();
        assert!(warning.contains("AWS_ENDPOINT_URL") && warning.contains("use_fips_endpoint"), "{warning}");
    }

    #[test]
    fn the_ca_bundle_is_the_one_of_aws_and_then_the_one_of_its_command_line() {
        let bundle = |lines: &str, env: &[(&str, &str)]| {
            let text = format!("{SESSION}[profile t]\nsso_session = corp\n{lines}");
            let catalog = Catalog::of(&text, env);
            catalog.session_named("corp").unwrap().ca_bundle.clone().map(|path| path.display().to_string())
        };
        let requests = ("REQUESTS_CA_BUNDLE", "/requests.pem");
        assert_eq!(bundle("", &[requests]).as_deref(), Some("/requests.pem"));
        assert_eq!(bundle("ca_bundle = /file.pem\n", &[requests]).as_deref(), Some("/file.pem"));
        assert_eq!(bundle("", &[requests, ("AWS_CA_BUNDLE", "/aws.pem")]).as_deref(), Some("/aws.pem"));
        assert_eq!(bundle("", &[]), None);
    }

    #[test]
    fn fips_and_dual_stack_are_switched_by_environment_and_file_and_the_environment_wins() {
        let oidc = |lines: &str, env: &[(&str, &str)]| {
            let text = format!("{SESSION}[profile t]\nsso_session = corp\n{lines}");
            endpoints(&Catalog::of(&text, env)).unwrap()[0].clone()
        };
        let both = "use_fips_endpoint = true\nuse_dualstack_endpoint = True\n";
        assert_eq!(oidc(both, &[]), "https://oidc-fips.us-east-1.api.aws");
        assert_eq!(oidc("use_dualstack_endpoint = true\n", &[]), "https://oidc.us-east-1.api.aws");
        assert_eq!(oidc(both, &[("AWS_USE_FIPS_ENDPOINT", "false")]), "https://oidc.us-east-1.api.aws");
        let env = [("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "false")];
        assert_eq!(oidc(both, &env), "https://oidc-fips.us-east-1.amazonaws.com");
    }

    #[test]
    fn ignored_endpoints_are_those_of_the_environment_as_well() {
        let text = format!(
            "{SESSION}[profile t]\nsso_session = corp\nendpoint_url = http://127.0.0.1:1\nservices = s\n[services s]\n\
             sso =\n  endpoint_url = http://127.0.0.1:2\n"
        );
        let url = ("AWS_ENDPOINT_URL", "http://127.0.0.1:3");
        let ignore = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(endpoints(&Catalog::of(&text, &[url, ignore])).unwrap(), DEFAULTS);
        let by_file = text.replace("services = s\n", "services = s\nignore_configured_endpoint_urls = true\n");
        assert_eq!(endpoints(&Catalog::of(&by_file, &[])).unwrap(), DEFAULTS);
        let expected = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        assert_eq!(endpoints(&Catalog::of(&text, &[])).unwrap(), expected);
        assert_eq!(endpoints(&Catalog::of(&text, &[url])).unwrap(), ["http://127.0.0.1:3"; 2], "before [services]");
    }

    #[test]
    fn fips_and_the_ca_bundle_need_agreement_too() {
        let text = format!(
            "{SESSION}[profile a]\nsso_session = corp\n[profile b]\nsso_session = corp\nuse_fips_endpoint = true\n\
             [profile c]\nsso_session = corp\nca_bundle = /ca.pem\n"
        );
        let catalog = Catalog::of(&text, &[]);
        assert_eq!(endpoints(&catalog).unwrap(), DEFAULTS);
        assert_eq!(catalog.session_named("corp").unwrap().ca_bundle, None);
        assert!(catalog.target_of("b").unwrap_err().contains("https://oidc-fips.us-east-1.amazonaws.com"));
        assert!(catalog.target_of("c").unwrap_err().starts_with("/config:11: the CA bundle is /ca.pem"));
        let catalog = Catalog::of(&text, &[("AWS_CA_BUNDLE", "/env.pem"), ("AWS_USE_FIPS_ENDPOINT", "true")]);
        assert_eq!(catalog.session_named("corp").unwrap().ca_bundle, Some("/env.pem".into()));
        assert!(["a", "b", "c"].iter().all(|name| catalog.target_of(name).is_ok()));
    }
}
