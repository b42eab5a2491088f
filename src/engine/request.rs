//! What is asked for a slot: the call, and the words for it.

use std::time::Duration;

use super::event::{PortalKey, Purpose, Turn};
use super::session::Session;
use crate::ids::Grant;
use crate::upstream::Call;

impl Session {
    /// Makes the call for a slot, if what it takes is there.
    pub(super) fn request(&mut self, key: &PortalKey, era: u64, timeout: Duration, turn: &mut Turn<'_>) -> bool {
        let purpose = Purpose::Portal(key.clone());
        match key {
            PortalKey::Credentials(Grant::Role { account, role }) => {
                self.call_portal(purpose, era, timeout, turn, |access_token| Call::GetRoleCredentials {
                    access_token,
                    account: account.clone(),
                    role: role.clone(),
                })
            }
            PortalKey::Credentials(Grant::Assumed(assumption)) => self.assume(key, assumption, era, timeout, turn),
            PortalKey::Accounts => {
                self.call_portal(purpose, era, timeout, turn, |access_token| Call::ListAccounts { access_token })
            }
            PortalKey::Roles(account) => self.call_portal(purpose, era, timeout, turn, |access_token| {
                Call::ListAccountRoles { access_token, account: account.clone() }
            }),
        }
    }
}

impl PortalKey {
    /// What is being done, for a sentence that begins with it.
    pub(super) fn doing(&self) -> String {
        match self {
            Self::Credentials(Grant::Role { .. }) => "getting role credentials".to_owned(),
            Self::Credentials(Grant::Assumed(assumption)) => format!("assuming {}", assumption.role),
            Self::Accounts => "listing accounts".to_owned(),
            Self::Roles(_) => "listing roles".to_owned(),
        }
    }

    /// What is asked for, in the middle of a sentence.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Credentials(grant) => role(grant),
            Self::Accounts => "the list of accounts".to_owned(),
            Self::Roles(account) => format!("account {account}"),
        }
    }
}

/// A role, in the middle of a sentence.
pub(super) fn role(grant: &Grant) -> String {
    match grant {
        Grant::Role { account, role } => format!("role {role} in account {account}"),
        Grant::Assumed(assumption) => format!("role {}", assumption.role),
    }
}
