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
    let (empty, packaged) = (empty_program(), static_shim());
    let asking = |program: &Path| {
        let mut shim = scene.sandbox.command(program);
        shim.args(WARM_ARGUMENTS);
        shim
    };
    let (mut ours, mut rust, mut fixed, mut truth) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // In turn, so that whatever else the machine does hits all alike.
        ours.push(cost(asking(Path::new(SHIM))));
        rust.push(cost(scene.sandbox.command(&empty)));
        fixed.push(cost(asking(&packaged)));
        truth.push(cost(scene.sandbox.command("/bin/true")));
    }
    let (ours, rust, fixed, truth) = (median(ours), median(rust), median(fixed), median(truth));
    report.line("shim, CPU time / an empty Rust program", "us", ours, Some(rust), Budget::RatioAtMost(1.2));
    report.line("static shim, CPU time / /bin/true", "us", fixed, Some(truth), Budget::RatioAtMost(1.2));
    match system_calls(asking(&packaged), &scene.path("calls")) {
        Some(calls) => report.line("static shim, system calls", "", calls, None, Budget::AtMost(60.0)),
        None => println!("no strace here: the system calls of the static shim are not counted"),
    }
}

/// How many system calls a program makes, if there is an strace to count them.
fn system_calls(program: Command, log: &str) -> Option<f64> {
    let mut strace = Command::new("strace");
    strace.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.args(["-f", "-o", log]).arg(program.get_program()).args(program.get_args()).stdout(Stdio::null());
    strace.status().ok()?.success().then(|| {
        let log = std::fs::read_to_string(log).expect("strace has written it");
        let calls = log.lines().filter(|line| line.contains('(')).count();
        f64::from(u32::try_from(calls).expect("it is a short program"))
    })
}

/// The shim as a package would have it: without a dynamic loader.
fn static_shim() -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
    let version = Command::new("rustc").arg("-vV").output().expect("rustc can be started").stdout;
    let version = String::from_utf8(version).expect("its words are text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("it tells its host");
    let name = "sso-credential-process";
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--no-default-features", "--bin", name, "--target", host])
        .arg("--target-dir")
        .arg(&out)
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .status();
    assert!(built.expect("cargo can be started").success());
    out.join(host).join("release").join(name)
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
