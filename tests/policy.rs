//! The user's rules about who is handed what, with programs that are really other programs and a prompt that is really
//! another process.

mod confirm;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{Finished, SHIM, Sandbox};

/// A service, and a machine with these settings.
fn machine(settings: &str) -> (FakeIdentityCenter, Sandbox) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("AWS_ENDPOINT_URL_SIGNIN", service.url());
    set(&sandbox, settings);
    (service, sandbox)
}

fn set(sandbox: &Sandbox, settings: &str) {
    sandbox.write("home/.config/sso-agent/config.toml", settings);
}

fn allow(programs: &[&Path]) -> String {
    let programs: Vec<_> = programs.iter().map(|path| format!("{:?}", path.to_str().unwrap())).collect();
    format!("[target.dev]\nallow = [{}]\n", programs.join(", "))
}

/// The refusals in the audit log: what, by which setting, of whom.
fn refusals(sandbox: &Sandbox) -> Vec<(String, String, String)> {
    let text = sandbox.cli(&["audit", "--json"]).expect_success();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| line["refused"].is_string())
        .map(|line| (word(&line["what"]), word(&line["refused"]), word(&line["caller"]["exe"])))
        .collect()
}

/// A program that starts another one and waits for it.
fn tool(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.root().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Not written by us: a child of another test would inherit it, and what is open for writing cannot be run.
    Finished::of(sandbox.command("cp").arg("/usr/bin/timeout").arg(&path)).expect_success();
    path
}

fn shim_by(sandbox: &Sandbox, tool: &Path) -> Finished {
    Finished::of(sandbox.command(tool).args(["60", SHIM, "--profile", "dev"]))
}

/// An old kernel does not tell who connects; then everybody is refused, which is another test.
fn kernel_tells(sandbox: &Sandbox) -> bool {
    let text = sandbox.cli(&["audit", "--json"]).expect_success();
    let line = text.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap());
    line.is_some_and(|line| line["peer"]["exe"] != "unknown")
}

#[test]
fn a_program_is_served_for_what_it_is_and_not_for_its_name() {
    let (service, sandbox) = machine("");
    let terraform = tool(&sandbox, "bin/terraform");
    let namesake = tool(&sandbox, "elsewhere/terraform");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.shim(&["--profile", "dev"]).json();
    if !kernel_tells(&sandbox) {
        return;
    }
    set(&sandbox, &allow(&[&terraform]));
    sandbox.cli(&["reload"]).expect_success();

    shim_by(&sandbox, &terraform).json();
    // The answer lies ready now, and is for nobody else.
    let other = shim_by(&sandbox, &namesake);
    assert_eq!((other.code, other.stdout.as_str()), (Some(6), ""), "{other:?}");
    let named = [namesake.to_str().unwrap(), "target dev", "only has the name of", "allow"];
    assert!(named.iter().all(|word| other.stderr.contains(word)), "{}", other.stderr);
    assert_eq!(other.stderr.lines().count(), 1, "{}", other.stderr);

    // Ours and shells are passed over on the way up: here the test itself is who asks.
    let this = std::env::current_exe().unwrap();
    let direct = sandbox.cli(&["credentials", "--profile", "dev"]);
    assert_eq!(direct.code, Some(6), "{direct:?}");
    assert!(direct.stderr.contains(this.to_str().unwrap()), "{}", direct.stderr);
    let (status, problem) = agent.request("GET", "/v1/credentials?profile=dev", "");
    assert_eq!((status, problem["code"].as_str()), (403, Some("not_allowed")), "{problem}");
    let (status, _) = agent.request("POST", "/v1/console?profile=dev", "");
    assert_eq!(status, 403, "nor a way into the console");
    // By either name of the target.
    let (status, _) = agent.request("GET", "/v1/credentials?session=corp&account=111122223333&role=ReadOnly", "");
    assert_eq!(status, 403);

    let script = format!("#!/bin/bash\n{} 60 {SHIM} --profile dev\n", terraform.display());
    let script = sandbox.write("script", &script);
    Finished::of(sandbox.command("/bin/bash").arg(&script)).json();
    let script = sandbox.write("bare", &format!("#!/bin/bash\n{SHIM} --profile dev\nexit $?\n"));
    set(&sandbox, &allow(&[&terraform, &script, Path::new("/bin/bash")]));
    sandbox.cli(&["reload"]).expect_success();
    let bare = Finished::of(sandbox.command("/bin/bash").arg(&script));
    assert_eq!(bare.code, Some(6), "neither a script nor a shell is anybody: {bare:?}");

    let refusals = refusals(&sandbox);
    let whats: Vec<_> = refusals.iter().map(|(what, setting, _)| (what.as_str(), setting.as_str())).collect();
    assert!(whats.contains(&("credentials", "allow")) && whats.contains(&("console", "allow")), "{whats:?}");
    assert!(refusals.iter().any(|(_, _, exe)| exe == namesake.to_str().unwrap()), "{refusals:?}");
    assert!(sandbox.cli(&["audit"]).expect_success().contains("allow"));
}

#[test]
fn an_interpreter_is_the_program_and_a_program_upgraded_while_it_runs_is_not_the_one_in_the_list() {
    let (service, sandbox) = machine("");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.shim(&["--profile", "dev"]).json();
    if !kernel_tells(&sandbox) {
        return;
    }
    // As the AWS SDK for Python does it.
    let code = format!("import subprocess, sys; sys.exit(subprocess.call([{SHIM:?}, '--profile', 'dev']))");
    let mut python = Command::new("python3");
    let exe = Finished::of(python.args(["-c", "import os; print(os.readlink('/proc/self/exe'))"])).expect_success();
    let exe = PathBuf::from(exe.trim());
    let by_python = || Finished::of(sandbox.command(&exe).args(["-c", &code]));
    set(&sandbox, &allow(&[&exe]));
    sandbox.cli(&["reload"]).expect_success();
    by_python().json();
    let tool = tool(&sandbox, "tool");
    set(&sandbox, &allow(&[&tool]));
    sandbox.cli(&["reload"]).expect_success();
    assert_eq!(by_python().code, Some(6));
    shim_by(&sandbox, &tool).json();
    // It waits for a word before it asks; meanwhile another file is put in its place.
    let fifo = sandbox.root().join("go");
    Finished::of(sandbox.command("mkfifo").arg(&fifo)).expect_success();
    let script = format!("read -r go < {}; exec {SHIM} --profile dev", fifo.display());
    let mut command = sandbox.command(&tool);
    command.args(["60", "/bin/sh", "-c", &script]).stdout(std::process::Stdio::piped());
    let running = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let next = sandbox.root().join("next");
    Finished::of(sandbox.command("cp").arg("/usr/bin/timeout").arg(&next)).expect_success();
    // Opening it waits until the other end is open, and then it runs.
    let mut go = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    std::fs::rename(&next, &tool).unwrap();
    std::io::Write::write_all(&mut go, b"go\n").unwrap();
    drop(go);
    let replaced = Finished::from(running.wait_with_output().unwrap());
    assert_eq!(replaced.code, Some(6), "{replaced:?}");
    assert!(replaced.stderr.contains("was replaced while it ran"), "{}", replaced.stderr);
    shim_by(&sandbox, &tool).json();
}
