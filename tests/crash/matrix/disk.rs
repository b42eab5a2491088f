//! The state directory between two lives of an agent: looked at in a copy, so that nothing is tidied up that the next
//! agent has to tidy up itself; and made older, as a night would.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sso_agent::env::Env;
use sso_agent::identity_center::{ClientRegistration, Flow, Origin, TokenSet};
use sso_agent::secret::Secret;
use sso_agent::settings::KeyKind;
use sso_agent::store::{ClientRecord, Record, StateLock, Store, TokenRecord, open};
use sso_agent::time::Timestamp;

use crate::support::fake::{FakeIdentityCenter, Registration, Tokens};
use crate::support::sandbox::Sandbox;

/// What an agent that started now would find.
#[derive(Debug)]
pub(in crate::crash) struct Found {
    pub(in crate::crash) client: Option<ClientRecord>,
    pub(in crate::crash) tokens: Option<TokenRecord>,
    /// Files of writes that were not finished.
    pub(in crate::crash) unfinished: usize,
}

/// Looks at the state directory without touching it.
pub(in crate::crash) fn look(sandbox: &Sandbox) -> Found {
    let unfinished = names(&sandbox.state().join("records")).iter().filter(|name| name.starts_with('.')).count();
    let (_lock, mut store) = opened(sandbox, &copy(sandbox));
    let loaded = store.load();
    assert_eq!(loaded.reports, [], "nothing is ever damaged by a crash");
    let mut found = Found { client: None, tokens: None, unfinished };
    for record in loaded.records {
        match record {
            Record::Client(record) => assert_eq!(found.client.replace(record), None),
            Record::Tokens(record) => assert_eq!(found.tokens.replace(record), None),
        }
    }
    found
}

/// Makes the records of a machine on which nothing has run yet.
pub(in crate::crash) fn plant(sandbox: &Sandbox, records: &[Record]) {
    let (_lock, mut store) = opened(sandbox, &sandbox.state());
    for record in records {
        store.save(record).expect("the state directory can be written");
    }
}

/// Puts a record in the place of the old one, and touches nothing else.
pub(in crate::crash) fn put(sandbox: &Sandbox, record: &Record) {
    let copy = copy(sandbox);
    let before = {
        let (_lock, mut store) = opened(sandbox, &copy);
        drop(store.load());
        // Opening it has finished what was left unfinished, which is another record's business.
        let before = contents(&copy);
        store.save(record).expect("the copy can be written");
        before
    };
    let changed = contents(&copy).into_iter().filter(|file| !before.contains(file) && file.0.ends_with(".sealed"));
    let changed: Vec<_> = changed.map(|(name, _)| name).collect();
    let [name] = changed.as_slice() else { panic!("one record was written: {changed:?}") };
    std::fs::rename(copy.join("records").join(name), sandbox.state().join("records").join(name)).expect("a rename");
}

/// The record as if its tokens had been issued so long ago.
pub(in crate::crash) fn aged(mut record: TokenRecord, age: Duration, service: &FakeIdentityCenter) -> TokenRecord {
    let now = Timestamp::from_millis(i64::try_from(service.now().millis()).expect("it is this century"));
    let by = record.tokens.issued_at.since(now.before(age));
    let back = |time: Timestamp| time.before(by);
    record.tokens.issued_at = back(record.tokens.issued_at);
    record.tokens.expires_at = back(record.tokens.expires_at);
    record.refresh_sent_at = record.refresh_sent_at.map(back);
    record
}

/// The record of a sign-in to session `corp` made elsewhere.
pub(in crate::crash) fn record_of(service: &FakeIdentityCenter, client: &Registration, tokens: &Tokens) -> TokenRecord {
    let time = |millis: u64| Timestamp::from_millis(i64::try_from(millis).expect("it is this century"));
    let issued_at = time(service.now().millis());
    TokenRecord {
        session: "corp".parse().expect("a name"),
        clock_ahead: 0,
        origin: Origin {
            start_url: START_URL.to_owned(),
            resolved_start_url: START_URL.to_owned(),
            region: "eu-west-1".parse().expect("a region"),
            oidc: service.url().parse().expect("an endpoint"),
            portal: service.url().parse().expect("an endpoint"),
        },
        tokens: TokenSet {
            access_token: Secret::new(tokens.access_token.clone()),
            token_type: "Bearer".to_owned(),
            issued_at,
            expires_at: issued_at.after(tokens.expires_in),
            refresh_token: tokens.refresh_token.clone().map(Secret::new),
            registration: ClientRegistration {
                client_id: client.client_id.clone(),
                client_secret: Secret::new(client.client_secret.clone()),
                issued_at: time(client.issued_at.millis()),
                expires_at: time(client.expires_at.millis()),
                scopes: client.scopes.clone(),
                flow: Flow::Device,
            },
        },
        signed_in_at: issued_at,
        refresh_sent_at: None,
        refused: None,
    }
}

/// The start URL of session `corp`.
pub(in crate::crash) const START_URL: &str = "https://corp.awsapps.com/start";

fn opened(sandbox: &Sandbox, state: &Path) -> (StateLock, Box<dyn Store>) {
    let lock = StateLock::acquire(state, &sandbox.socket()).expect("nobody holds it");
    let store = open(&lock, KeyKind::File, &Env::default()).expect("the store opens");
    (lock, store)
}

fn copy(sandbox: &Sandbox) -> PathBuf {
    let copy = sandbox.root().join("copy");
    let _ = std::fs::remove_dir_all(&copy);
    for directory in ["", "records"] {
        let (from, to) = (sandbox.state().join(directory), copy.join(directory));
        std::fs::create_dir(&to).expect("a directory can be made");
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o700)).expect("chmod");
        for name in names(&from) {
            if from.join(&name).is_file() {
                std::fs::copy(from.join(&name), to.join(&name)).expect("a file can be copied");
            }
        }
    }
    copy
}

fn contents(state: &Path) -> Vec<(String, Vec<u8>)> {
    let records = state.join("records");
    names(&records).into_iter().map(|name| (name.clone(), std::fs::read(records.join(name)).expect("a file"))).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("our names are text")).collect()
}
