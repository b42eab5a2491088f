//! Sessions and profiles as the rest of the program sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::env::Env;
use crate::identity_center::{Endpoints, Origin};
use crate::ids::{ProfileName, Region, SessionName, TargetId};
use crate::settings::Settings;

/// One configuration file as it was read; absent files are `None` in [`Sources`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was read from, for messages.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The files a catalog is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `~/.aws/config` or `AWS_CONFIG_FILE`.
    pub config: Option<SourceFile>,
    /// `~/.aws/credentials` or `AWS_SHARED_CREDENTIALS_FILE`.
    pub credentials: Option<SourceFile>,
}

/// A place in a configuration file, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// Something in the configuration that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What and why, for people.
    pub message: String,
}

/// An `[sso-session]`, or the session of legacy profiles, fit for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDefinition {
    /// Its name; for legacy profiles the start URL as written.
    pub name: SessionName,
    /// The start URL as written.
    pub start_url: String,
    /// `sso_region`.
    pub region: Region,
    /// `sso_registration_scopes`, or `sso:account:access` where none are written.
    pub scopes: Vec<String>,
    /// Where its services are.
    pub endpoints: Endpoints,
    /// What decided the endpoints, for messages: "the region", "AWS_ENDPOINT_URL_SSO_OIDC", "~/.aws/config:12".
    pub endpoints_from: String,
    /// A PEM bundle that replaces the platform's roots.
    pub ca_bundle: Option<PathBuf>,
    /// Where it is written.
    pub place: Place,
}

impl SessionDefinition {
    /// The origin that a sign-in made now would be bound to.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            start_url: self.start_url.clone(),
            resolved_start_url: self.start_url.clone(),
            region: self.region.clone(),
            oidc: self.endpoints.oidc.clone(),
            portal: self.endpoints.portal.clone(),
        }
    }
}

/// A session or profile that is written but cannot be used: `invalid_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where.
    pub place: Place,
    /// What is missing or wrong, for people.
    pub message: String,
}

/// What a profile means to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The target its keys (or its `credential_process` through our shim) name; `None` for a profile that only
    /// names a session.
    pub target: Option<TargetId>,
    /// The session it leads to.
    pub session: SessionName,
    /// Whether the target was read from a `credential_process` line that runs our shim.
    pub through_shim: bool,
    /// Where it is written.
    pub place: Place,
}

/// Everything the agent takes from the AWS configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Sessions by name.
    pub sessions: BTreeMap<SessionName, Result<SessionDefinition, Rejected>>,
    /// Profiles that lead to a session, by name. Profiles that do not concern us are not here.
    pub profiles: BTreeMap<ProfileName, Result<Profile, Rejected>>,
    /// The names of all profiles, also of those that do not concern us.
    pub other_profiles: Vec<ProfileName>,
    /// What was left out.
    pub warnings: Vec<Warning>,
}

/// What differs between two catalogs, as far as sessions in use are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sessions that are new, gone or defined differently.
    pub sessions: Vec<SessionName>,
    /// Profiles that are new, gone or mean something else.
    pub profiles: Vec<ProfileName>,
}

impl Catalog {
    /// Reads the files. Never fails: what cannot be read is in `warnings` or rejected by itself.
    #[must_use]
    pub fn read(_sources: &Sources, _env: &Env, _settings: &Settings) -> Self {
        Self::default()
    }

    /// What differs between this catalog and a newer one.
    #[must_use]
    pub fn diff(&self, _newer: &Self) -> Diff {
        Diff::default()
    }
}
