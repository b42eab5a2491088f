//! From a process to the program that it works for.
//!
//! Owns: reading `/proc`, and the rule whom a caller is: the nearest process, beginning with the peer itself, that is
//! neither shim nor command line of ours nor a shell. Refuses to know what is asked for. Invariants: programs are
//! compared by device and inode and not by name; a directory of `/proc` that is open stands for one process for ever,
//! so numbers that are used again confuse nobody; where one link of the chain cannot be read, the caller is unknown.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::asker::Who;
use super::line::{Party, UNKNOWN, written};
use crate::env::Env;
use crate::log_file::identity;
use crate::time::Mono;

/// The programs that work for somebody else: shim, command line, shells.
#[derive(Debug)]
pub struct Programs {
    paths: Vec<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    files: HashSet<File>,
    looked: Option<Mono>,
}

/// Device and inode.
pub(super) type File = (u64, u64);

impl Programs {
    /// Ours as they lie beside this program, and the shells of this machine and of this user.
    #[must_use]
    pub fn of_machine(env: &Env) -> Self {
        let mut paths = vec![PathBuf::from(OURSELVES)];
        if let Some(directory) = std::fs::read_link(OURSELVES).ok().as_deref().and_then(Path::parent) {
            paths.extend(["sso-agent", "sso-credential-process"].map(|name| directory.join(name)));
        }
        paths.extend(env.get_os("SHELL").map(PathBuf::from).filter(|path| path.is_absolute()));
        for directory in DIRECTORIES {
            paths.extend(SHELLS.map(|name| Path::new(directory).join(name)));
        }
        Self { paths, known: Mutex::default() }
    }

    /// Whether this is one of them. Looked up anew now and then, for programs are replaced by upgrades.
    fn contains(&self, file: File, now: Mono) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|looked| now.since(looked) >= LOOK_AGAIN) {
            let found = self.paths.iter().filter_map(|path| std::fs::metadata(path).ok());
            known.files = found.map(|found| (found.dev(), found.ino())).collect();
            known.looked = Some(now);
        }
        known.files.contains(&file)
    }
}

/// The process of this number and its caller; nothing where the process itself cannot be looked at.
pub(super) fn look_up(pid: i32, programs: &Programs, now: Mono) -> Option<Who> {
    let peer = Process::open(pid)?;
    let found = caller(&peer, programs, now);
    let (caller, program) = found.map_or_else(|| (Party::unknown(), None), |(party, file)| (party, Some(file)));
    Some(Who { peer: peer.party(), caller, program, started: peer.started, via: None })
}

fn caller(peer: &Process, programs: &Programs, now: Mono) -> Option<(Party, File)> {
    let mut above;
    let mut process = peer;
    for _ in 0..MOST_GENERATIONS {
        let file = process.program.as_ref()?.file;
        if !programs.contains(file, now) {
            return Some((process.party(), file));
        }
        let parent = Process::open(process.parent)?;
        // Still its parent, so it was its parent that was opened and not somebody who came later.
        if process.stat()?.0 != process.parent {
            return None;
        }
        above = parent;
        process = &above;
    }
    None
}

/// One process, held by its directory.
struct Process {
    pid: i32,
    directory: OwnedFd,
    parent: i32,
    started: u64,
    program: Option<Program>,
}

struct Program {
    path: PathBuf,
    file: File,
}

impl Process {
    fn open(pid: i32) -> Option<Self> {
        // Zero is the parent of the first process, and of one whose parent is in another namespace.
        let path = format!("/proc/{}", Some(pid).filter(|pid| *pid > 0)?);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
        let mut process = Self { pid, directory, parent: 0, started: 0, program: None };
        (process.parent, process.started) = process.stat()?;
        process.program = process.program();
        Some(process)
    }

    /// The number of its parent, and when it was started.
    fn stat(&self) -> Option<(i32, u64)> {
        let file = rustix::fs::openat(&self.directory, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut buffer = [0; 1024];
        let length = rustix::io::read(&file, &mut buffer).ok()?;
        parse_stat(&buffer[..length])
    }

    /// Not readable of processes that have made themselves so.
    fn program(&self) -> Option<Program> {
        let opened = rustix::fs::openat(&self.directory, "exe", LOOK | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&opened).ok()?;
        let path = rustix::fs::readlinkat(&self.directory, "exe", Vec::new()).ok()?;
        Some(Program { path: PathBuf::from(path.to_string_lossy().into_owned()), file: identity(&stat) })
    }

    fn party(&self) -> Party {
        let exe = self.program.as_ref().map(|program| written(&program.path.to_string_lossy()));
        Party { pid: Some(self.pid), uid: None, exe: exe.unwrap_or_else(|| UNKNOWN.to_owned()) }
    }
}

/// `PID (NAME) STATE PARENT …`, where the name may hold anything; the start is the 22nd of these.
fn parse_stat(stat: &[u8]) -> Option<(i32, u64)> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some((parent, started))
}

/// Without running, reading or changing it.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::RDONLY;
const OURSELVES: &str = "/proc/self/exe";
const SHELLS: [&str; 14] =
    ["sh", "bash", "rbash", "dash", "zsh", "fish", "ksh", "ksh93", "mksh", "ash", "csh", "tcsh", "nu", "pwsh"];
const DIRECTORIES: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "/run/current-system/sw/bin"];
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Deeper than any chain of shells that a person made.
const MOST_GENERATIONS: usize = 32;

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn programs() -> Programs {
        Programs::of_machine(&Env::default())
    }

    /// A process that waits for its standard input to end; the shell replaces itself with nothing.
    fn waiting(program: &str, arguments: &[&str]) -> Child {
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    /// Both are up when this has come through them.
    fn greet(child: &mut Child) {
        use std::io::{BufRead, BufReader, Write};
        child.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
    }

    #[test]
    fn a_program_that_asks_itself_is_its_own_caller() {
        let mut cat = waiting("cat", &[]);
        greet(&mut cat);
        let who = look_up(pid(&cat), &programs(), Mono::default()).unwrap();
        assert_eq!(who.peer.pid, Some(pid(&cat)));
        assert!(who.peer.exe.ends_with("/cat") || who.peer.exe.contains("coreutils"), "{who:?}");
        assert_eq!(who.caller, who.peer);
        assert!(who.started > 0);
        end(cat);
    }

    #[test]
    fn shells_and_our_own_programs_are_passed_over_by_what_they_are_and_not_by_name() {
        // The test itself is "ours" here: what it starts in shells has no caller below it but what started it.
        let mut shell = waiting("sh", &["-c", "sh -c 'read line; echo $line; read line; :'; :"]);
        greet(&mut shell);
        let who = look_up(pid(&shell), &programs(), Mono::default()).unwrap();
        let ours = i32::try_from(std::process::id()).unwrap();
        assert!(who.caller.pid != Some(pid(&shell)) && who.caller.pid != Some(ours), "{who:?}");
        // Not ours, and it is the caller, though a shell is between.
        let others = Programs { paths: vec![PathBuf::from("/bin/sh")], known: Mutex::default() };
        let who = look_up(pid(&shell), &others, Mono::default()).unwrap();
        assert_eq!((who.peer.pid, who.caller.pid), (Some(pid(&shell)), Some(ours)));
        // A shell that is not known as one is a program like any other.
        let none = Programs { paths: Vec::new(), known: Mutex::default() };
        assert_eq!(look_up(pid(&shell), &none, Mono::default()).unwrap().caller.pid, Some(pid(&shell)));
        end(shell);
    }

    #[test]
    fn nobody_and_the_dead_have_no_program() {
        let mut child = Command::new("true").spawn().unwrap();
        let process = Process::open(pid(&child)).unwrap();
        child.wait().unwrap();
        assert!(process.stat().is_none(), "the directory stands for the dead and not for its number");
        for nobody in [0, -1, i32::MAX] {
            assert!(look_up(nobody, &programs(), Mono::default()).is_none());
        }
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_move_the_fields() {
        let stat = b"7 (a) R 1 (b c) S 42 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n";
        assert_eq!(parse_stat(stat), Some((42, 987_654)));
        assert_eq!(parse_stat(b"7 (a"), None);
        assert_eq!(parse_stat(b"7 (a) S 1"), None);
    }
}
