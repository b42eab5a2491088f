//! Randomness for keys, nonces and names, from the system.

use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes; `None` if the system's generator fails.
pub(super) fn fill(bytes: &mut [u8]) -> Option<()> {
    SystemRandom::new().fill(bytes).ok()
}

/// 128 random bits as 32 hexadecimal digits; `None` if the system's generator fails.
pub(super) fn hex_name() -> Option<String> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Some(hex(&bytes))
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
