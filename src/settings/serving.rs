//! What the settings say of who is served how: targets with rules, restricted sockets, endpoints for containers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::TargetQuery;

/// `[target."NAME"]`: rules for handing out one target's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// What NAME means.
    pub target: TargetQuery,
    /// `confirm`: a person is asked first.
    pub confirm: bool,
    /// `remember`: how long a yes counts for the same program.
    pub remember: Duration,
    /// `allow`: the only programs that get them, by absolute path; all where not set.
    pub allow: Option<Vec<PathBuf>>,
    /// The line of the table, for messages.
    pub line: usize,
}

/// `[serve.NAME]`: a socket that hands out some targets' credentials and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSettings {
    /// `socket`: absolute, or below the home directory if it begins with `~/`.
    pub socket: PathBuf,
    /// `targets`: at least one.
    pub targets: Vec<TargetQuery>,
    /// `lifetime`: how long it is open.
    pub lifetime: Option<Duration>,
    /// `allow_root`: whether root is served too.
    pub allow_root: bool,
    /// The line of the table, for messages.
    pub line: usize,
}

/// `[container]`: endpoints of the container credentials protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSettings {
    /// `listen`: addresses of this machine that nobody else reaches.
    pub listen: Vec<SocketAddr>,
    /// `exposed`: others, such as a bridge's; the key's name is the acknowledgement.
    pub exposed: Vec<SocketAddr>,
    /// The line of the table, for messages.
    pub line: usize,
}

/// `[imds]`: an endpoint that speaks the instance metadata service's version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImdsSettings {
    /// `listen`, or `exposed` for an address that others reach.
    pub address: SocketAddr,
    /// Whether it was given as `exposed`.
    pub exposed: bool,
    /// `target`: the one it hands out.
    pub target: TargetQuery,
    /// The line of the table, for messages.
    pub line: usize,
}

/// How long a yes counts unless `remember` says otherwise.
pub(super) const REMEMBER: Duration = Duration::from_secs(15 * 60);
