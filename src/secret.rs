//! Values that must never be seen by accident.
//!
//! Owns: redaction and wiping. Refuses to know what the secret is for. Invariant: a [`Secret`] has no
//! `Display`, its `Debug` says nothing, its memory is zeroed when dropped, and its text leaves it only
//! through [`Secret::expose`], whose callers are counted by a test.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::zeroize_bytes;

/// A text that is never printed or logged and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes ownership of the text; no copy stays behind.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Every call is a place where a secret leaves its wrapper: keep them few.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to protect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A secret is serialised only by types whose encoding is itself protected or asked for: sealed
/// records, requests to the service, and the answers of the socket API.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

/// Bytes that hold secrets among other things, such as a request or response body; wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes ownership of the bytes; no copy stays behind.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// For handing the bytes to a library that wants to own a buffer; wiped when that library drops it.
impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretBytes(*** {} bytes)", self.0.len())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0).into_bytes());
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0));
    }
}

/// Wipes a buffer to the end of its capacity, all at once: byte by byte it is a fifth of a warm request's cost.
pub(crate) fn wipe(mut bytes: Vec<u8>) {
    let capacity = bytes.capacity();
    bytes.resize(capacity, 0);
    zeroize_bytes(&mut bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_be_formatted() {
        let secret = Secret::new("s3cr3t".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        let bytes = SecretBytes::new(b"s3cr3t".to_vec());
        assert_eq!(format!("{bytes:?}"), "SecretBytes(*** 6 bytes)");
    }

    #[test]
    fn a_secret_is_read_from_json_and_written_where_its_owner_asks() {
        let secret: Secret = serde_json::from_str("\"s3cr3t\"").unwrap();
        assert_eq!(secret.expose(), "s3cr3t");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"s3cr3t\"");
    }
}
