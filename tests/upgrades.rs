//! A newer agent takes over from an older one: from its state, from its place, and from its callers.

mod restart;
mod state;
