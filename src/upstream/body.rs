//! JSON in and out of bodies.
//!
//! Owns: encoding into and decoding from buffers that are wiped, and the characters a value of the service may have.
//! Refuses to know operations. Invariant: an [`Unusable`] never repeats a byte of the body, which may be a secret.

use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{NotSent, Unclear};
use crate::secret::{Secret, SecretBytes};

/// What is wrong with the body of a 2xx, without its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) String);

impl From<Unusable> for Unclear {
    fn from(unusable: Unusable) -> Self {
        Self::UnusableBody(unusable.0)
    }
}

/// A member is missing, or is not what it must be.
pub(super) fn no_legal(member: &'static str) -> Unusable {
    Unusable(format!("no legal {member}"))
}

/// A request body, wiped when the HTTP client drops it.
pub(super) fn encode(value: &impl Serialize) -> Result<Full<Bytes>, NotSent> {
    // Large enough for the longest tokens: a buffer that grows leaves a copy behind.
    let mut bytes = Vec::with_capacity(CAPACITY);
    serde_json::to_writer(&mut bytes, value).map_err(|error| NotSent::Malformed(error.to_string()))?;
    Ok(Full::new(Bytes::from_owner(SecretBytes::new(bytes))))
}

/// A response body. The decoder's own words quote the text, so only the kind of its complaint is kept.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unusable> {
    serde_json::from_slice(body).map_err(|error| {
        Unusable(
            match error.classify() {
                serde_json::error::Category::Eof => "incomplete JSON",
                serde_json::error::Category::Data => "JSON of another form",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
            }
            .to_owned(),
        )
    })
}

/// A secret of printable ASCII without spaces, as it must be to fit into a header.
pub(super) fn legal_token(secret: Option<Secret>) -> Option<Secret> {
    secret.filter(|secret| !secret.is_empty() && secret.expose().bytes().all(|byte| byte.is_ascii_graphic()))
}

const CAPACITY: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_does_not_quote_the_body() {
        for body in ["\"s3cr3t\"", "{\"a\":\"s3cr3t\"", "s3cr3t", "[\"s3cr3t\"]"] {
            let Unusable(words) = decode::<std::collections::BTreeMap<String, u8>>(body.as_bytes()).unwrap_err();
            assert!(!words.contains("s3cr3t"), "{words}");
        }
    }
}
