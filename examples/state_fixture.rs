//! Writes the state directory of a user who is signed in, as this version writes it, with made-up secrets:
//!
//! ```sh
//! cargo run --example state_fixture -- tests/fixtures/state-vN
//! ```
//!
//! `tests/upgrades.rs` lets the agent of today go on from there. Beside `state/` lies `sign-ins.json`: what the fake
//! service has to know.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use sso_agent::env::Env;
use sso_agent::identity_center::{ClientRegistration, Flow, Origin, TokenSet};
use sso_agent::secret::Secret;
use sso_agent::settings::KeyKind;
use sso_agent::store::{ClientRecord, Record, Refused, StateLock, TokenRecord, open};
use sso_agent::time::Timestamp;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("where to?")?);
    let state = directory.join("state");
    {
        let lock = StateLock::acquire(&state, &state.join("agent.sock"))?;
        let mut store = open(&lock, KeyKind::File, &Env::default())?;
        store.load();
        for session in SESSIONS {
            store.save(&Record::Client(client(session)?))?;
            store.save(&Record::Tokens(tokens(session)?))?;
        }
    }
    // It names this machine, and nobody reads it again.
    std::fs::remove_file(state.join("lock"))?;
    let sign_ins: Vec<_> = SESSIONS.iter().map(|session| sign_in(session)).collect();
    std::fs::write(directory.join("sign-ins.json"), serde_json::to_string_pretty(&sign_ins)? + "\n")?;
    Ok(())
}

/// One session for everything that a record can say.
const SESSIONS: [&str; 4] = [
    // The access token has expired since: to be refreshed before anything else.
    "expired", // The access token still lives: to be served.
    "lasting", // A refresh was under way when the agent died.
    "marked",  // The service has said no.
    "refused",
];

fn sign_in(session: &str) -> serde_json::Value {
    json!({
        "session": session,
        "start_url": start_url(session),
        "client_id": format!("FAKEclient-{session}"),
        "client_secret": made_up("ClientSecret", session),
        "access_token": made_up("AccessToken", session),
        "refresh_token": made_up("RefreshToken", session),
    })
}

fn client(session: &str) -> Result<ClientRecord, Box<dyn Error>> {
    Ok(ClientRecord {
        session: session.parse()?,
        origin: origin(session)?,
        registrations: vec![registration(session)],
        longest_session: Duration::from_secs(8 * 3600),
        quiet: None,
        last_session: None,
        end_announced: None,
        program_sign_ins: vec![SIGNED_IN],
        published: sso_agent::sso_cache::Published::default(),
    })
}

fn tokens(session: &str) -> Result<TokenRecord, Box<dyn Error>> {
    let lifetime = if session == "lasting" { THIRTY_YEARS } else { Duration::from_secs(3600) };
    let refused = Refused {
        at: SIGNED_IN.after(Duration::from_secs(3000)),
        last_alive: SIGNED_IN,
        registration: false,
        message: "InvalidGrantException: the session is over".to_owned(),
    };
    Ok(TokenRecord {
        clock_ahead: 0,
        session: session.parse()?,
        origin: origin(session)?,
        tokens: TokenSet {
            access_token: Secret::new(made_up("AccessToken", session)),
            token_type: "Bearer".to_owned(),
            issued_at: SIGNED_IN,
            expires_at: SIGNED_IN.after(lifetime),
            refresh_token: Some(Secret::new(made_up("RefreshToken", session))),
            registration: registration(session),
        },
        signed_in_at: SIGNED_IN,
        refresh_sent_at: (session == "marked").then(|| SIGNED_IN.after(Duration::from_secs(2500))),
        refused: (session == "refused").then_some(refused),
    })
}

fn registration(session: &str) -> ClientRegistration {
    ClientRegistration {
        client_id: format!("FAKEclient-{session}"),
        client_secret: Secret::new(made_up("ClientSecret", session)),
        issued_at: SIGNED_IN,
        expires_at: SIGNED_IN.after(THIRTY_YEARS),
        scopes: vec!["sso:account:access".to_owned()],
        flow: Flow::Device,
    }
}

fn origin(session: &str) -> Result<Origin, Box<dyn Error>> {
    Ok(Origin {
        start_url: start_url(session),
        resolved_start_url: start_url(session),
        region: "eu-west-1".parse()?,
        oidc: SERVICE.parse()?,
        portal: SERVICE.parse()?,
    })
}

fn start_url(session: &str) -> String {
    format!("https://{session}.awsapps.com/start")
}

/// A secret of nobody's.
fn made_up(kind: &str, session: &str) -> String {
    format!("FAKE{kind}-{session}-").repeat(12)
}

/// An address of this machine that nobody else uses: records say where they belong, port and all.
const SERVICE: &str = "http://127.77.7.7:41977";
const SIGNED_IN: Timestamp = Timestamp::from_secs(1_700_000_000);
const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
