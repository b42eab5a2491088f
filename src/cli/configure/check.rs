//! Whether AWS knows a session, before it is written.
//!
//! Owns: the calls that a device sign-in begins with, and what their failures mean for somebody who has typed a
//! start URL and a region. Invariants: nothing of the answers is kept or shown, nobody is asked to approve anything.

use std::sync::Arc;
use std::time::Duration;

use crate::aws_config::SessionDefinition;
use crate::clock::SystemClock;
use crate::env::Env;
use crate::exit::Exit;
use crate::hardening;
use crate::identity_center::{Bound, ErrorName, Flow, partition, start_url};
use crate::ids::Region;
use crate::untrusted::shown;
use crate::upstream::{self, Answer, Call, Https, NotSent, Route, Upstream};

use super::super::failure::Failure;
use super::Trouble;

/// What speaks against a session.
#[derive(Debug)]
pub(in super::super) struct Objection {
    pub(super) exit: Exit,
    pub(super) message: String,
    pub(super) hint: String,
    pub(super) cause: Option<String>,
}

/// Asks AWS.
pub(super) fn with_the_service(session: &SessionDefinition, env: &Env) -> Result<(), Failure> {
    // The answers have secrets in them, even if nobody wants these.
    drop(hardening::harden());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Signals)?;
    runtime.block_on(ask(session, env)).map_err(|objection| Trouble::Objection(objection).into())
}

async fn ask(session: &SessionDefinition, env: &Env) -> Result<(), Objection> {
    // Where the address itself names a region, nobody needs to be asked.
    in_that_region(session, start_url::region_of(&session.start_url))?;
    let https = Https::new(Arc::new(SystemClock), env);
    let route =
        || Route { endpoints: session.endpoints.clone(), ca_bundle: session.ca_bundle.clone(), timeout: PATIENCE };
    let register = Call::RegisterClient {
        client_name: "sso-agent configure".to_owned(),
        scopes: session.scopes.clone(),
        flow: Flow::Device,
        start_url: session.start_url.clone(),
    };
    let registration = match https.call(route(), register).await.result {
        Ok(Answer::Registered(registration)) => Bound::new(session.endpoints.oidc.clone(), registration),
        Ok(_) => return Ok(()),
        Err(failure) => return Err(about_the_region(session, &failure)),
    };
    let mut start_url = session.start_url.clone();
    if start_url::needs_resolution(&start_url, &session.endpoints.oidc) {
        start_url = match https.call(route(), Call::ResolveStartUrl { start_url }).await.result {
            Ok(Answer::StartUrl(Ok(resolved))) => {
                in_that_region(session, resolved.region)?;
                resolved.url
            }
            Ok(Answer::StartUrl(Err(misled))) => {
                return Err(no_portal(session, Exit::Configuration, misled.to_string()));
            }
            Ok(_) => return Ok(()),
            Err(failure) => return Err(unsure(&session.start_url, &failure)),
        };
    }
    let start = Call::StartDeviceAuthorization { registration, start_url };
    match https.call(route(), start).await.result {
        Ok(_) => Ok(()),
        Err(failure) => Err(about_the_start_url(session, &failure)),
    }
}

fn in_that_region(session: &SessionDefinition, region: Option<Region>) -> Result<(), Objection> {
    match region {
        Some(region) if region != session.region => Err(Objection {
            exit: Exit::Configuration,
            message: format!(
                "the access portal {} is in {region}, not in {}",
                shown(&session.start_url),
                session.region
            ),
            hint: format!("give --region {region}"),
            cause: None,
        }),
        _ => Ok(()),
    }
}

/// The first call says nothing of the start URL.
fn about_the_region(session: &SessionDefinition, failure: &upstream::Failure) -> Objection {
    let (host, region) = (session.endpoints.oidc.host(), &session.region);
    match failure {
        upstream::Failure::NotSent(NotSent::Dns(_)) => Objection {
            exit: Exit::Unavailable,
            message: format!("{} cannot be found", shown(host)),
            hint: match partition::meant_region(region.as_str()) {
                Some(known) => format!("did you mean --region {known}? {UNCHECKED}"),
                None if partition::is_known_region(region.as_str()) => format!("check the network; {UNCHECKED}"),
                None => format!("is the region {region} right? It is written as in eu-west-1. {UNCHECKED}"),
            },
            cause: Some(failure.to_string()),
        },
        upstream::Failure::Refused(error) if error.name == ErrorName::InvalidScope => Objection {
            exit: Exit::Denied,
            message: format!("AWS does not know the scopes {}", shown(&session.scopes.join(","))),
            hint: "leave --scopes out unless you need others than sso:account:access".to_owned(),
            cause: Some(failure.to_string()),
        },
        _ => unsure(host, failure),
    }
}

fn about_the_start_url(session: &SessionDefinition, failure: &upstream::Failure) -> Objection {
    match failure {
        upstream::Failure::Refused(_) => no_portal(session, Exit::Denied, failure.to_string()),
        _ => unsure(session.endpoints.oidc.host(), failure),
    }
}

fn no_portal(session: &SessionDefinition, exit: Exit, cause: String) -> Objection {
    Objection {
        exit,
        message: format!("AWS knows no access portal {} in region {}", shown(&session.start_url), session.region),
        hint: "the start URL is the address of your AWS access portal, such as https://example.awsapps.com/start; \
               the region is the one in which IAM Identity Center was set up, whatever region you work in"
            .to_owned(),
        cause: Some(cause),
    }
}

fn unsure(whom: &str, failure: &upstream::Failure) -> Objection {
    let (exit, hint) = match failure {
        upstream::Failure::Refused(_) => (Exit::Denied, None),
        upstream::Failure::NotSent(cause) if cause.is_setting() => (Exit::Configuration, cause.hint()),
        upstream::Failure::NotSent(cause) => (Exit::Unavailable, cause.hint()),
        _ => (Exit::Unavailable, None),
    };
    Objection {
        exit,
        message: format!("whether the session is right could not be found out at {}", shown(whom)),
        hint: hint.map_or(UNCHECKED.to_owned(), |hint| format!("{hint}; {UNCHECKED}")),
        cause: Some(failure.to_string()),
    }
}

const UNCHECKED: &str = "--no-check writes the session unchecked";
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws_config::{Catalog, SourceFile, Sources};
    use crate::env::Env;
    use crate::identity_center::ServiceError;
    use crate::settings::Settings;
    use crate::untrusted::Untrusted;

    fn session(start_url: &str, region: &str) -> SessionDefinition {
        let text = format!("[sso-session s]\nsso_start_url = {start_url}\nsso_region = {region}\n");
        let config = Some(SourceFile { path: "/config".into(), bytes: text.into_bytes() });
        let sources = Sources { config, credentials: None };
        let mut catalog = Catalog::read(&sources, &Env::default(), &Settings::default());
        catalog.sessions.remove(&"s".parse().unwrap()).unwrap().unwrap()
    }

    fn dns(region: &str) -> Objection {
        let failure = upstream::Failure::NotSent(NotSent::Dns("no such host".to_owned()));
        about_the_region(&session("https://e.awsapps.com/start", region), &failure)
    }

    #[test]
    fn a_host_that_cannot_be_found_is_a_region_with_a_typo_or_the_network() {
        let typo = dns("eu-wst-1");
        assert_eq!(
            (typo.exit, typo.message.as_str()),
            (Exit::Unavailable, "oidc.eu-wst-1.amazonaws.com cannot be found")
        );
        assert!(typo.hint.contains("did you mean --region eu-west-1?"), "{}", typo.hint);
        assert!(dns("atlantis-north-1").hint.contains("as in eu-west-1"));
        assert!(dns("eu-west-1").hint.starts_with("check the network"));
        assert!(dns("us-west-1").hint.starts_with("check the network"), "there is such a region");
    }

    #[test]
    fn a_refusal_is_about_what_was_asked() {
        let refused =
            |name| upstream::Failure::Refused(ServiceError { name, status: 400, message: Untrusted::new("a\x1bb") });
        let session = session("https://e.awsapps.com/start", "eu-west-1");
        let scopes = about_the_region(&session, &refused(ErrorName::InvalidScope));
        assert!(scopes.exit == Exit::Denied && scopes.message.contains("the scopes sso:account:access"));
        let other = about_the_region(&session, &refused(ErrorName::InvalidRequest));
        assert!(other.exit == Exit::Denied && other.message.contains("could not be found out"));
        let unknown = about_the_start_url(&session, &refused(ErrorName::InvalidRequest));
        assert!(unknown.message.contains("no access portal https://e.awsapps.com/start in region eu-west-1"));
        assert!(!unknown.cause.unwrap().contains('\x1b'));
        let away = about_the_start_url(&session, &upstream::Failure::NotSent(NotSent::ConnectTimeout));
        assert_eq!((away.exit, away.hint), (Exit::Unavailable, format!("check the network; {UNCHECKED}")));
        let bundle = upstream::Failure::NotSent(NotSent::Roots("/ca.pem: no such file".to_owned()));
        let bundle = about_the_region(&session, &bundle);
        assert_eq!((bundle.exit, bundle.hint.as_str()), (Exit::Configuration, UNCHECKED));
    }

    #[test]
    fn a_portal_whose_address_names_another_region_is_not_asked() {
        let session = session("https://ssoins-1.eu-central-1.portal.amazonaws.com", "eu-west-1");
        let objection = in_that_region(&session, start_url::region_of(&session.start_url)).unwrap_err();
        assert_eq!((objection.exit, objection.hint.as_str()), (Exit::Configuration, "give --region eu-central-1"));
    }
}
