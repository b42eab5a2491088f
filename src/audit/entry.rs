//! What a line is about: something handed out, or something that the user's settings refused.
//!
//! Owns: the one shape of both. Refuses to know who asked. Invariant: no secret has a member here.

use crate::api::HandOut;
use crate::ids::{AccountId, RoleArn, RoleName, TargetId};
use crate::time::Timestamp;

/// Something that was asked for, and that the user's settings do not let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refusal<'a> {
    /// `credentials`, or the route.
    pub what: &'a str,
    /// For which target, where that is known.
    pub target: Option<&'a TargetId>,
    /// What was asked for in the caller's words, where nobody knows whether there is such a thing.
    pub asked: Option<&'a str>,
    /// Which setting says no: `serve`, `allow`, `confirm`.
    pub setting: &'a str,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Entry<'a> {
    pub(super) what: &'a str,
    pub(super) session: &'a str,
    pub(super) role: Option<(&'a AccountId, &'a RoleName)>,
    pub(super) assumed: Option<&'a RoleArn>,
    pub(super) key_id: Option<&'a str>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) asked: Option<&'a str>,
    pub(super) refused: Option<&'a str>,
}

impl<'a> From<HandOut<'a>> for Entry<'a> {
    fn from(hand_out: HandOut<'a>) -> Self {
        let HandOut { what, session, role, assumed, key_id, expires_at } = hand_out;
        let (what, expires_at) = (what.as_str(), Some(expires_at));
        Self { what, session, role, assumed, key_id, expires_at, asked: None, refused: None }
    }
}

impl<'a> From<Refusal<'a>> for Entry<'a> {
    fn from(refusal: Refusal<'a>) -> Self {
        let grant = refusal.target.map(|target| &target.grant);
        Self {
            what: refusal.what,
            session: refusal.target.map_or("", |target| target.session.as_str()),
            role: grant.map(|grant| (grant.account(), grant.role())),
            assumed: grant.and_then(|grant| grant.assumption()).map(|assumption| &assumption.role),
            key_id: None,
            expires_at: None,
            asked: refusal.asked,
            refused: Some(refusal.setting),
        }
    }
}
