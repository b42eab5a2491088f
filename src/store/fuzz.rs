//! Anything at all as the files of the state directory.

use zeroize::Zeroizing;

use super::key::{KeyBytes, KeyId};
use super::key_record::KeyRecord;
use super::seal::{Opened, SealingKey, file_name};
use super::{Record, TokenRecord};
use crate::fuzzing::halves;

/// The first line says which file the rest is: `sealed` is a record's content, `changed` says how one is changed after
/// it was sealed (three bytes each: where, twice, and what to), `key.json` and `key` are those files. Nothing opens
/// that was not sealed under that name with that key, and what was sealed opens as it was.
pub fn record(bytes: &[u8]) {
    let (kind, content) = halves(bytes, b'\n');
    match kind {
        b"sealed" => stranger(content),
        b"changed" => changed(content),
        b"key.json" => {
            if let Ok(record) = serde_json::from_slice::<KeyRecord>(content) {
                let written = serde_json::to_vec(&record).expect("it can be written");
                let read: KeyRecord = serde_json::from_slice(&written).expect("what is written can be read");
                assert_eq!(serde_json::to_vec(&read).ok(), Some(written));
            }
        }
        b"key" => {
            if let Some(key) = KeyBytes::from_text(content) {
                let text = key.to_text();
                assert_eq!(content.trim_ascii(), text.as_bytes(), "there is one way to write a key");
                assert!(KeyBytes::from_text(text.as_bytes()).is_some_and(|again| *again.to_text() == *text));
            }
        }
        _ => {}
    }
}

/// The key is used here only, so nobody can have sealed anything with it.
fn stranger(content: &[u8]) {
    let key = sealing_key(KEY_ID);
    let foreign = key.foreign(content).is_some();
    match key.open("tokens.sealed", Zeroizing::new(content.to_vec())) {
        Opened::Record { .. } => panic!("something opens that was not sealed"),
        Opened::Foreign(_) => assert!(foreign, "what is left alone must not be overwritten either"),
        Opened::Damaged(_) => assert!(!foreign),
    }
}

fn changed(edits: &[u8]) {
    let key = sealing_key(KEY_ID);
    let record = record_to_seal();
    let name = file_name(record.session(), record.kind());
    let sealed = key.seal(&name, 7, &record).expect("a record can be sealed");
    let mut content = sealed.clone();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]]));
        // Beyond the end it is cut there or made longer.
        let length = content.len();
        match at.checked_sub(length) {
            None => content[at] = edit[2],
            Some(beyond) if beyond % 2 == 0 => content.truncate(length.saturating_sub(beyond / 2 + 1)),
            Some(_) => content.push(edit[2]),
        }
    }
    let unchanged = content == sealed;
    let opened = |name: &str, key: &SealingKey| match key.open(name, Zeroizing::new(content.clone())) {
        Opened::Record { record: opened, sequence } => {
            assert!(unchanged, "a change goes unnoticed");
            assert_eq!((*opened, sequence), (record.clone(), 7));
            true
        }
        Opened::Foreign(_) | Opened::Damaged(_) => false,
    };
    assert_eq!(opened(&name, &key), unchanged);
    assert!(!opened("tokens-elsewhere.sealed", &key), "it opens under another name");
    assert!(!opened(&name, &sealing_key(ANOTHER_ID)), "it opens with a key of another name");
}

fn sealing_key(id: &str) -> SealingKey {
    let id: KeyId = id.parse().expect("a key id");
    SealingKey::new(id, &KeyBytes::from_text(KEY.as_bytes()).expect("a key"))
}

fn record_to_seal() -> Record {
    let record: TokenRecord = serde_json::from_str(RECORD).expect("a record of this version");
    Record::Tokens(record)
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_ID: &str = "000102030405060708090a0b0c0d0e0f";
const ANOTHER_ID: &str = "100102030405060708090a0b0c0d0e0f";
const RECORD: &str = r#"{"session":"corp","origin":{"start_url":"https://d-1.awsapps.com/start",
    "resolved_start_url":"https://d-1.awsapps.com/start","region":"eu-west-1",
    "oidc":"https://oidc.eu-west-1.amazonaws.com","portal":"https://portal.sso.eu-west-1.amazonaws.com"},
    "tokens":{"access_token":"at","token_type":"Bearer","issued_at":"2026-11-22T09:00:00Z",
    "expires_at":"2026-11-22T10:00:00Z","refresh_token":"rt","registration":{"client_id":"ci","client_secret":"cs",
    "issued_at":"2026-11-22T09:00:00Z","expires_at":"2027-02-20T09:00:00Z","scopes":[],"flow":"device"}},
    "signed_in_at":"2026-11-22T09:00:00Z","refresh_sent_at":null,"refused":null}"#;
