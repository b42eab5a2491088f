//! What a request means by its session or target.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::words;
use crate::api::{Problem, Request, SessionQuery, TargetQuery};
use crate::aws_config::Catalog;
use crate::ids::{SessionName, TargetId};

/// The target a request means.
pub(super) fn target_of<'a>(catalog: &'a Catalog, query: &TargetQuery) -> Result<Cow<'a, TargetId>, Box<Problem>> {
    catalog.resolve(query).map_err(|error| Box::new(words::unselected(error)))
}

/// The session a request means.
pub(super) fn session_of(catalog: &Catalog, query: &SessionQuery) -> Result<SessionName, Box<Problem>> {
    let named = match query {
        SessionQuery::Named(name) => Some(name),
        SessionQuery::OfProfile(profile) => catalog.profile(profile).ok().map(|profile| &profile.session),
        SessionQuery::Only => None,
    };
    match catalog.session(named) {
        Ok(definition) => Ok(definition.name.clone()),
        Err(error) => Err(Box::new(words::unselected(error))),
    }
}

/// Whether this asks for nothing but the credentials of one of these targets. A name that leads nowhere is not within:
/// what there is besides these targets is nobody's business.
pub(super) fn is_within(catalog: &Catalog, request: &Request, targets: &BTreeSet<TargetId>) -> bool {
    match request {
        Request::Credentials { target, .. } => {
            target_of(catalog, target).is_ok_and(|target| targets.contains(&*target))
        }
        Request::Health => true,
        _ => false,
    }
}
