//! How secrets are kept, and whether there is room to keep them.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use crate::cli::context::Context;
use crate::cli::storage::in_short;
use crate::exit::Exit;
use crate::paths::shell_word;
use crate::settings::AuditMode;

use super::Facts;
use super::configuration::Work;
use super::sheet::Sheet;

pub(super) fn look(facts: &Facts, work: &Work, sheet: &mut Sheet, _context: &Context<'_>) {
    key(facts, work, sheet);
    published(facts, sheet);
    audit(facts, work, sheet);
    space(&facts.state_dir, sheet);
}

fn key(facts: &Facts, work: &Work, sheet: &mut Sheet) {
    let Some(status) = facts.status() else {
        let kind = work.settings.storage.key.as_str();
        return sheet.skipped("key", format!("there is no agent to ask; config.toml says {kind}"));
    };
    let storage = &status.storage;
    let place = in_short(storage);
    if !storage.available && storage.key != "none" {
        let message = storage.message.as_deref().unwrap_or("it is not there");
        return sheet.error("key", Exit::Storage, format!("{place}: {message}"), storage.hint.clone());
    }
    match storage.key.as_str() {
        "file" => sheet.warning(
            "key",
            format!("{place}: whoever reads your files, or a backup of them, reads the sign-ins"),
            "where there is a keyring: sso-agent storage migrate --to keyring".to_owned(),
        ),
        "none" => sheet.warning("key", place, "every start of the agent needs a new sign-in".to_owned()),
        _ => sheet.ok("key", place),
    }
    if storage.saved {
        sheet.ok("saved", "everything that should be on disk is");
    } else {
        sheet.error(
            "saved",
            Exit::Storage,
            "not everything is on disk: an agent that starts anew does not know it",
            "look below at the disk, and at: sso-agent status".to_owned(),
        );
    }
}

/// What other programs, and whoever reads this user's files, find in plain text.
fn published(facts: &Facts, sheet: &mut Sheet) {
    for session in facts.status().into_iter().flat_map(|status| &status.sessions) {
        let Some(publish) = &session.publish else { continue };
        let path = publish.path.as_deref().unwrap_or("~/.aws/sso/cache");
        if let Some(error) = &publish.error {
            sheet.warning("published", format!("{}: {error}", session.session), None);
        }
        let what = match publish.mode.as_str() {
            "full" => "the access token and the refresh token lie",
            "token" => "the access token lies",
            _ => continue,
        };
        sheet.warning(
            "published",
            format!("{}: {what} as plain text in {path}, because `publish` says so", session.session),
            "if no other tool needs it, take `publish` out of config.toml".to_owned(),
        );
    }
}

fn audit(facts: &Facts, work: &Work, sheet: &mut Sheet) {
    if work.settings.audit == AuditMode::Off {
        return sheet.skipped("audit_log", "config.toml says off");
    }
    let log = facts.state_dir.join("audit.log");
    let path = if log.exists() { &log } else { &facts.state_dir };
    if !path.exists() {
        return sheet.skipped("audit_log", "nothing has been handed out yet");
    }
    let failed = facts.status().and_then(|status| status.audit.as_ref()).map_or(0, |audit| audit.failed);
    let refuses = work.settings.audit == AuditMode::Required;
    match rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) if failed == 0 => sheet.ok("audit_log", shell_word(&log)),
        Ok(()) => sheet.warning(
            "audit_log",
            format!("{} lines could not be written since the agent started", failed),
            "look below at the disk".to_owned(),
        ),
        Err(error) => {
            let detail = format!("{} cannot be written: {error}", shell_word(path));
            let remedy = format!("chmod u+w {}", shell_word(path));
            if refuses {
                sheet.error("audit_log", Exit::Storage, detail + ", so that nothing is handed out", remedy);
            } else {
                sheet.warning("audit_log", detail, remedy);
            }
        }
    }
}

fn space(state_dir: &Path, sheet: &mut Sheet) {
    let place = state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(disk) = rustix::fs::statvfs(place) else {
        return sheet.skipped("disk_space", format!("{} does not say", shell_word(place)));
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) / MIB;
    let detail = format!("{} MiB free at {}", free, shell_word(place));
    // Some file systems count no files at all.
    let no_files = disk.f_files > 0 && disk.f_favail == 0;
    if free < NONE || no_files {
        let detail = if no_files { format!("no file can be made at {}", shell_word(place)) } else { detail };
        sheet.error("disk_space", Exit::Storage, detail, "make room: refreshed tokens cannot be saved".to_owned());
    } else if free < LITTLE {
        sheet.warning("disk_space", detail, "make room before it is full".to_owned());
    } else {
        sheet.ok("disk_space", detail);
    }
}

const MIB: u64 = 1024 * 1024;
const NONE: u64 = 1;
const LITTLE: u64 = 64;
