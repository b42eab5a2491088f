//! What the files of the cache are called.

use std::fmt::Write;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::encode::json_string;

/// The file of a session's token. `key` is the session's name, or the start URL exactly as written for a profile that
/// has no session.
#[must_use]
pub fn token_file(key: &str) -> String {
    named_by(key)
}

/// The file in which the AWS CLI keeps its client registration for a session.
///
/// `scopes` as configured, `None` where none are; their order counts.
#[must_use]
pub fn registration_file(start_url: &str, region: &str, scopes: Option<&[String]>, session: Option<&str>) -> String {
    // The text that Python's `json.dumps(…, sort_keys=True)` makes, blanks included.
    let scopes = scopes.map_or_else(
        || "null".to_owned(),
        |scopes| format!("[{}]", scopes.iter().map(|scope| json_string(scope)).collect::<Vec<_>>().join(", ")),
    );
    let session = session.map_or_else(|| "null".to_owned(), json_string);
    named_by(&format!(
        r#"{{"region": {}, "scopes": {scopes}, "session_name": {session}, "startUrl": {}, "tool": "botocore"}}"#,
        json_string(region),
        json_string(start_url)
    ))
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn named_by(key: &str) -> String {
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes()).as_ref()) + ".json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_named_as_every_sdk_names_it() {
        for (key, name) in [
            ("corp", "ee0bfd2552fbd840c02cc48b6e823320543c450f"),
            ("my-sso", "0ad374308c5a4e22f723adf10145eafad7c4031c"),
            ("dev", "34c6fceca75e456f25e7e99531e2425c6c1de443"),
            ("tést session", "95235c134575082ea998c8ed6545737584faf1e0"),
            ("https://d-1234567890.awsapps.com/start", "7487b5b67d5fa1132cf33fa93ae51ef38cc37752"),
            ("https://d-1234567890.awsapps.com/start/", "ae4321de83751a696d13fbefb87d776773c41e1c"),
            ("https://d-1234567890.awsapps.com/start#/", "a1c75994a810c1c468d3bd565eda2836303e6659"),
            ("https://my-sso-portal.awsapps.com/start", "c7aaaf71fcc8777ae2475525ed049d39fe16c484"),
        ] {
            assert_eq!(token_file(key), format!("{name}.json"), "{key}");
        }
    }

    #[test]
    fn a_registration_file_is_named_as_the_aws_cli_names_it() {
        const ACCESS: &str = "sso:account:access";
        type Case = (Option<&'static [&'static str]>, Option<&'static str>, &'static str);
        let cases: [Case; 6] = [
            (None, None, "365414a68be7c9bfc776c660981dbdbd942acea4"),
            (Some(&[ACCESS]), Some("corp"), "bc8a1afdb0f5cdc2c789b8a6cd51898e2be3c37c"),
            (None, Some("corp"), "cfaf7ef4a0ec868a86f526a3143dcbf741b147ba"),
            (
                Some(&[ACCESS, "codewhisperer:completions", "openid"]),
                Some("corp"),
                "9921ff5b6904ecc3813b2bc529dc851baafb03b9",
            ),
            (Some(&[]), Some("corp"), "544e8d0e5fa8efc92f9c0f7ecafcecce6ecf0539"),
            (Some(&[ACCESS]), Some("tést"), "15a1826ce739f017622d5f82fe71ff3433aa571a"),
        ];
        for (scopes, session, name) in cases {
            let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>());
            let file =
                registration_file("https://d-1234567890.awsapps.com/start", "us-east-1", scopes.as_deref(), session);
            assert_eq!(file, format!("{name}.json"), "{scopes:?} {session:?}");
        }
    }
}
