//! What both halves of the crash matrix stand on: dice, the disk between two lives, and a view of it while one lasts.

pub(super) mod disk;
pub(super) mod files;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use sso_agent::schedule::Dice;

/// Set this to what a failed run has printed, and it throws the same dice again; when the processes get to run is the
/// machine's affair.
const SEED: Option<u64> = None;

/// The seed of this run.
pub(super) fn seed() -> u64 {
    SEED.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
        u64::from_ne_bytes(bytes)
    })
}

/// One of these.
pub(super) fn one_of<T: Copy>(dice: &mut Dice, all: &[T]) -> T {
    let most = u64::try_from(all.len() - 1).expect("there are few");
    let which = dice.up_to(Duration::from_micros(most)).as_micros();
    all[usize::try_from(which).expect("there are few")]
}

/// How often what was seen.
#[derive(Debug, Clone)]
pub(super) struct Tally<K>(BTreeMap<K, usize>);

impl<K: Ord + Copy + Debug> Tally<K> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn count(&mut self, what: K) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn of(&self, what: K) -> usize {
        self.0.get(&what).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(*what).or_default() += count;
        }
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn lines(&self) -> String {
        self.0.iter().map(|(what, count)| format!("{count:6}  {what:?}\n")).collect()
    }
}

/// Says something although the test will succeed: the harness keeps back what is printed the usual way.
pub(super) fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // If nobody can read it, nobody misses it.
    let _ = stderr.write_all(text.as_bytes());
}
