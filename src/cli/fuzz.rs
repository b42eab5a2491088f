//! Any values at all as role credentials that are to be written down.

use super::credentials::{Format, format};
use crate::api::{CredentialDocument, Response};
use crate::ids::{Grant, TargetId};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Key id, secret, session token, expiry in milliseconds and account, with a byte 0xff between them, which no text
/// has. The document is one line of JSON that says exactly that; as lines for a shell it is either refused or means
/// exactly that to any shell.
pub fn document(bytes: &[u8]) {
    let mut fields = bytes.split(|byte| *byte == 0xff).map(|field| String::from_utf8_lossy(field).into_owned());
    let mut next = || fields.next().unwrap_or_default();
    let document = CredentialDocument {
        version: 1,
        access_key_id: next(),
        secret_access_key: Secret::new(next()),
        session_token: Secret::new(next()),
        expiration: Timestamp::from_millis(next().parse().unwrap_or_default()),
        account_id: next().parse().ok(),
    };
    as_json(&document);
    for kind in [Format::EnvNoExport, Format::Env, Format::Fish, Format::Powershell] {
        as_lines(kind, &document);
    }
}

fn target() -> TargetId {
    let (account, role) = ("111122223333".parse().expect("it is one"), "R".parse().expect("it is one"));
    TargetId { session: "s".parse().expect("it is one"), grant: Grant::Role { account, role } }
}

fn as_json(document: &CredentialDocument) {
    let target = target();
    let shared = Response::encoded(document, target.clone()).and_then(|response| response.encode());
    let shared = shared.expect("texts and numbers can be written");
    let body = Response::Credentials(document.clone(), target).encode().expect("so they can each time");
    assert_eq!(body, shared);
    assert!(body.iter().all(|byte| *byte >= 0x20), "it is one line");
    let value: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
    let members = value.as_object().expect("it is an object");
    let expected = [
        ("Version", serde_json::Value::from(1)),
        ("AccessKeyId", document.access_key_id.as_str().into()),
        ("SecretAccessKey", document.secret_access_key.expose().into()),
        ("SessionToken", document.session_token.expose().into()),
        ("Expiration", document.expiration.to_string().into()),
        ("AccountId", document.account_id.as_ref().map(|account| account.as_str()).into()),
    ];
    assert_eq!(members.len(), expected.len());
    for (name, value) in expected {
        assert_eq!(members.get(name), Some(&value), "{name}");
    }
    let again: CredentialDocument = serde_json::from_slice(&body).expect("we read it ourselves");
    let whole = document.expiration.to_string().parse().expect("a time is written as it is read");
    assert!(whole <= document.expiration.max(Timestamp::from_millis(0)), "never said to live longer than they do");
    assert_eq!(again, CredentialDocument { expiration: whole, ..document.clone() });
}

/// By the rules of each shell for a word that needs no quotes, or one in double quotes.
fn as_lines(kind: Format, document: &CredentialDocument) {
    let values = [
        ("AWS_ACCESS_KEY_ID", document.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", document.secret_access_key.expose().to_owned()),
        ("AWS_SESSION_TOKEN", document.session_token.expose().to_owned()),
    ];
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-:".contains(&byte))
    };
    let Ok(lines) = format(kind, document) else { return };
    let (before, after) = match kind {
        Format::Process | Format::EnvNoExport => ("", ""),
        Format::Env => ("export ", ""),
        Format::Fish => ("set -gx ", "\""),
        Format::Powershell => ("$Env:", "\""),
    };
    let between = if kind == Format::Fish {
        " \""
    } else if kind == Format::Powershell {
        "=\""
    } else {
        "="
    };
    let lines = lines.expose();
    assert!(lines.ends_with('\n'));
    let mut lines = lines.lines();
    let mut value_of = |name: &str| {
        let line = lines.next().expect("a line for each value");
        let value = line.strip_prefix(before).and_then(|rest| rest.strip_prefix(name)?.strip_prefix(between));
        let value = value.and_then(|rest| rest.strip_suffix(after)).expect("the form of this shell");
        assert!(plain(value), "{name} means something to a shell: {value}");
        value.to_owned()
    };
    for (name, value) in values {
        assert_eq!(value_of(name), value, "{name}");
    }
    let expiration: Timestamp = value_of("AWS_CREDENTIAL_EXPIRATION").parse().expect("a time");
    assert_eq!(expiration.to_string(), document.expiration.to_string());
    assert_eq!(lines.next(), None);
}
