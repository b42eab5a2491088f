//! What a request means by its session or target.

use std::borrow::Cow;

use super::words;
use crate::api::{Problem, SessionQuery, TargetQuery};
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
