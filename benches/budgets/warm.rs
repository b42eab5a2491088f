//! Requests a second for a warm target over kept connections, the whole way through server and engine.

use super::bare::Bare;
use super::load::{ROUND, rate};
use super::process::cpu_time;
use super::report::{Budget, Report, median};
use super::scene::{Scene, WARM};

/// One, a few and many connections; without the audit log and with it.
pub(crate) fn measure(scene: &Scene<'_>, bare: &Bare, report: &mut Report) {
    for (audit, suffix, budget) in [("off", "", 0.8), ("best-effort", ", audited", 0.6)] {
        scene.set_audit(audit);
        for connections in [1, 16, 256] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            // In turn, so that whatever else the machine does hits both alike.
            for _ in 0..ROUNDS {
                theirs.push(Measured::of(&bare.socket, bare.pid(), connections));
                ours.push(Measured::of(&scene.socket(), scene.agent.pid(), connections));
            }
            let rate = |values: &[Measured]| median(values.iter().map(|value| value.rate).collect());
            let cpu = |values: &[Measured]| median(values.iter().map(|value| value.cpu).collect());
            let plural = if connections == 1 { "" } else { "s" };
            let name = format!("warm credentials, {connections} connection{plural}{suffix}");
            report.line(&name, "/s", rate(&ours), Some(rate(&theirs)), Budget::RatioAtLeast(budget));
            report.line("  CPU time of the server for each", "us", cpu(&ours), Some(cpu(&theirs)), Budget::None);
        }
    }
}

struct Measured {
    /// Requests a second.
    rate: f64,
    /// Microseconds for each.
    cpu: f64,
}

impl Measured {
    fn of(socket: &str, pid: u32, connections: usize) -> Self {
        let before = cpu_time(pid);
        let rate = rate(socket, WARM, connections);
        let used = cpu_time(pid).saturating_sub(before);
        Self { rate, cpu: used.as_secs_f64() * 1e6 / (rate * ROUND.as_secs_f64()) }
    }
}

const ROUNDS: usize = 5;
