//! Resident memory after the load of the warm requests: an agent that holds ten sessions and two hundred sets of role
//! credentials, and a server that holds one answer.

use super::bare::Bare;
use super::process::resident;
use super::report::{Budget, Report};
use super::scene::Scene;

/// After the same load.
pub(crate) fn measure(scene: &Scene<'_>, bare: &Bare, report: &mut Report) {
    let (ours, theirs) = (resident(scene.agent.pid()), resident(bare.pid()));
    report.line("memory, 10 sessions, 200 warm targets", "kB", ours, Some(theirs), Budget::RatioAtMost(2.0));
}
