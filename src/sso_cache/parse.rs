//! Reading what any of the SDKs may have written.
//!
//! Invariant: what is not certain is not believed: a set has a start URL, a region, a token and its end, or it is none.

use serde::Deserialize;

use super::{CachedSet, Found, Material, Renewal, Unusable};
use crate::secret::Secret;
use crate::time::Timestamp;

/// The CLI's client registration, from a file of its own.
#[derive(Debug)]
pub(super) struct CachedRegistration {
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) expires_at: Timestamp,
}

/// What a token file says.
///
/// `registration` is asked for where the file has a refresh token and only part of its client.
pub(super) fn token(bytes: &[u8], registration: impl FnOnce(&Head) -> Option<CachedRegistration>) -> Found {
    let file: TokenFile = match serde_json::from_slice(bytes) {
        Ok(file) => file,
        // An object, but with a member of another type.
        Err(error) if error.is_data() => return Found::Unusable(Unusable::NoSignIn("members")),
        Err(_) => return Found::Torn,
    };
    let missing = |member| Found::Unusable(Unusable::NoSignIn(member));
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let secret = |value: Option<Secret>| value.filter(|secret| !secret.is_empty());
    let Some(access_token) = secret(file.access_token) else { return missing("accessToken") };
    let Some(expires_at) = file.expires_at.as_deref().and_then(time) else { return missing("expiresAt") };
    let Some(start_url) = text(file.start_url) else { return missing("startUrl") };
    let Some(region) = text(file.region) else { return missing("region") };
    let head = Head { start_url, region };
    let mut renewal = Renewal::None;
    if let Some(refresh_token) = secret(file.refresh_token) {
        let (client_id, client_secret) = (text(file.client_id), secret(file.client_secret));
        let ends = file.registration_expires_at.as_deref().and_then(time);
        renewal = match (client_id, client_secret, ends) {
            (Some(client_id), Some(client_secret), Some(registration_expires_at)) => {
                Renewal::Whole(Box::new(Material { refresh_token, client_id, client_secret, registration_expires_at }))
            }
            // Older versions of the CLI left the end of the registration where they keep the registration itself.
            (client_id, _, _) => match registration(&head) {
                Some(known) if client_id.as_ref().is_none_or(|id| *id == known.client_id) => {
                    Renewal::Whole(Box::new(Material {
                        refresh_token,
                        client_id: known.client_id,
                        client_secret: known.client_secret,
                        registration_expires_at: known.expires_at,
                    }))
                }
                _ => Renewal::Incomplete,
            },
        };
    }
    let Head { start_url, region } = head;
    Found::Set(Box::new(CachedSet { start_url, region, access_token, expires_at, renewal }))
}

/// Which session a token file says it is of.
pub(super) struct Head {
    pub(super) start_url: String,
    pub(super) region: String,
}

/// What a registration file says, if that is whole.
pub(super) fn registration(bytes: &[u8]) -> Option<CachedRegistration> {
    let file: RegistrationFile = serde_json::from_slice(bytes).ok()?;
    Some(CachedRegistration {
        client_id: file.client_id.filter(|id| !id.is_empty())?,
        client_secret: file.client_secret.filter(|secret| !secret.is_empty())?,
        expires_at: file.expires_at.as_deref().and_then(time)?,
    })
}

/// A time in any form that one of the SDKs writes or reads.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // Old versions of the CLI wrote `2026-11-22T16:00:32UTC`.
    let bare = ["UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone)).map(str::trim_end);
    let utc = |text: &str| format!("{text}Z").parse().ok();
    match bare {
        Some(bare) => utc(bare),
        // botocore takes a time without a zone for one of UTC.
        None => text.parse().ok().or_else(|| utc(text)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenFile {
    start_url: Option<String>,
    region: Option<String>,
    access_token: Option<Secret>,
    expires_at: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    registration_expires_at: Option<String>,
    refresh_token: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistrationFile {
    client_id: Option<String>,
    client_secret: Option<Secret>,
    expires_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        token(text.as_bytes(), |_| None)
    }

    fn set(text: &str) -> CachedSet {
        match found(text) {
            Found::Set(set) => *set,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn with_end(end: &str) -> String {
        format!(r#"{{"startUrl":"https://a","region":"eu-west-1","accessToken":"AT","expiresAt":"{end}"}}"#)
    }

    #[test]
    fn every_date_an_sdk_writes_is_read() {
        for end in [
            "2026-11-22T16:00:32Z",
            "2026-11-22T16:00:32.628Z",
            "2026-11-22T16:00:32.702005Z",
            "2026-11-22T16:00:32UTC",
            "2026-11-22T16:00:32 UTC",
            "2026-11-22T16:00:32+00:00",
            "2026-11-22T17:00:32+01:00",
            "2026-11-22T16:00:32+0000",
            "2026-11-22 16:00:32Z",
            "2026-11-22T16:00:32",
            "2026-11-22T16:00:32.702005123Z",
        ] {
            assert_eq!(set(&with_end(end)).expires_at.as_millis() / 1000, 1_795_363_232, "{end}");
        }
        for end in ["", "soon", "1795363232", "2026-13-01T00:00:00Z"] {
            assert!(matches!(found(&with_end(end)), Found::Unusable(Unusable::NoSignIn("expiresAt"))), "{end}");
        }
    }

    #[test]
    fn half_a_file_is_torn_wherever_it_ends() {
        let whole = with_end("2026-11-22T16:00:32Z");
        for end in 0..whole.len() {
            assert!(matches!(found(&whole[..end]), Found::Torn), "{}", &whole[..end]);
        }
    }

    #[test]
    fn a_set_as_each_sdk_writes_it_is_whole() {
        let pretty = "{\n  \"startUrl\": \"https://a\",\n  \"region\": \"us-east-1\",\n  \"accessToken\": \"AT\",\n  \
                      \"expiresAt\": \"2026-11-22T15:39:13.628Z\",\n  \"clientId\": \"CID\",\n  \"clientSecret\": \
                      \"CS\",\n  \"registrationExpiresAt\": \"2026-11-23T14:39:13Z\",\n  \"refreshToken\": \
                      \"RT\",\n  \"extra\": {\"keep\": [1]}\n}";
        let rust = r#"{"accessToken":"AT","expiresAt":"2026-11-22T16:00:32.702005Z","refreshToken":"RT","clientId":"CID","clientSecret":"CS","registrationExpiresAt":"2026-11-23T15:00:32Z","region":"us-east-1","startUrl":"https://a"}"#;
        let cli = r#"{"startUrl": "https://a", "region": "us-east-1", "accessToken": "AT", "expiresAt": "2026-11-22T16:00:32Z", "clientId": "CID", "clientSecret": "CS", "registrationExpiresAt": "2026-11-23T15:00:32Z", "refreshToken": "RT"}"#;
        for text in [pretty, rust, cli] {
            let Renewal::Whole(material) = set(text).renewal else { panic!("{text}") };
            assert_eq!((material.client_id.as_str(), material.refresh_token.expose()), ("CID", "RT"));
        }
    }

    #[test]
    fn a_refresh_token_without_its_client_is_incomplete_unless_the_registration_is_found() {
        let part = r#"{"startUrl":"https://a","region":"r","accessToken":"AT","expiresAt":"2026-11-22T16:00:32Z","clientId":"CID","clientSecret":"CS","refreshToken":"RT"}"#;
        assert_eq!(set(part).renewal, Renewal::Incomplete);
        let known = |id: &str| {
            registration(
                format!(r#"{{"clientId":"{id}","clientSecret":"C2","expiresAt":"2027-01-01T00:00:00Z"}}"#).as_bytes(),
            )
        };
        assert!(
            matches!(token(part.as_bytes(), |_| known("other")), Found::Set(set) if set.renewal == Renewal::Incomplete)
        );
        let Found::Set(set) = token(part.as_bytes(), |_| known("CID")) else { panic!() };
        assert!(matches!(set.renewal, Renewal::Whole(material) if material.client_secret.expose() == "C2"));
    }

    #[test]
    fn what_is_no_sign_in_is_said_by_the_member_it_lacks() {
        for (text, member) in [
            (r#"{"clientId":"a","clientSecret":"b","expiresAt":"2027-01-01T00:00:00Z"}"#, "accessToken"),
            (r#"{"accessToken":"a","expiresAt":"2027-01-01T00:00:00Z","region":"r"}"#, "startUrl"),
            (r#"{"accessToken":"a","expiresAt":"2027-01-01T00:00:00Z","startUrl":"u"}"#, "region"),
            (r#"{"accessToken":7}"#, "members"),
            ("[]", "members"),
        ] {
            assert!(matches!(found(text), Found::Unusable(Unusable::NoSignIn(lacks)) if lacks == member), "{text}");
        }
    }
}
