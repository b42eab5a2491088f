//! Which programs are there: this command, the shim beside it, and what the shell finds.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::cli::context::Context;
use crate::exit::Exit;
use crate::paths::shell_word;

use super::Facts;
use super::sheet::Sheet;

pub(super) fn look(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) {
    let ours = std::env::current_exe().ok();
    let beside = ours.as_deref().and_then(Path::parent);
    command(ours.as_deref(), sheet);
    let path = context.env.get_os("PATH");
    if let Some(directory) = beside {
        shim_beside(&directory.join(SHIM), sheet);
        on_path("command_on_path", PROGRAM, ours.as_deref(), path, sheet);
        on_path("shim_on_path", SHIM, Some(&directory.join(SHIM)), path, sheet);
    }
    agent_version(facts, sheet);
}

fn command(ours: Option<&Path>, sheet: &mut Sheet) {
    match ours {
        Some(path) => sheet.ok("command", format!("{PROGRAM} {VERSION}, {}", shell_word(path))),
        None => sheet.warning("command", format!("{PROGRAM} {VERSION}, whose file is not known"), None),
    }
}

fn shim_beside(shim: &Path, sheet: &mut Sheet) {
    match version_of(shim) {
        Ok(version) if version == VERSION => sheet.ok("shim", format!("{SHIM} {VERSION}, {}", shell_word(shim))),
        Ok(version) => sheet.warning(
            "shim",
            format!("{} is version {version}, this command is {VERSION}", shell_word(shim)),
            "install both from one package".to_owned(),
        ),
        Err(cause) => sheet.error(
            "shim",
            Exit::Configuration,
            format!("{} cannot be run: {cause}", shell_word(shim)),
            "install it beside sso-agent; it is what credential_process runs".to_owned(),
        ),
    }
}

fn on_path(check: &'static str, name: &str, ours: Option<&Path>, path: Option<&OsStr>, sheet: &mut Sheet) {
    let Some(found) = path.and_then(|path| find(name, path)) else {
        let remedy = ours.and_then(Path::parent).map(|directory| {
            format!("add {} to PATH, or write whole paths (credential_process needs one anyway)", shell_word(directory))
        });
        return sheet.warning(check, format!("PATH leads to no {name}"), remedy);
    };
    let same = |one: &Path, other: &Path| {
        let id = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        id(one).is_some() && id(one) == id(other)
    };
    if ours.is_some_and(|ours| same(ours, &found)) {
        return sheet.ok(check, shell_word(&found));
    }
    match version_of(&found) {
        Ok(version) if version == VERSION => {
            sheet.ok(check, format!("{}, another file of the same version", shell_word(&found)));
        }
        Ok(version) => sheet.warning(
            check,
            format!("{} is another one, version {version}; this command is {VERSION}", shell_word(&found)),
            format!("remove one of them, or put the directory of the newer one first in PATH: {}", shell_word(&found)),
        ),
        Err(cause) => sheet.warning(
            check,
            format!("{} is another one, which cannot be run: {cause}", shell_word(&found)),
            format!("remove it: {}", shell_word(&found)),
        ),
    }
}

fn agent_version(facts: &Facts, sheet: &mut Sheet) {
    let Ok(agent) = &facts.agent else {
        return sheet.skipped("agent_version", "there is no agent to ask");
    };
    let version = agent.version.as_deref().unwrap_or(&agent.status.version);
    if version == VERSION {
        sheet.ok("agent_version", format!("{version}, the same as this command's"));
    } else {
        sheet.warning(
            "agent_version",
            format!("the agent that runs is {version}, this command is {VERSION}"),
            "sso-agent restart".to_owned(),
        );
    }
}

fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    let candidates = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    candidates.map(|directory| directory.join(name)).find(|file| super::places::is_program(file))
}

/// What a program of ours says it is: `NAME VERSION`.
fn version_of(program: &Path) -> Result<String, String> {
    if !super::places::is_program(program) {
        return Err(if program.exists() { "it is no program" } else { "it is not there" }.to_owned());
    }
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).env_clear();
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (tell, told) = channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MOST_BYTES).read_to_end(&mut text));
        let _ = tell.send(read.map(|_| text));
    });
    let text = told.recv_timeout(PATIENCE).ok().flatten().unwrap_or_default();
    // What has said its version has nothing left to do, and what has not will not.
    let _ = child.kill();
    let _ = child.wait();
    let text = String::from_utf8_lossy(&text);
    let version = text.split_whitespace().nth(1).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    version.map(str::to_owned).ok_or_else(|| "it does not say its version".to_owned())
}

const PROGRAM: &str = "sso-agent";
const SHIM: &str = "sso-credential-process";
/// Of a program that was asked for its version.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_BYTES: u64 = 256;
const VERSION: &str = env!("CARGO_PKG_VERSION");
