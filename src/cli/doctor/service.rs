//! Who sees to it that an agent runs: the service manager, whoever asks first, or nobody.

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::env::Env;
use crate::paths::{home, shell_word};

use super::Facts;
use super::sheet::Sheet;

pub(super) fn look(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) {
    let places = places(context.env);
    let Some(unit) = places.iter().map(|place| place.join(UNIT)).find(|unit| unit.exists()) else {
        if facts.autostart {
            return sheet.ok("service", "not installed; the first command that needs an agent starts it");
        }
        return sheet.warning(
            "service",
            "not installed, and no agent is started on demand: after a login none runs",
            "sso-agent service install, or allow `autostart`".to_owned(),
        );
    };
    // launchd takes whatever lies there.
    if cfg!(target_os = "macos") || places.iter().any(|place| is_enabled_in(place)) {
        sheet.ok("service", format!("installed and enabled: {}", shell_word(&unit)));
    } else {
        sheet.warning(
            "service",
            format!("{} is installed and not enabled", shell_word(&unit)),
            format!("systemctl --user enable --now {UNIT}"),
        );
    }
}

fn is_enabled_in(place: &Path) -> bool {
    ["sockets.target.wants", "default.target.wants"]
        .iter()
        .any(|wants| place.join(wants).join(UNIT).symlink_metadata().is_ok())
}

/// Where units of a user lie, the user's own first.
fn places(env: &Env) -> Vec<PathBuf> {
    let home = home(env).ok();
    if cfg!(target_os = "macos") {
        return home.into_iter().map(|home| home.join("Library/LaunchAgents")).collect();
    }
    let config = env.get_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| home.map(|home| home.join(".config")));
    let of_user = config.map(|config| config.join("systemd/user"));
    let of_system = ["/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user"];
    of_user.into_iter().chain(of_system.map(PathBuf::from)).collect()
}

const UNIT: &str = if cfg!(target_os = "macos") { "sso-agent.plist" } else { "sso-agent.socket" };
