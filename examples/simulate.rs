//! Simulated years of the engine: `cargo run --release --example simulate -- --years N --seed S`.
//!
//! Each year is a user of its own with a seed of its own, made from the one that is given (or drawn, and printed). Ends with
//! a summary, or with the first rule that was broken and what happened before.

#[path = "../tests/support/simulation/mod.rs"]
mod simulation;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use simulation::{Report, simulate};

fn main() -> ExitCode {
    let Some((years, seed, days)) = arguments() else {
        eprintln!("usage: cargo run --release --example simulate -- [--years N] [--seed S] [--days D]");
        return ExitCode::from(2);
    };
    println!("seed {seed}: {years} users of {days} days each");
    let next = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let total = Mutex::new(Report::default());
    let broken = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    let year = next.fetch_add(1, Ordering::Relaxed);
                    if year >= years {
                        return;
                    }
                    match simulate(seed.wrapping_add(year), days) {
                        Ok(report) => total.lock().expect("no panic held it").add(&report),
                        Err(violation) => {
                            stopped.store(true, Ordering::Relaxed);
                            *broken.lock().expect("no panic held it") = Some(violation);
                        }
                    }
                }
            });
        }
    });
    print!("{}", total.into_inner().expect("no panic held it"));
    match broken.into_inner().expect("no panic held it") {
        None => {
            println!("violations    0");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("violations    1\n{violation:#}\nagain: --years 1 --seed {} --days {days}", violation.seed);
            ExitCode::FAILURE
        }
    }
}

/// Years, seed, days of a year.
fn arguments() -> Option<(u64, u64, u64)> {
    let fresh = std::time::SystemTime::UNIX_EPOCH.elapsed().ok()?.subsec_nanos();
    let (mut years, mut seed, mut days) = (10, u64::from(fresh), 365);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--years" => years = value,
            "--seed" => seed = value,
            "--days" => days = value,
            _ => return None,
        }
    }
    Some((years, seed, days))
}
