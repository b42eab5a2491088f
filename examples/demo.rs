//! The whole of sso-agent in a minute, without an AWS account: `cargo run --release --example demo`.
//!
//! A fake IAM Identity Center on loopback, a temporary home, and for the rest the real thing: the agent, its command
//! line, the shim. With `--once` it ends after the tour. Everything it made is gone when it ends, however it ends.

#[path = "demo/build.rs"]
mod build;
#[path = "../tests/support/fake/mod.rs"]
mod fake;
#[path = "demo/stage.rs"]
mod stage;
#[path = "demo/tour.rs"]
mod tour;
#[path = "demo/voice.rs"]
mod voice;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use stage::Stage;

fn main() -> ExitCode {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [only] if only == "--once" => true,
        _ => {
            eprintln!("usage: cargo run --release --example demo [-- --once]");
            return ExitCode::from(2);
        }
    };
    let (end, ended) = channel();
    let stage = match Stage::set().and_then(|stage| watch_for_signals(end.clone()).map(|()| Arc::new(stage))) {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("the demo cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    clear_up_after_a_panic(&stage);
    let place = Arc::clone(&stage);
    std::thread::spawn(move || {
        let result = tour::give(&place, once, || drop(end.send(End::Given)));
        drop(end.send(result.map_or_else(End::Failed, |()| End::Over)));
    });
    // The tour runs on its own thread and is left behind when a signal comes first.
    let mut given = false;
    let code = loop {
        match ended.recv() {
            Ok(End::Given) => given = true,
            Ok(End::Over) => break ExitCode::SUCCESS,
            // Ctrl-C is how a demo that stays up is meant to end.
            Ok(End::Signal) if given => break ExitCode::SUCCESS,
            Ok(End::Signal) => break ExitCode::from(130),
            Ok(End::Failed(error)) => {
                eprintln!("\nthe demo failed: {error}");
                eprint!("{}", stage.last_words_of_the_agent());
                break ExitCode::FAILURE;
            }
            Err(_) => break ExitCode::FAILURE,
        }
    };
    stage.clear();
    if given {
        voice::farewell();
    }
    code
}

enum End {
    /// The tour was given; the demo stays up.
    Given,
    /// Everything was shown.
    Over,
    Failed(tour::Failed),
    Signal,
}

fn watch_for_signals(end: Sender<End>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if end.send(End::Signal).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The release profile aborts on a panic, and nothing is dropped then.
fn clear_up_after_a_panic(stage: &Arc<Stage>) {
    let usual = std::panic::take_hook();
    let stage = Arc::clone(stage);
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        stage.clear();
    }));
}
