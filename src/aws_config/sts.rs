//! Which STS is asked when a profile's role is assumed.
//!
//! Owns: its region, its endpoint and what it is trusted by, and the rule that the profiles of a session which are
//! chained agree on everything about it that AWS's own rules do not decide. Refuses to know the roles. Invariant: role
//! credentials are not signed for a host that a single profile names while another one of its session does not.
//!
//! The region is the profile's, else the environment's, else that of the partition the role is in. The endpoint is a
//! regional one: `sts_regional_endpoints = legacy` is not looked at, as the newer SDKs do not look at it any more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::catalog::{Place, Rejected};
use super::network::{Decider, Surroundings};
use super::sections::Section;
use crate::identity_center::Endpoint;
use crate::identity_center::partition::{self, Service};
use crate::ids::{ProfileName, Region, RoleArn, SessionName, StsPlace};
use crate::untrusted::shown;

/// How STS is reached for one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StsView {
    region: Region,
    endpoint: Endpoint,
    ca_bundle: Option<PathBuf>,
    /// Whether the profile itself configures the endpoint.
    own_endpoint: bool,
    /// Whether the profile itself configures the CA bundle.
    own_bundle: bool,
}

impl StsView {
    /// What an assumption says about it.
    pub(super) fn place(&self) -> StsPlace {
        let Self { region, endpoint, ca_bundle, .. } = self;
        StsPlace { region: region.clone(), address: endpoint.into(), ca_bundle: ca_bundle.clone() }
    }

    /// What the profiles of a session have to agree on.
    fn wish(&self) -> (Option<&Endpoint>, Option<&PathBuf>) {
        (self.own_endpoint.then_some(&self.endpoint), self.ca_bundle.as_ref().filter(|_| self.own_bundle))
    }
}

impl Surroundings<'_> {
    /// How STS is reached for this profile, if its wishes make sense.
    pub(super) fn sts(&self, section: &Section<'_>, role: &RoleArn) -> Result<StsView, Rejected> {
        let region = self.sts_region(section, role)?;
        let reject = |problem| self.reject(problem, section.at);
        let choice = self.choice(Service::Sts, &region, Some(section)).map_err(reject)?;
        let endpoint = choice.endpoint.map_err(|error| {
            let at = choice.by.line().unwrap_or(section.at);
            Rejected { place: self.files.place(at), message: format!("{}: {error}", choice.by.key()) }
        })?;
        let ca_bundle = self.ca_bundle(Some(section)).map_err(reject)?;
        // A pseudo region signs nothing.
        let is_pseudo = region.as_str().ends_with("-global");
        let region = if is_pseudo { partition::implicit_global_region(role.partition()) } else { region };
        Ok(StsView {
            region,
            endpoint,
            own_endpoint: matches!(choice.by, Decider::Line(..)),
            own_bundle: matches!(ca_bundle, Some((_, Decider::Line(..)))),
            ca_bundle: ca_bundle.map(|(path, _)| path),
        })
    }

    fn sts_region(&self, section: &Section<'_>, role: &RoleArn) -> Result<Region, Rejected> {
        if let Some(written) = section.get("region") {
            let reject =
                |error| Rejected { place: self.files.place(written.at), message: format!("region is {error}") };
            return written.text.parse().map_err(reject);
        }
        let of_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| self.env.get(name));
        let region = of_environment.and_then(|text| text.parse().ok());
        Ok(region.unwrap_or_else(|| partition::implicit_global_region(role.partition())))
    }
}

/// The profiles that are chained to a session and want its STS to be another one than the others do.
pub(super) fn dissenters(chained: &[Chained]) -> BTreeMap<ProfileName, Rejected> {
    let mut of_sessions: BTreeMap<&SessionName, Vec<&Chained>> = BTreeMap::new();
    for one in chained {
        of_sessions.entry(&one.session).or_default().push(one);
    }
    let mut dissenters = BTreeMap::new();
    for (session, chained) in of_sessions {
        let Some(first) = chained.first() else { continue };
        let Some(other) = chained.iter().find(|one| one.view.wish() != first.view.wish()) else { continue };
        for one in chained.iter().filter(|one| one.view.wish() != (None, None)) {
            let opponent = if one.view.wish() == first.view.wish() { other } else { first };
            let message = format!(
                "profile {} wants STS to be reached at {}, or trusted by a ca_bundle, of its own, but profile {} of \
                 session {} ({}) does not say the same: the profiles that assume roles with a session's \
                 credentials must agree on it",
                shown(one.name.as_str()),
                one.view.endpoint,
                shown(opponent.name.as_str()),
                shown(session.as_str()),
                opponent.place,
            );
            dissenters.insert(one.name.clone(), Rejected { place: one.place.clone(), message });
        }
    }
    dissenters
}

/// A profile that is chained, as far as the agreement about STS is concerned.
#[derive(Debug)]
pub(super) struct Chained {
    pub(super) name: ProfileName,
    pub(super) session: SessionName,
    pub(super) source: Option<ProfileName>,
    pub(super) view: StsView,
    pub(super) place: Place,
}
