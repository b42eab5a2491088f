//! The format of a record on disk.
//!
//! Owns: one header line of JSON in the clear, then a nonce and the record encrypted. Refuses to know where files are.
//! Invariant: header and file name are authenticated with the record, so that neither can be exchanged; a record that
//! is not of this version or not of this key is told from one that is damaged.

use std::io;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{KeyBytes, KeyId};
use super::{ClientRecord, Record, RecordKind, StoreError, TokenRecord, random};
use crate::identity_center::Origin;
use crate::ids::SessionName;
use crate::secret::resident::Resident;

/// The key, ready for use, under the name that records call it by.
pub(super) struct SealingKey {
    id: KeyId,
    cipher: Resident<LessSafeKey>,
}

impl SealingKey {
    /// From a key's bytes, which are not needed any longer.
    /// Its name.
    pub(super) const fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn new(id: KeyId, bytes: &KeyBytes) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.expose()).expect("the key has the cipher's length");
        Self { id, cipher: Resident::new(LessSafeKey::new(key)) }
    }

    /// Encrypts a record for the file `file_name`.
    pub(super) fn seal(&self, file_name: &str, sequence: u64, record: &Record) -> Result<Vec<u8>, StoreError> {
        let header = Header {
            magic: MAGIC.to_owned(),
            version: VERSION,
            key_id: self.id.clone(),
            session: record.session().clone(),
            kind: record.kind(),
            sequence,
            origin: origin(record).clone(),
        };
        let mut file = serde_json::to_vec(&header).map_err(StoreError::Encode)?;
        let aad = associated_data(file_name, &file);
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce).ok_or(StoreError::Crypto)?;
        let mut body = encode(record).map_err(StoreError::Encode)?;
        let tag = self
            .cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
            .map_err(|_| StoreError::Crypto)?;
        file.push(b'\n');
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&body);
        file.extend_from_slice(tag.as_ref());
        Ok(file)
    }

    /// Looks into the content of the file `file_name`.
    pub(super) fn open(&self, file_name: &str, mut content: Zeroizing<Vec<u8>>) -> Opened {
        let Some(end) = content.iter().position(|byte| *byte == b'\n') else {
            return Opened::Damaged("it has no header");
        };
        match whose(&content[..end], &self.id) {
            Whose::Ours => {}
            Whose::Foreign(why) => return Opened::Foreign(why),
            Whose::Nobodys => return Opened::Damaged("its header is not readable"),
        }
        let aad = associated_data(file_name, &content[..end]);
        let Ok(header) = serde_json::from_slice::<Header>(&content[..end]) else {
            return Opened::Damaged("its header is not readable");
        };
        let Some((nonce, sealed)) = content[end + 1..].split_first_chunk_mut::<NONCE_LEN>() else {
            return Opened::Damaged("it is cut short");
        };
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(plain) = self.cipher.open_in_place(nonce, Aad::from(aad), sealed) else {
            return Opened::Damaged("it was changed or cut short");
        };
        match decode(header.kind, plain) {
            Ok(record) if *record.session() == header.session && *origin(&record) == header.origin => {
                Opened::Record { record: Box::new(record), sequence: header.sequence }
            }
            _ => Opened::Damaged("its content makes no sense"),
        }
    }

    /// Whether a file may be replaced or deleted as far as its header says, which is not authenticated.
    pub(super) fn foreign(&self, content: &[u8]) -> Option<Foreign> {
        foreign_to(content, &self.id)
    }
}

/// Whether a file belongs to another key than this or to a newer version, as far as its header says.
pub(super) fn foreign_to(content: &[u8], key: &KeyId) -> Option<Foreign> {
    match whose(header(content)?, key) {
        Whose::Foreign(why) => Some(why),
        Whose::Ours | Whose::Nobodys => None,
    }
}

/// The session whose record it is, as far as its header says, which nothing vouches for without the key.
pub(super) fn session_of(content: &[u8]) -> Option<SessionName> {
    serde_json::from_slice::<Header>(header(content)?).ok().map(|header| header.session)
}

/// The name of the file it was made for, as far as its header says; it opens under no other.
pub(super) fn name_of(content: &[u8]) -> Option<String> {
    let header = serde_json::from_slice::<Header>(header(content)?).ok()?;
    Some(file_name(&header.session, header.kind))
}

fn header(content: &[u8]) -> Option<&[u8]> {
    content.iter().position(|byte| *byte == b'\n').map(|end| &content[..end])
}

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Opened {
    /// A record, authentic.
    Record {
        /// What it says.
        record: Box<Record>,
        /// How often it had been written.
        sequence: u64,
    },
    /// Somebody else's: to be left alone.
    Foreign(Foreign),
    /// Ours, and not what was written; or nothing that anybody can open.
    Damaged(&'static str),
}

/// Why a record is not ours to open or replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It has another format.
    Version(u64),
    /// It is sealed with another key.
    Key(KeyId),
}

/// The file name of a session's record: fixed length, no character a file system could object to.
pub(super) fn file_name(session: &SessionName, kind: RecordKind) -> String {
    use sha2::{Digest, Sha256};
    let kind = match kind {
        RecordKind::Client => "client",
        RecordKind::Tokens => "tokens",
    };
    format!("{kind}-{}{SEALED}", random::hex(&Sha256::digest(session.as_str())))
}

/// The first line of a record's file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    magic: String,
    version: u64,
    key_id: KeyId,
    session: SessionName,
    kind: RecordKind,
    sequence: u64,
    origin: Origin,
}

/// The part of the header that every version has; only the shape of magic and version is certain.
#[derive(Deserialize)]
struct Preamble {
    magic: String,
    version: u64,
    #[serde(default)]
    key_id: serde_json::Value,
}

enum Whose {
    Ours,
    Foreign(Foreign),
    Nobodys,
}

fn whose(header: &[u8], our_key: &KeyId) -> Whose {
    match serde_json::from_slice::<Preamble>(header) {
        Ok(preamble) if preamble.magic != MAGIC => Whose::Nobodys,
        Ok(preamble) if preamble.version != VERSION => Whose::Foreign(Foreign::Version(preamble.version)),
        Ok(preamble) => match preamble.key_id.as_str().map(str::parse::<KeyId>) {
            Some(Ok(id)) if id == *our_key => Whose::Ours,
            Some(Ok(id)) => Whose::Foreign(Foreign::Key(id)),
            _ => Whose::Nobodys,
        },
        Err(_) => Whose::Nobodys,
    }
}

/// What is authenticated beside the record. The length keeps file name and header apart.
fn associated_data(file_name: &str, header: &[u8]) -> Vec<u8> {
    let length = u64::try_from(file_name.len()).unwrap_or(u64::MAX).to_be_bytes();
    [&length, file_name.as_bytes(), header].concat()
}

const fn origin(record: &Record) -> &Origin {
    match record {
        Record::Client(ClientRecord { origin, .. }) | Record::Tokens(TokenRecord { origin, .. }) => origin,
    }
}

fn encode(record: &Record) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    // Measured first: a growing buffer leaves copies behind that nobody wipes.
    let mut length = Length(0);
    write(record, &mut length)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(length.0));
    write(record, &mut *plain)?;
    Ok(plain)
}

fn write(record: &Record, writer: impl io::Write) -> serde_json::Result<()> {
    match record {
        Record::Client(record) => serde_json::to_writer(writer, record),
        Record::Tokens(record) => serde_json::to_writer(writer, record),
    }
}

fn decode(kind: RecordKind, plain: &[u8]) -> serde_json::Result<Record> {
    fn parse<T: DeserializeOwned>(plain: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(plain)
    }
    match kind {
        RecordKind::Client => parse(plain).map(Record::Client),
        RecordKind::Tokens => parse(plain).map(Record::Tokens),
    }
}

/// Counts what is written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the names of sealed records end with.
pub(super) const SEALED: &str = ".sealed";

const MAGIC: &str = "sso-agent-record";
const VERSION: u64 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample;
    use super::*;

    fn key() -> SealingKey {
        SealingKey::new(KeyId::random().unwrap(), &KeyBytes::random().unwrap())
    }

    fn open(key: &SealingKey, name: &str, content: &[u8]) -> Opened {
        key.open(name, Zeroizing::new(content.to_vec()))
    }

    #[test]
    fn a_record_of_either_kind_opens_as_it_was_sealed() {
        let key = key();
        for record in [sample::client("corp"), sample::tokens("corp")] {
            let sealed = key.seal("name", 7, &record).unwrap();
            let Opened::Record { record: opened, sequence: 7 } = open(&key, "name", &sealed) else { panic!() };
            assert_eq!(*opened, record);
        }
    }

    /// Who raises the version makes the fixture of the one before it last: tests/fixtures/README.md says how.
    #[test]
    fn of_every_version_there_is_a_state_directory_to_try_an_upgrade_with() {
        for version in 1..=VERSION {
            let records = format!("{}/tests/fixtures/state-v{version}/state/records", env!("CARGO_MANIFEST_DIR"));
            let records = std::fs::read_dir(&records).unwrap_or_else(|error| panic!("{records}: {error}"));
            let mut count = 0;
            for record in records {
                let content = std::fs::read(record.unwrap().path()).unwrap();
                let header: Preamble = serde_json::from_slice(header(&content).unwrap()).unwrap();
                assert_eq!((header.magic.as_str(), header.version), (MAGIC, version));
                count += 1;
            }
            assert!(count > 1, "version {version} has records of both kinds");
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_does_not_open() {
        let key = key();
        let sealed = key.seal("name", 1, &sample::tokens("corp")).unwrap();
        for index in 0..sealed.len() {
            for flip in [1, 0x80] {
                let mut changed = sealed.clone();
                changed[index] ^= flip;
                assert!(!matches!(open(&key, "name", &changed), Opened::Record { .. }), "byte {index}");
            }
        }
    }

    #[test]
    fn a_record_cut_short_anywhere_is_damaged() {
        let key = key();
        let sealed = key.seal("name", 1, &sample::tokens("corp")).unwrap();
        for length in 0..sealed.len() {
            assert!(matches!(open(&key, "name", &sealed[..length]), Opened::Damaged(_)), "{length} bytes");
        }
    }

    #[test]
    fn a_record_does_not_open_under_another_file_name() {
        let key = key();
        let sealed = key.seal("name", 1, &sample::tokens("corp")).unwrap();
        assert!(matches!(open(&key, "other", &sealed), Opened::Damaged(_)));
    }

    #[test]
    fn a_record_of_another_key_or_a_newer_version_is_foreign() {
        let (key, other) = (key(), key());
        let sealed = key.seal("name", 1, &sample::tokens("corp")).unwrap();
        assert!(matches!(open(&other, "name", &sealed), Opened::Foreign(Foreign::Key(id)) if id == key.id));
        let newer = br#"{"magic":"sso-agent-record","version":2,"anything":"else"}"#;
        assert!(matches!(open(&key, "name", &[newer, &b"\n?"[..]].concat()), Opened::Foreign(Foreign::Version(2))));
    }

    #[test]
    fn every_write_has_a_nonce_of_its_own_and_hides_the_secrets() {
        let key = key();
        let record = sample::tokens("corp");
        let (first, second) = (key.seal("name", 1, &record).unwrap(), key.seal("name", 1, &record).unwrap());
        assert_ne!(first, second);
        for canary in sample::CANARIES {
            assert!(!first.windows(canary.len()).any(|window| window == canary.as_bytes()));
        }
    }

    #[test]
    fn a_file_name_says_nothing_about_the_session_and_differs_by_kind() {
        let session: SessionName = "https://example.awsapps.com/start/../..".parse().unwrap();
        let client = file_name(&session, RecordKind::Client);
        assert_eq!(client.len(), "client-".len() + 64 + ".sealed".len());
        assert!(client.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)));
        assert_ne!(
            client.split_once('-').unwrap().0,
            file_name(&session, RecordKind::Tokens).split_once('-').unwrap().0
        );
    }

    proptest! {
        #[test]
        fn no_content_makes_the_reader_panic(content in proptest::collection::vec(any::<u8>(), 0..400)) {
            let opened = open(&key(), "name", &content);
            prop_assert!(!matches!(opened, Opened::Record { .. }), "it opened");
        }

        #[test]
        fn no_content_behind_a_good_header_makes_the_reader_panic(
            body in proptest::collection::vec(any::<u8>(), 0..100)
        ) {
            let key = key();
            let sealed = key.seal("name", 1, &sample::client("corp")).unwrap();
            let end = sealed.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let opened = open(&key, "name", &[&sealed[..end], &body].concat());
            prop_assert!(matches!(opened, Opened::Damaged(_)), "it is not damaged");
        }
    }
}
