//! The button on a notification of the agent's: the page it opens.
//!
//! Refuses to know what for. Invariant: only the user's press gets here, and what opens the page is what opens pages for
//! people at the command line.

use crate::desktop::Button;
use crate::env::Env;
use crate::panics;

use super::browser::{Browser, SystemBrowser};
use super::surroundings::{Machine, Surroundings};

/// Shows the page, and does not wait for it.
pub(crate) fn pressed(button: &Button, env: &Env) {
    let surroundings = Surroundings::of(env, Machine::look());
    match (SystemBrowser { env, surroundings }).open(&button.link, button.browser.as_deref()) {
        // Somebody has to hear that it has ended, however long the browser runs.
        Ok(opening) => panics::spawn_expendable(move || {
            if let Some(failure) = opening.wait() {
                tracing::warn!("the page was not opened: {failure}");
            }
        }),
        Err(error) => tracing::warn!("the page was not opened: {error}"),
    }
}
