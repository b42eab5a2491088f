//! What a request means by its session or target.

use std::borrow::Cow;

use super::words;
use crate::api::{Problem, SessionQuery, TargetQuery};
use crate::aws_config::Catalog;
use crate::ids::{Grant, SessionName, TargetId};

/// The target a request means.
pub(super) fn target_of<'a>(catalog: &'a Catalog, query: &TargetQuery) -> Result<Cow<'a, TargetId>, Box<Problem>> {
    let unselected = |error| Box::new(words::unselected(error));
    match query {
        TargetQuery::Profile(name) => catalog.target(name).map(Cow::Borrowed).map_err(unselected),
        TargetQuery::Role { session, account, role } => {
            let definition = catalog.session(session.as_ref()).map_err(unselected)?;
            let grant = Grant::Role { account: account.clone(), role: role.clone() };
            Ok(Cow::Owned(TargetId { session: definition.name.clone(), grant }))
        }
    }
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
