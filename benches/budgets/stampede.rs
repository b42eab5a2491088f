//! Many processes at once want the same role, which nobody has asked for yet.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::report::{Budget, Report};
use super::scene::{COLD, Scene};
use super::support::fake::Operation;
use super::support::sandbox::SHIM;

/// All of them succeed, with one call to the service.
pub(crate) fn measure(scene: &Scene<'_>, report: &mut Report) {
    scene.service.set_latency(Operation::GetRoleCredentials, Duration::from_millis(200));
    let before = scene.service.count(Operation::GetRoleCredentials);
    let start = |_| {
        let mut shim = scene.sandbox.command(SHIM);
        shim.args(COLD).stdout(Stdio::null()).spawn().expect("the shim can be started")
    };
    let shims: Vec<Child> = (0..50).map(start).collect();
    for mut shim in shims {
        assert!(shim.wait().expect("the shim can be reaped").success());
    }
    let calls = scene.service.count(Operation::GetRoleCredentials) - before;
    scene.service.set_latency(Operation::GetRoleCredentials, Duration::ZERO);
    report.line("calls for 50 processes and a cold target", "", calls as f64, None, Budget::Exactly(1.0));
}
