//! What a client shows to be let in, and what is kept of it.
//!
//! Invariant: the token itself is told once, to who asked for it; what stays is a [`Mark`], from which nobody gets back to
//! it, and marks are compared in a time that does not depend on where they differ.

use std::fmt;
use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Who shows it is let in: 256 random bits as text that every HTTP header and environment takes as it is.
#[derive(Debug)]
pub struct Token(Secret);

/// A token as it is kept: its hash.
#[derive(Clone, Copy)]
pub struct Mark([u8; 32]);

impl Token {
    /// A new one; none where the system has no randomness.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(bytes.as_mut()).ok()?;
        Some(Self(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))))
    }

    /// The text that the client is to show.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::of(self.0.expose().as_bytes())
    }
}

impl Mark {
    /// The mark of what a client has shown.
    #[must_use]
    pub fn of(shown: &[u8]) -> Self {
        Self(Sha256::digest(shown).into())
    }

    /// The mark that was written down.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// In hexadecimal, as it is written down.
impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// No part of it: what is shown often enough is looked up somewhere.
impl fmt::Debug for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mark(…)")
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |bits, (one, other)| black_box(bits | (one ^ other)));
        differing == 0
    }
}

impl Eq for Mark {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_mark_and_by_nothing_else() {
        let (token, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(token.mark(), Mark::of(token.text().expose().as_bytes()));
        assert_ne!(token.mark(), other.mark());
        assert_eq!(token.text().expose().len(), 43, "256 bits");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(token.text().expose().bytes().all(plain), "no header and no shell minds it");
    }

    #[test]
    fn a_mark_survives_being_written_down_and_does_not_show_itself() {
        let mark = Token::random().unwrap().mark();
        assert_eq!(Mark::from_hex(&mark.to_string()), Some(mark));
        assert_eq!(format!("{mark:?}"), "Mark(…)");
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(Mark::from_hex(wrong), None, "{wrong}");
        }
    }
}
