//! What the machine offers: a desktop for notifications, and places to watch files with.

use crate::cli::context::Context;

use super::configuration::Work;
use super::sheet::Sheet;

pub(super) fn look(work: &Work, sheet: &mut Sheet, context: &Context<'_>) {
    notifications(work, sheet, context);
    watches(sheet);
}

fn notifications(work: &Work, sheet: &mut Sheet, context: &Context<'_>) {
    if !work.settings.notifications {
        sheet.skipped("notifications", "config.toml says off");
    } else if cfg!(target_os = "macos") || has_bus(context) {
        sheet.ok("notifications", "there is a desktop to show them");
    } else {
        sheet.skipped(
            "notifications",
            "there is no desktop session; an expired session shows in `sso-agent status` only",
        );
    }
}

fn has_bus(context: &Context<'_>) -> bool {
    let runtime = context.env.get_os("XDG_RUNTIME_DIR").map(std::path::Path::new);
    context.env.get_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || runtime.is_some_and(|directory| directory.join("bus").exists())
}

/// Whether the agent would notice that a file was edited.
#[cfg(target_os = "linux")]
fn watches(sheet: &mut Sheet) {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let tried =
        init(CreateFlags::CLOEXEC).map_err(|error| ("fs.inotify.max_user_instances", error)).and_then(|inotify| {
            add_watch(&inotify, "/", WatchFlags::DELETE_SELF).map_err(|error| ("fs.inotify.max_user_watches", error))
        });
    match tried {
        Ok(_) => sheet.ok("file_watching", "edits of the configuration are noticed"),
        Err((limit, error)) => sheet.warning(
            "file_watching",
            format!("no further watch on files can be had ({error}): edits need `sso-agent reload`"),
            format!("other programs watch too much; raise the limit: sudo sysctl {limit}=524288"),
        ),
    }
}

#[cfg(not(target_os = "linux"))]
fn watches(_: &mut Sheet) {}
