//! How often somebody has come with a wrong token: who tries them out is told to wait.
//!
//! Invariant: a right token is let in whatever others have tried.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

/// The wrong ones of the last minute.
#[derive(Debug, Default)]
pub(super) struct Guesses(VecDeque<Mono>);

impl Guesses {
    /// Notes one. Whether there have been too many for an answer that says that it was wrong.
    pub(super) fn note(&mut self, now: Mono) -> bool {
        while self.0.front().is_some_and(|first| now.since(*first) >= MINUTE) {
            self.0.pop_front();
        }
        if self.0.len() >= MOST {
            return true;
        }
        self.0.push_back(now);
        false
    }
}

/// A minute.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Wrong tokens in a minute.
pub(super) const MOST: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_a_minute_are_told_that_they_are_wrong() {
        let at = |seconds| Mono::from_start(Duration::from_secs(seconds));
        let mut guesses = Guesses::default();
        for second in 0..20 {
            assert!(!guesses.note(at(second)), "{second}");
        }
        assert!(guesses.note(at(20)) && guesses.note(at(59)));
        assert!(!guesses.note(at(60)), "the first was a minute ago");
        assert!(guesses.note(at(60)), "and only the first");
    }
}
