//! Records for tests.

use std::time::Duration;

use super::{ClientRecord, Quiet, Record, TokenRecord};
use crate::identity_center::{ClientRegistration, Flow, Origin, TokenSet};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Every secret in the records below.
pub(super) const CANARIES: [&str; 3] = ["canary-client-secret", "canary-access-token", "canary-refresh-token"];

pub(super) fn client(session: &str) -> Record {
    Record::Client(ClientRecord {
        session: session.parse().unwrap(),
        origin: origin(),
        registrations: vec![registration()],
        longest_session: Duration::from_secs(8 * 3600),
        program_sign_ins: vec![Timestamp::from_secs(1_700_000_000)],
        quiet: Some(Quiet { until: Timestamp::from_secs(1_700_000_600), times: 1 }),
        last_session: Some(Duration::from_secs(28_800)),
        end_announced: Some(Timestamp::from_secs(1_700_000_000)),
        published: crate::sso_cache::Published::default(),
    })
}

pub(super) fn tokens(session: &str) -> Record {
    tokens_issued(session, 1_700_000_000)
}

/// Differs from others by when the tokens were issued.
pub(super) fn tokens_issued(session: &str, at: i64) -> Record {
    Record::Tokens(TokenRecord {
        session: session.parse().unwrap(),
        origin: origin(),
        tokens: TokenSet {
            access_token: Secret::new(CANARIES[1].to_owned()),
            token_type: "Bearer".to_owned(),
            issued_at: Timestamp::from_secs(at),
            expires_at: Timestamp::from_secs(at + 3600),
            refresh_token: Some(Secret::new(CANARIES[2].to_owned())),
            registration: registration(),
        },
        clock_ahead: 0,
        signed_in_at: Timestamp::from_secs(1_700_000_000),
        refresh_sent_at: None,
        refused: None,
    })
}

fn origin() -> Origin {
    Origin {
        start_url: "https://example.awsapps.com/start".to_owned(),
        resolved_start_url: "https://example.awsapps.com/start".to_owned(),
        region: "eu-west-1".parse().unwrap(),
        oidc: "https://oidc.eu-west-1.amazonaws.com".parse().unwrap(),
        portal: "https://portal.sso.eu-west-1.amazonaws.com".parse().unwrap(),
    }
}

fn registration() -> ClientRegistration {
    ClientRegistration {
        client_id: "client-id".to_owned(),
        client_secret: Secret::new(CANARIES[0].to_owned()),
        issued_at: Timestamp::from_secs(1_700_000_000),
        expires_at: Timestamp::from_secs(1_707_776_000),
        scopes: vec!["sso:account:access".to_owned()],
        flow: Flow::Device,
    }
}
