//! Telling the service manager how things are (sd_notify protocol).
//!
//! Owns: the datagrams to `NOTIFY_SOCKET`. Refuses to know which manager listens. Invariant: without a manager this does
//! nothing, and a manager that does not listen changes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::env::Env;

/// Where the service manager listens, if there is one.
#[derive(Debug, Clone)]
pub struct Manager(Option<SocketAddr>);

impl Manager {
    /// The manager that `NOTIFY_SOCKET` names.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        Self(env.get_os("NOTIFY_SOCKET").and_then(address))
    }

    /// Requests are answered from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The agent is coming to its end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        let told =
            UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), address).map(|_| ()));
        if let Err(error) = told {
            tracing::warn!(%error, "the service manager cannot be told: {state}");
        }
    }
}

fn address(path: &OsStr) -> Option<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name).ok()
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => None,
        None => SocketAddr::from_pathname(path).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_that_the_agent_is_ready() {
        let name = format!("sso-agent-test-{}", std::process::id());
        let listener = {
            use std::os::linux::net::SocketAddrExt;
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap()
        };
        Manager::from_env(&Env::from_iter([("NOTIFY_SOCKET", format!("@{name}"))])).ready();
        let mut heard = [0; 64];
        let length = listener.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        Manager::from_env(&Env::default()).ready();
    }
}
