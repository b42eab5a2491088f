//! The store that keeps nothing (`storage.key = "none"`).
//!
//! Invariant: nothing is written anywhere. It does not remember either: the engine holds every record while it runs,
//! and a second copy of the secrets would serve nobody.

use super::{Loaded, Protection, Record, RecordKind, Store, StoreError};
use crate::ids::SessionName;

/// Takes everything, keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn protection(&self) -> Protection {
        Protection { key: "none", awaited: None }
    }

    fn load(&mut self) -> Loaded {
        Loaded::default()
    }

    fn save(&mut self, _: &Record) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete(&mut self, _: &SessionName, _: RecordKind) -> Result<(), StoreError> {
        Ok(())
    }
}
