//! Who sees to it that an agent runs: the service manager, whoever asks first, or nobody.

use crate::cli::context::Context;
use crate::cli::service::{Found, Verdict};
use crate::paths::shell_word;

use super::Facts;
use super::sheet::Sheet;

pub(super) fn look(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) {
    let named = facts.socket.is_explicit().then(|| facts.socket.path());
    let verdict = match Found::look(context.env, named) {
        Ok(found) => found.verdict(),
        Err(failure) => return sheet.skipped(SERVICE, format!("it cannot be looked at: {failure}")),
    };
    match verdict {
        Verdict::Missing if facts.autostart => {
            sheet.ok(SERVICE, "not installed; the first command that needs an agent starts it");
        }
        Verdict::Missing => sheet.warning(
            SERVICE,
            "not installed, and no agent is started on demand: after a login none runs",
            "sso-agent service install, or allow `autostart`".to_owned(),
        ),
        Verdict::Stale(path) => sheet.warning(
            SERVICE,
            format!("{} is not there, or of another version, program or place than this one", shell_word(&path)),
            INSTALL.to_owned(),
        ),
        Verdict::NoManager(what) => sheet.warning(
            SERVICE,
            format!("installed, and the service manager cannot be asked from here: {what}"),
            "log in at the machine itself, or: export XDG_RUNTIME_DIR=/run/user/$(id -u)".to_owned(),
        ),
        Verdict::NotEnabled => {
            sheet.warning(
                SERVICE,
                "installed and not enabled: after the next login nobody listens",
                INSTALL.to_owned(),
            );
        }
        Verdict::NotListening => {
            sheet.warning(SERVICE, "installed, and nobody listens for callers", INSTALL.to_owned());
        }
        Verdict::Good(path) => sheet.ok(SERVICE, format!("installed, enabled and listening: {}", shell_word(&path))),
    }
}

const SERVICE: &str = "service";
const INSTALL: &str = "sso-agent service install";
