//! Finding the agent and the shim. Cargo does not build programs for an example, so the example asks it to.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sso_agent::env::Env;

use super::stage::Stage;

/// The programs of this package.
pub(crate) struct Programs {
    /// `sso-agent`.
    pub(crate) agent: PathBuf,
    /// `sso-credential-process`.
    pub(crate) shim: PathBuf,
}

impl Programs {
    /// Where they lie.
    pub(crate) fn directory(&self) -> &Path {
        self.agent.parent().unwrap_or(Path::new("/"))
    }
}

/// Has Cargo build the programs as it built this example, with its progress on standard error, and asks it where it
/// put them. A demo that was not started by Cargo takes what lies beside it.
pub(crate) fn programs(env: &Env, stage: &Stage) -> io::Result<Programs> {
    let example = std::env::current_exe()?;
    // target[/TRIPLE]/PROFILE/examples/demo
    let place = example.ancestors().nth(2).ok_or_else(|| io::Error::other("this program has no directory"))?;
    let beside = Programs { agent: place.join(AGENT), shim: place.join(SHIM) };
    let Some(cargo) = env.get_os("CARGO") else {
        if beside.agent.exists() && beside.shim.exists() {
            return Ok(beside);
        }
        return Err(io::Error::other("start it with: cargo run --release --example demo"));
    };
    let mut build = Command::new(cargo);
    // With the example, which is there already: so the programs share its dependencies, and little is built twice.
    build.args([
        "build",
        "--bins",
        "--example",
        "demo",
        "--message-format=json-render-diagnostics",
        "--manifest-path",
        MANIFEST,
    ]);
    match place.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => {}
        Some("release") => drop(build.arg("--release")),
        Some(profile) => drop(build.args(["--profile", profile])),
    }
    if let Some(above) = place.parent() {
        if above.join("CACHEDIR.TAG").exists() {
            build.arg("--target-dir").arg(above);
        } else if let (Some(triple), Some(target)) = (above.file_name(), above.parent()) {
            build.arg("--target").arg(triple).arg("--target-dir").arg(target);
        }
    }
    let mut started = stage.start(build.stdout(Stdio::piped()))?;
    let messages = started.stdout.take().map(io::read_to_string).transpose()?.unwrap_or_default();
    if !stage.reap(&started)?.success() {
        return Err(io::Error::other("cargo could not build the programs"));
    }
    let built = |name: &str| {
        let mut executables = messages.lines().filter_map(|line| executable(line, name));
        executables.next_back().ok_or_else(|| io::Error::other(format!("cargo did not say where {name} is")))
    };
    Ok(Programs { agent: built(AGENT)?, shim: built(SHIM)? })
}

fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
}

const AGENT: &str = "sso-agent";
const SHIM: &str = "sso-credential-process";
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
