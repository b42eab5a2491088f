//! Stands in for the core's words until it is merged.

use super::{KeyBytes, KeyId};

pub(super) use super::Answer;

pub(super) trait KeySource: Send {
    fn kind(&self) -> KeyPlace;
    fn read(&mut self, id: &KeyId) -> Result<Answer, KeyError>;
    fn create(&mut self, id: &KeyId, key: &KeyBytes) -> Result<(), KeyError>;
    fn remove(&mut self, id: &KeyId) -> Result<(), KeyError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPlace {
    Keyring,
}

#[derive(Debug)]
pub(super) enum KeyError {
    Place { kind: KeyPlace, source: Box<dyn std::error::Error + Send + Sync> },
}
