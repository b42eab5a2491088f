//! CPU time of the whole shim process on a warm target, against an empty Rust program built the same way and against
//! `/bin/true`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::process::cpu_time;
use super::report::{Budget, Report, median};
use super::scene::{Scene, WARM_ARGUMENTS};
use super::support::sandbox::SHIM;

/// Many short lives.
pub(crate) fn measure(scene: &Scene<'_>, report: &mut Report) {
    let empty = empty_program();
    let (mut ours, mut rust, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // In turn, so that whatever else the machine does hits all alike.
        let mut shim = scene.sandbox.command(SHIM);
        shim.args(WARM_ARGUMENTS);
        ours.push(cost(shim));
        rust.push(cost(scene.sandbox.command(&empty)));
        truth.push(cost(scene.sandbox.command("/bin/true")));
    }
    let (ours, rust, truth) = (median(ours), median(rust), median(truth));
    report.line("shim, CPU time / an empty Rust program", "us", ours, Some(rust), Budget::RatioAtMost(1.2));
    report.line("shim, CPU time / /bin/true", "us", ours, Some(truth), Budget::None);
}

/// CPU time of a process from fork to exit, in microseconds.
fn cost(mut command: Command) -> f64 {
    let mut child = command.stdout(Stdio::null()).spawn().expect("the program can be started");
    let pid = Pid::from_child(&child);
    // Exited, but not reaped: its accounts are still there.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("the program can be waited for");
    let time = cpu_time(child.id());
    assert!(child.wait().expect("the program can be reaped").success());
    time.as_secs_f64() * 1e6
}

/// Built as the release profile builds the shim.
fn empty_program() -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets/empty.rs");
    let flags =
        ["--edition=2024", "-Copt-level=3", "-Clto=fat", "-Ccodegen-units=1", "-Cpanic=abort", "-Cstrip=symbols"];
    let built = Command::new("rustc").args(flags).arg(source).arg("-o").arg(&out).status();
    assert!(built.expect("rustc can be started").success());
    out
}

const ROUNDS: usize = 400;
