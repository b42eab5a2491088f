//! What the system tells about processes, and time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sso_agent::clock::{Clock, SystemClock};
use sso_agent::time::Mono;

/// CPU time a process has used so far, alive or not yet reaped. Its first thread's, which is where the agent works.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("this kernel tells CPU times");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("it tells them as numbers");
    Duration::from_nanos(nanos)
}

/// Resident memory in kilobytes.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    field(&status, "VmRSS:")
}

/// How often any thread of a process was put on a CPU so far.
pub(crate) fn wake_ups(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    threads
        .map(|thread| {
            let status = thread.expect("it can be listed").path().join("status");
            let status = std::fs::read_to_string(status).expect("no thread ends meanwhile");
            field(&status, "voluntary_ctxt_switches:")
        })
        .sum()
}

fn field(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("this kernel tells it");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("it is a number")
}

/// This program again, in another role.
pub(crate) fn again(arguments: &[&str]) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("this program can be started again")
}

/// The first line that it says.
pub(crate) fn first_line(process: &mut Child) -> String {
    let mut text = String::new();
    let out = process.stdout.as_mut().expect("the output is piped");
    BufReader::new(out).read_line(&mut text).expect("the process says something");
    text
}

/// The monotonic clock.
pub(crate) fn now() -> Mono {
    SystemClock.now().mono
}

/// The runtime the agent uses.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}
