//! Whether AWS knows a session, before it is written.
//!
//! Owns: the two calls that a device sign-in begins with, and what their failures mean for somebody who has typed a
//! start URL and a region. Invariants: nothing of the answers is kept or shown, nobody is asked to approve anything.

use std::sync::Arc;
use std::time::Duration;

use crate::aws_config::SessionDefinition;
use crate::clock::SystemClock;
use crate::exit::Exit;
use crate::hardening;
use crate::identity_center::{Bound, ErrorName, Flow};
use crate::nearest::nearest;
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
    pub(super) cause: Option<upstream::Failure>,
}

/// Asks AWS.
pub(super) fn with_the_service(session: &SessionDefinition) -> Result<(), Failure> {
    // The answers have secrets in them, even if nobody wants these.
    drop(hardening::harden());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Signals)?;
    runtime.block_on(ask(session)).map_err(|objection| Trouble::Objection(objection).into())
}

async fn ask(session: &SessionDefinition) -> Result<(), Objection> {
    let https = Https::new(Arc::new(SystemClock));
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
        Err(failure) => return Err(about_the_region(session, failure)),
    };
    let start = Call::StartDeviceAuthorization { registration, start_url: session.start_url.clone() };
    match https.call(route(), start).await.result {
        Ok(_) => Ok(()),
        Err(failure) => Err(about_the_start_url(session, failure)),
    }
}

/// The first call says nothing of the start URL.
fn about_the_region(session: &SessionDefinition, failure: upstream::Failure) -> Objection {
    let (host, region) = (session.endpoints.oidc.host(), &session.region);
    match &failure {
        upstream::Failure::NotSent(NotSent::Dns(_)) => Objection {
            exit: Exit::Unavailable,
            message: format!("{} cannot be found", shown(host)),
            hint: match nearest(region.as_str(), REGIONS) {
                Some(known) if known != region.as_str() => {
                    format!("is the region {region} right? Did you mean {known}? {UNCHECKED}")
                }
                _ if REGIONS.contains(&region.as_str()) => format!("check the network. {UNCHECKED}"),
                _ => format!("is the region {region} right? It is written as in eu-west-1. {UNCHECKED}"),
            },
            cause: Some(failure),
        },
        upstream::Failure::Refused(error) if error.name == ErrorName::InvalidScope => Objection {
            exit: Exit::Denied,
            message: format!("AWS does not know the scopes {}", shown(&session.scopes.join(","))),
            hint: "leave --scopes out unless you need others than sso:account:access".to_owned(),
            cause: Some(failure),
        },
        _ => unsure(session, failure),
    }
}

fn about_the_start_url(session: &SessionDefinition, failure: upstream::Failure) -> Objection {
    match &failure {
        upstream::Failure::Refused(_) => Objection {
            exit: Exit::Denied,
            message: format!("AWS knows no access portal {} in region {}", shown(&session.start_url), session.region),
            hint: "the start URL is the address of your AWS access portal, such as https://example.awsapps.com/start; \
                   the region is the one in which IAM Identity Center was set up, whatever region you work in"
                .to_owned(),
            cause: Some(failure),
        },
        _ => unsure(session, failure),
    }
}

fn unsure(session: &SessionDefinition, failure: upstream::Failure) -> Objection {
    let host = session.endpoints.oidc.host();
    Objection {
        exit: if matches!(failure, upstream::Failure::Refused(_)) { Exit::Denied } else { Exit::Unavailable },
        message: format!("whether the session is right could not be found out at {}", shown(host)),
        hint: UNCHECKED.to_owned(),
        cause: Some(failure),
    }
}

const UNCHECKED: &str = "--no-check writes the session unchecked";
const PATIENCE: Duration = Duration::from_secs(20);
/// Where IAM Identity Center is, for suggestions. One that is missing here is merely not suggested.
const REGIONS: [&str; 36] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-2",
];
