//! Who asks on one connection.
//!
//! Owns: what the kernel says of the peer, kept from accept until the first hand-out, when it is looked up once.
//! Invariant: a process id counts only if that very process still lived after everything about it was read; what cannot
//! be determined is unknown, and never a guess.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Programs;
use super::ancestry::{self, File};
use super::line::Party;
use crate::ids::DoorName;
use crate::time::Mono;

/// The other end of one connection.
pub struct Asker {
    pid: Option<i32>,
    uid: Option<u32>,
    /// The restricted socket it came through.
    via: Option<DoorName>,
    /// The kernel has told which process it is.
    told: bool,
    /// The peer as the kernel knows it, whatever becomes of its number; taken by the first hand-out.
    process: Mutex<Option<OwnedFd>>,
    who: OnceLock<Arc<Who>>,
}

/// The program that something is handed to, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// This one.
    Program {
        /// Its path, for people: another file may lie there by now.
        exe: String,
        /// Device and inode of the file that runs: what it is.
        file: (u64, u64),
    },
    /// Somewhere between it and the socket something does not let itself be looked at, or has ended.
    Hidden,
    /// The system tells of nobody.
    Untold,
}

/// A peer and its caller, looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) peer: Party,
    pub(super) caller: Party,
    /// The file that the caller runs, where it is known.
    pub(super) program: Option<File>,
    /// When the peer was started, in the kernel's ticks: the number alone may have been somebody else's before.
    pub(super) started: u64,
    /// The restricted socket it came through.
    pub(super) via: Option<DoorName>,
}

impl Who {
    /// Whoever it was that came through the same restricted socket.
    pub(super) fn anybody(&self) -> Self {
        let nobody = Party { uid: self.peer.uid, ..Party::unknown() };
        Self { peer: nobody, caller: Party::unknown(), program: None, started: 0, via: self.via.clone() }
    }
}

/// Its numbers: enough to tell almost all apart, and quick.
impl Hash for Who {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.peer.pid, self.started, self.caller.pid, &self.via).hash(hasher);
    }
}

impl Asker {
    /// The peer of this connection, of which the kernel has told process and user.
    #[must_use]
    pub fn of(stream: impl AsFd, pid: Option<i32>, uid: u32) -> Self {
        let process = peer_process(stream);
        let told = process.is_some();
        Self { pid, uid: Some(uid), via: None, told, process: Mutex::new(process), who: OnceLock::new() }
    }

    /// A peer nobody knows anything of.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { pid: None, uid: None, via: None, told: false, process: Mutex::new(None), who: OnceLock::new() }
    }

    /// The same, come through a restricted socket.
    #[must_use]
    pub fn via(mut self, door: Option<DoorName>) -> Self {
        self.via = door;
        self
    }

    /// The program behind it.
    pub(super) fn caller(&self, programs: &Programs, now: Mono) -> Caller {
        let who = self.who(programs, now);
        match who.program {
            Some(file) => Caller::Program { exe: who.caller.exe.clone(), file },
            None if self.told => Caller::Hidden,
            None => Caller::Untold,
        }
    }

    /// Looks it up the first time, and keeps the descriptor no longer.
    pub(super) fn who(&self, programs: &Programs, now: Mono) -> Arc<Who> {
        let look = || {
            let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
            let seen = self.pid.zip(process).and_then(|(pid, process)| {
                let seen = ancestry::look_up(pid, programs, now)?;
                // It lives, so the number was its own all the time.
                is_alive(&process).then_some(seen)
            });
            let unknown =
                || Who { peer: Party::unknown(), caller: Party::unknown(), program: None, started: 0, via: None };
            let mut who = seen.unwrap_or_else(unknown);
            who.peer.uid = self.uid;
            who.via.clone_from(&self.via);
            Arc::new(who)
        };
        Arc::clone(self.who.get_or_init(look))
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Asker").field("pid", &self.pid).field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// The peer as it was when it connected (Linux 6.5 and newer).
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no crate of ours knows this socket option")]
fn peer_process(stream: impl AsFd) -> Option<OwnedFd> {
    use std::os::fd::{AsRawFd, FromRawFd};
    let mut descriptor: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of_val(&descriptor)).ok()?;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length` bytes, which is what
    // there is room for.
    let outcome = unsafe {
        let place = std::ptr::from_mut(&mut descriptor).cast();
        libc::getsockopt(stream.as_fd().as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, place, &raw mut length)
    };
    // SAFETY: it succeeded, so this is a new descriptor of this process that nobody else owns.
    (outcome == 0 && descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Elsewhere a process id is all there is, and that may be somebody else's by now.
#[cfg(not(target_os = "linux"))]
fn peer_process(_stream: impl AsFd) -> Option<OwnedFd> {
    None
}

/// A descriptor of a process is readable when that has ended.
fn is_alive(process: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&at_once)), Ok(0))
}

#[cfg(target_os = "linux")]
const SO_PEERPIDFD: libc::c_int = 77;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn programs() -> Programs {
        Programs::of_machine(&crate::env::Env::default())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_peer_that_lives_is_named_with_its_program() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let asker = Asker::of(&ours, Some(pid), 7);
        let who = asker.who(&programs(), Mono::default());
        if !who.peer.exe.starts_with('/') {
            assert!(peer_process(&ours).is_none(), "only a kernel that cannot tell is an excuse");
            return;
        }
        assert_eq!((who.peer.pid, who.peer.uid), (Some(pid), Some(7)));
        assert_eq!(who.peer.exe, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(Arc::ptr_eq(&who, &asker.who(&programs(), Mono::default())), "looked up once");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_peer_that_has_ended_is_unknown_whoever_has_its_number_now() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        // As if the number had been given to this process.
        let ours = i32::try_from(std::process::id()).unwrap();
        let asker = Asker {
            pid: Some(ours),
            uid: Some(7),
            via: None,
            told: true,
            process: Mutex::new(Some(process)),
            who: OnceLock::new(),
        };
        let who = asker.who(&programs(), Mono::default());
        assert_eq!(
            *who,
            Who {
                peer: Party { uid: Some(7), ..Party::unknown() },
                caller: Party::unknown(),
                program: None,
                started: 0,
                via: None
            }
        );
    }

    #[test]
    fn a_peer_of_which_nothing_is_known_is_unknown() {
        let who = Asker::unknown().who(&programs(), Mono::default());
        assert_eq!((who.peer.pid, who.peer.exe.as_str(), who.caller.exe.as_str()), (None, "unknown", "unknown"));
    }
}
