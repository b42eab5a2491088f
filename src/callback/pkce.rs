//! The random parts of a sign-in, and what RFC 7636 makes of one of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::ListenError;
use crate::secret::Secret;

/// What only we know until the code is exchanged: 64 characters of the allowed alphabet, 384 bits.
pub(super) fn verifier() -> Result<Secret, ListenError> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random::<48>()?)))
}

/// `code_challenge` by the method `S256`.
pub(super) fn challenge(verifier: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()))
}

/// 128 random bits as 32 hexadecimal digits.
pub(super) fn name() -> Result<String, ListenError> {
    use std::fmt::Write;
    let bytes = random::<16>()?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    }))
}

/// Whether two texts are the same, in a time that says nothing about where they differ: what is compared are their
/// digests, and nobody can choose those.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(other.iter()).fold(0, |differing, (one, other)| differing | (one ^ other)) == 0
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], ListenError> {
    let mut bytes = [0; LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ListenError::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        // What a client of the service was seen to send.
        let verifier = Secret::new("4LLQ0TY452N8D~t6E0jdIHdMb812ITe_corlR.HTN5J6.uwUBLnMRtgE5MCLdwmx".to_owned());
        assert_eq!(challenge(&verifier), "TNauBGLdSEXg44cA8zOPIvrS4ptdLJkwuIhCTuvkaEc");
    }

    #[test]
    fn a_verifier_is_long_of_the_allowed_alphabet_and_new_each_time() {
        let verifiers = [verifier().unwrap(), verifier().unwrap()];
        for verifier in &verifiers {
            assert_eq!(verifier.expose().len(), 64);
            assert!(verifier.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
        }
        assert_ne!(verifiers[0], verifiers[1]);
        assert_ne!(name().unwrap(), name().unwrap());
        assert_eq!(name().unwrap().len(), 32);
    }

    #[test]
    fn texts_are_the_same_or_they_are_not() {
        assert!(is_same("abc", "abc") && is_same("", ""));
        assert!(!is_same("abc", "abd") && !is_same("abc", "ab") && !is_same("abc", "abcd"));
    }
}
