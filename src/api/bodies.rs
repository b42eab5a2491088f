//! The JSON bodies of requests that have one.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RefreshBody {
    pub(super) force: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConsoleBody {
    pub(super) destination: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UnlockBody {
    pub(super) passphrase: Option<Secret>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MigrateBody {
    pub(super) to: String,
    pub(super) passphrase: Option<Secret>,
}
