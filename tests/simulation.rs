//! Years of a user's life with the engine, in virtual time: no rule is broken, whatever happens.
//!
//! What happens and what the rules are: `support/simulation`. A longer run: `cargo run --release --example simulate`.

use std::hash::{BuildHasher, RandomState};

use crate::support::simulation::{Report, simulate};

const YEAR: u64 = 365;

/// All of them, on two threads.
fn simulated(seeds: &[u64], days: u64) -> Report {
    let mut total = Report::default();
    std::thread::scope(|scope| {
        let (first, second) = seeds.split_at(seeds.len() / 2);
        let halves = [first, second].map(|half| {
            scope.spawn(move || half.iter().map(|seed| simulate(*seed, days)).collect::<Result<Vec<_>, _>>())
        });
        for half in halves {
            match half.join().unwrap() {
                Ok(reports) => reports.iter().for_each(|report| total.add(report)),
                Err(violation) => panic!("{violation}"),
            }
        }
    });
    total
}

#[test]
fn ten_years_of_faults_crashes_and_clocks_that_are_set_break_no_rule() {
    let fresh = RandomState::new().hash_one(0);
    println!("the fresh seed is {fresh}");
    let report = simulated(&[1, 2, 3, 4, 5, 6, 7, 8, 9, fresh], YEAR);
    println!("{report}");
    assert_eq!(report.days, 10 * YEAR);
    assert!(report.calls["CreateToken (refresh token)"] > 10_000, "{report}");
    // The sessions that were lost were lost in every way in which one may be.
    for cause in [
        "the session had its time",
        "the user signed out",
        "an administrator ended it",
        "the client registration was over",
        "the answer to a refresh was lost",
        "the agent was killed before the answer to a refresh came",
        "the agent was killed before the answer to a refresh was saved",
    ] {
        assert!(report.sign_ins.contains_key(cause), "{cause}\n{report}");
    }
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    let story = |seed| simulate(seed, 20).map(|report| (report.events, report.digest)).unwrap_or_default();
    assert_ne!(story(7), (0, 0));
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}
