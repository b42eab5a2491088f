//! Every budget of the design, measured beside its reference in the same run: `cargo bench`, or `cargo bench -- warm`
//! for one of them. Ends with exit code 1 when a budget is missed.
//!
//! One signed-in agent, the real program against the fake Identity Center, serves all measurements but those of the
//! start. Server and callers are processes of their own.

#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the benchmarks use a part of what the tests stand on")]
mod support;

mod bare;
mod idle;
mod load;
mod memory;
mod neighbours;
mod process;
mod report;
mod scene;
mod shim;
mod stampede;
mod start;
mod warm;

use std::path::Path;
use std::process::ExitCode;

use report::Report;
use scene::Scene;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // This program again, as the reference or as a caller.
        ["serve-bare", socket, body] => bare::serve(Path::new(socket), Path::new(body)),
        ["load", socket, path, connections] => load::run(socket, path, connections.parse().expect("a number")),
        // Without it, `cargo test --all-targets` would measure.
        words if words.contains(&"--bench") => return measure(words),
        _ => {}
    }
    ExitCode::SUCCESS
}

fn measure(words: &[&str]) -> ExitCode {
    let named: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.contains(&name);
    let mut report = Report::default();
    if ["shim", "neighbours", "stampede", "warm", "memory", "idle"].into_iter().any(wanted) {
        Scene::with(|scene| {
            if wanted("shim") {
                shim::measure(scene, &mut report);
            }
            if wanted("neighbours") {
                neighbours::measure(scene, &mut report);
            }
            if wanted("stampede") {
                stampede::measure(scene, &mut report);
            }
            // The memory after the load is what the load left behind.
            if wanted("warm") || wanted("memory") {
                let bare = bare::Bare::start(scene);
                warm::measure(scene, &bare, &mut report);
                memory::measure(scene, &bare, &mut report);
            }
            if wanted("idle") {
                idle::measure(scene, &mut report);
            }
        });
    }
    if wanted("start") {
        start::measure(&mut report);
    }
    report.verdict()
}
