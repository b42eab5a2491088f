//! How many are connected, for whoever wants to close when nobody is.
//!
//! Invariant: counted in the same breath as a connection is accepted, so that on the thread of the server nobody sees a
//! number that is too low.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of connections; its clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Guests(Arc<AtomicUsize>);

impl Guests {
    /// Whether nobody is connected.
    #[must_use]
    pub fn are_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    pub(super) fn count(&self, number: usize) {
        self.0.store(number, Ordering::Relaxed);
    }
}
