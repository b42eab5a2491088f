//! Values that must never be seen by accident.
//!
//! Owns: redaction and wiping. Refuses to know what the secret is for. Invariant: a [`Secret`] has no
//! `Display`, its `Debug` says nothing, its memory is zeroed when dropped, and its text leaves it only
//! through [`Secret::expose`], whose callers are counted by a test.

pub mod resident;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::zeroize_bytes;

use resident::Held;

/// A text that is never printed or logged, is kept out of swap where that was asked for ([`resident`]), and is wiped from
/// memory when dropped.
pub struct Secret {
    text: Box<str>,
    held: Held,
}

impl Secret {
    /// Takes ownership of the text; no copy stays behind.
    #[must_use]
    pub fn new(text: String) -> Self {
        let text: Box<str> = if text.capacity() == text.len() {
            text.into_boxed_str()
        } else {
            // Whoever shrinks it may move it, and would leave a copy behind.
            let exact = text.as_str().into();
            wipe(text.into_bytes());
            exact
        };
        let held = Held::lock(text.as_ptr().addr(), text.len());
        Self { text, held }
    }

    /// The text itself. Every call is a place where a secret leaves its wrapper: keep them few.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to protect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self::new(self.text.to_string())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

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

/// Bytes that hold secrets among other things, such as a request or response body; kept out of swap as a [`Secret`] is,
/// wiped when dropped.
#[derive(Default)]
pub struct SecretBytes {
    bytes: Vec<u8>,
    held: Held,
}

impl SecretBytes {
    /// Takes ownership of the bytes; no copy stays behind.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let held = Held::lock(bytes.as_ptr().addr(), bytes.capacity());
        Self { bytes, held }
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

/// For handing the bytes to a library that wants to own a buffer; wiped when that library drops it.
impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Clone for SecretBytes {
    fn clone(&self) -> Self {
        Self::new(self.bytes.clone())
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretBytes(*** {} bytes)", self.bytes.len())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let (start, length) = (self.text.as_ptr().addr(), self.text.len());
        wipe(String::from(std::mem::take(&mut self.text)).into_bytes());
        // Somebody else may have that memory by now; if it is a secret, it is counted.
        self.held.release(start, length);
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        let (start, length) = (self.bytes.as_ptr().addr(), self.bytes.capacity());
        wipe(std::mem::take(&mut self.bytes));
        self.held.release(start, length);
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
