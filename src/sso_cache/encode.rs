//! A sign-in as text: one line, in the AWS CLI's order, ASCII only, with times that every SDK reads.

use std::fmt::Write;

use super::{CachedSet, Renewal};
use crate::secret::SecretBytes;

/// The content of a token file.
pub(super) fn encode(set: &CachedSet) -> SecretBytes {
    let CachedSet { start_url, region, access_token, expires_at, renewal } = set;
    let secrets = access_token.expose().len()
        + match renewal {
            Renewal::Whole(material) => {
                material.refresh_token.expose().len() + material.client_secret.expose().len() + material.client_id.len()
            }
            Renewal::None | Renewal::Incomplete => 0,
        };
    // An outgrown buffer would be a copy of secrets that nobody wipes.
    let mut text = String::with_capacity(secrets + 6 * (start_url.len() + region.len()) + 1024);
    text.push('{');
    member(&mut text, "startUrl", start_url);
    member(&mut text, "region", region);
    member(&mut text, "accessToken", access_token.expose());
    // The one form that all of them read; Rust takes nothing but a `Z` at the end.
    member(&mut text, "expiresAt", &expires_at.to_string());
    if let Renewal::Whole(material) = renewal {
        member(&mut text, "clientId", &material.client_id);
        member(&mut text, "clientSecret", material.client_secret.expose());
        member(&mut text, "registrationExpiresAt", &material.registration_expires_at.to_string());
        member(&mut text, "refreshToken", material.refresh_token.expose());
    }
    text.push('}');
    SecretBytes::new(text.into_bytes())
}

/// A string as Python writes it into JSON.
pub(super) fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    push_string(&mut quoted, text);
    quoted
}

fn member(text: &mut String, name: &str, value: &str) {
    if text.len() > 1 {
        text.push_str(", ");
    }
    push_string(text, name);
    text.push_str(": ");
    push_string(text, value);
}

fn push_string(quoted: &mut String, text: &str) {
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            ' '..='~' => quoted.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(quoted, "\\u{unit:04x}").expect("a String takes everything");
                }
            }
        }
    }
    quoted.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::Material;
    use super::*;
    use crate::secret::Secret;
    use crate::time::Timestamp;

    fn set(renewal: Renewal) -> CachedSet {
        CachedSet {
            start_url: "https://corp.awsapps.com/start".into(),
            region: "eu-west-1".into(),
            access_token: Secret::new("AT\"1".into()),
            expires_at: Timestamp::from_millis(1_795_363_232_999),
            renewal,
        }
    }

    #[test]
    fn a_whole_set_is_written_as_the_aws_cli_writes_it() {
        let material = Material {
            refresh_token: Secret::new("RT".into()),
            client_id: "CID".into(),
            client_secret: Secret::new("CS".into()),
            registration_expires_at: Timestamp::from_secs(1_800_000_000),
        };
        assert_eq!(
            String::from_utf8_lossy(encode(&set(Renewal::Whole(Box::new(material)))).expose()),
            concat!(
                r#"{"startUrl": "https://corp.awsapps.com/start", "region": "eu-west-1", "accessToken": "AT\"1", "#,
                r#""expiresAt": "2026-11-22T16:00:32Z", "clientId": "CID", "clientSecret": "CS", "#,
                r#""registrationExpiresAt": "2027-01-15T08:00:00Z", "refreshToken": "RT"}"#
            )
        );
    }

    #[test]
    fn a_token_alone_has_nothing_to_refresh_it_with() {
        let text = String::from_utf8(encode(&set(Renewal::None)).expose().to_vec()).unwrap();
        assert!(text.ends_with(r#""expiresAt": "2026-11-22T16:00:32Z"}"#), "{text}");
    }

    #[test]
    fn what_is_not_ascii_is_escaped_as_python_does() {
        assert_eq!(json_string("té\u{1f600}\u{7f}\n\\"), r#""t\u00e9\ud83d\ude00\u007f\n\\""#);
    }
}
