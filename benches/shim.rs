//! CPU time of the whole shim process on a warm target, against an empty Rust program built the same way and against
//! `/bin/true`. `cargo bench --bench shim`; `-- --socket PATH` asks an agent that runs already (any failure shows).

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use support::{Scratch, cpu_time, is_wanted, line, median, serve_document};

fn main() {
    if !is_wanted() {
        return;
    }
    let scratch = Scratch::new("shim");
    let socket = running_agent().unwrap_or_else(|| start_miniature(scratch.path()));
    let empty = empty_program();

    let shim = |arguments: &mut Command| {
        arguments.args(["--session", "corp", "--account", "111122223333", "--role", "Developer"]);
        arguments.env("SSO_AGENT_SOCK", &socket);
    };
    let mut check = Command::new(SHIM);
    shim(&mut check);
    let output = check.output().expect("the shim can be started");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && output.stdout.starts_with(b"{\"Version\":1"), "the shim failed: {message}");

    let (mut ours, mut rust, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // In turn, so that whatever else the machine does hits all alike.
        let mut command = Command::new(SHIM);
        shim(&mut command);
        ours.push(cost(command));
        rust.push(cost(Command::new(&empty)));
        truth.push(cost(Command::new("/bin/true")));
    }
    let (ours, rust, truth) = (median(ours), median(rust), median(truth));
    line("shim, CPU time / empty Rust program", "us", ours, rust, Some(0.0..=1.2));
    line("shim, CPU time / /bin/true", "us", ours, truth, None);
}

/// CPU time of a process from fork to exit, in microseconds.
fn cost(mut command: Command) -> f64 {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program can be started");
    let pid = Pid::from_child(&child);
    // Exited, but not reaped: its accounts are still there.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("the program can be waited for");
    let time = cpu_time(child.id()).expect("this kernel tells CPU times");
    assert!(child.wait().expect("the program can be reaped").success());
    time.as_secs_f64() * 1e6
}

fn start_miniature(directory: &Path) -> PathBuf {
    let socket = directory.join("agent.sock");
    let (ready, is_ready) = mpsc::channel();
    let path = socket.clone();
    std::thread::spawn(move || {
        serve_document(&path, sso_agent::server::Limits::default(), || ready.send(()).expect("the benchmark waits"));
    });
    is_ready.recv().expect("the server starts");
    socket
}

/// Built as the release profile builds the shim.
fn empty_program() -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/empty.rs");
    let flags =
        ["--edition=2024", "-Copt-level=3", "-Clto=fat", "-Ccodegen-units=1", "-Cpanic=abort", "-Cstrip=symbols"];
    let built = Command::new("rustc").args(flags).arg(source).arg("-o").arg(&out).status();
    assert!(built.expect("rustc can be started").success());
    out
}

fn running_agent() -> Option<PathBuf> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--socket");
    arguments.nth(1).map(PathBuf::from)
}

const SHIM: &str = env!("CARGO_BIN_EXE_sso-credential-process");
const ROUNDS: usize = 400;
