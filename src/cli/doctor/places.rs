//! Where the agent listens and keeps things, and whether it is there.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use crate::cli::context::Context;
use crate::cli::words;
use crate::client::{Absence, ClientError};
use crate::exit::Exit;
use crate::holder::read_holder;
use crate::paths::{check_private_directory, our_uid, shell_word};

use super::sheet::Sheet;
use super::{Agent, Facts};

pub(super) fn look(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) {
    directory("socket_directory", facts.socket.directory(), sheet);
    socket(facts.socket.path(), sheet);
    directory("state_directory", &facts.state_dir, sheet);
    lock(facts, sheet);
    agent(facts, sheet, context);
    log(&facts.state_dir, sheet);
    super::service::look(facts, sheet, context);
}

/// Whether it is a file that we may run.
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

fn directory(check: &'static str, path: &Path, sheet: &mut Sheet) {
    match check_private_directory(path) {
        Ok(()) => sheet.ok(check, format!("{} is yours alone", shell_word(path))),
        Err(error) if error.is_missing() => {
            sheet.skipped(check, format!("{} is not there; the agent makes it when it starts", shell_word(path)));
        }
        Err(error) => {
            let (text, hint) = (error.to_string(), error.hint());
            let detail = hint.as_ref().and_then(|hint| text.strip_suffix(&format!("; {hint}"))).unwrap_or(&text);
            sheet.error(check, Exit::NoAgent, detail, hint.clone());
        }
    }
}

fn socket(path: &Path, sheet: &mut Sheet) {
    let remove = || Some(format!("look what it is, and move it away: mv {0} {0}.old", shell_word(path)));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            sheet.skipped("socket", format!("{} is not there", shell_word(path)));
        }
        Err(error) => {
            sheet.error("socket", Exit::NoAgent, format!("{} cannot be looked at: {error}", shell_word(path)), None);
        }
        Ok(found) if !found.file_type().is_socket() => {
            sheet.error("socket", Exit::NoAgent, format!("{} is not a socket", shell_word(path)), remove());
        }
        Ok(found) if found.uid() != our_uid() => {
            let detail = format!("{} belongs to user {}", shell_word(path), found.uid());
            sheet.error("socket", Exit::NoAgent, detail, remove());
        }
        Ok(found) if found.mode() & 0o077 != 0 => sheet.warning(
            "socket",
            format!("{} has mode {:04o}; only its directory keeps others out", shell_word(path), found.mode() & 0o7777),
            format!("chmod 600 {}", shell_word(path)),
        ),
        Ok(_) => sheet.ok("socket", shell_word(path)),
    }
}

fn lock(facts: &Facts, sheet: &mut Sheet) {
    match read_holder(&facts.state_dir) {
        Err(error) => sheet.error("lock", Exit::NoAgent, error.to_string(), None),
        Ok(None) => sheet.skipped("lock", "no agent has used this state directory yet"),
        Ok(Some(holder)) if !holder.lives() => {
            sheet.ok("lock", format!("free; the last to hold it was process {} on {}", holder.pid, holder.host));
        }
        Ok(Some(holder)) if holder.socket != facts.socket.path() => sheet.warning(
            "lock",
            format!(
                "held by process {}, which listens at {} and not at {}",
                holder.pid,
                shell_word(&holder.socket),
                shell_word(facts.socket.path())
            ),
            format!(
                "this shell has another XDG_RUNTIME_DIR or SSO_AGENT_SOCK than the agent; set \
                 SSO_AGENT_SOCK={} or leave it as it is: commands find it",
                shell_word(&holder.socket)
            ),
        ),
        Ok(Some(holder)) => sheet.ok("lock", format!("held by process {}", holder.pid)),
    }
}

fn agent(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) {
    match &facts.agent {
        Ok(Agent { status, .. }) => {
            let since = words::clock_time(status.started_at, context.now().wall, &context.zone);
            if status.locked {
                let detail = format!("process {}, since {since}, is locked", status.pid);
                return sheet.error("agent", Exit::Locked, detail, "sso-agent unlock".to_owned());
            }
            sheet.ok("agent", format!("answers; process {}, since {since}", status.pid));
        }
        Err(ClientError::NoAgent { absence, .. }) => {
            let what = match absence {
                Absence::NoSocket => "no agent runs",
                Absence::Refused => "no agent runs, and one that died has left its socket",
            };
            if facts.autostart {
                let detail = format!("{what}; the first command that needs one starts it");
                sheet.warning("agent", detail, "sso-agent start".to_owned());
            } else {
                let detail = format!("{what}, and none is started on demand");
                sheet.error("agent", Exit::NoAgent, detail, "sso-agent start".to_owned());
            }
        }
        Err(error) => sheet.error("agent", error.exit(), error.to_string(), None),
    }
}

/// Where to read what the agent has to say.
fn log(state_dir: &Path, sheet: &mut Sheet) {
    let log = state_dir.join("agent.log");
    if log.exists() {
        sheet.ok("log", shell_word(&log));
    } else {
        sheet.skipped("log", format!("there is no {}; a service's log: {SERVICE_LOG}", shell_word(&log)));
    }
}

const SERVICE_LOG: &str =
    if cfg!(target_os = "macos") { "where its plist says" } else { "journalctl --user -u sso-agent" };
