//! Attack by attack, over real connections.
