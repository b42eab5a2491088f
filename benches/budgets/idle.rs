//! How often an idle agent is woken between refreshes.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::process::wake_ups;
use super::report::{Budget, Report};
use super::scene::Scene;

/// A minute in which nobody asks anything.
pub(crate) fn measure(scene: &Scene<'_>, report: &mut Report) {
    // What the last callers have left to do is done by then.
    pass(Duration::from_secs(10));
    let before = wake_ups(scene.agent.pid());
    pass(Duration::from_secs(60));
    let woken = wake_ups(scene.agent.pid()) - before;
    report.line("wake-ups in an idle minute, 10 sessions", "", woken, None, Budget::Exactly(0.0));
}

fn pass(time: Duration) {
    let (_open, never) = channel::<()>();
    let _ = never.recv_timeout(time);
}
