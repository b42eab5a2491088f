//! What a request means by its session or target.

use super::words;
use crate::api::{Problem, SessionQuery, TargetQuery};
use crate::aws_config::Catalog;
use crate::ids::{Grant, SessionName, TargetId};

/// The target a request means.
pub(super) fn target_of(catalog: &Catalog, query: &TargetQuery) -> Result<TargetId, Box<Problem>> {
    let unselected = |error| Box::new(words::unselected(error));
    match query {
        TargetQuery::Profile(name) => {
            let target = catalog.target(name).map_err(unselected)?;
            catalog.session(Some(&target.session)).map_err(unselected)?;
            Ok(target.clone())
        }
        TargetQuery::Role { session, account, role } => {
            let definition = catalog.session(session.as_ref()).map_err(unselected)?;
            let grant = Grant::Role { account: account.clone(), role: role.clone() };
            Ok(TargetId { session: definition.name.clone(), grant })
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
