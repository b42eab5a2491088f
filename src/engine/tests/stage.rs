//! What the bench is played with: a session, its configuration, its records, and what the services answer.

use super::*;

pub(super) fn agent() -> Agent {
    Agent {
        version: "0.0.0",
        pid: 1,
        socket: "/run/agent.sock".to_owned(),
        client_name: "sso-agent user@host".to_owned(),
        protection: crate::store::Protection { key: "file", awaited: None },
        time_zone: jiff::tz::TimeZone::UTC,
        seed: 7,
    }
}

pub(super) fn corp() -> SessionName {
    "corp".parse().unwrap()
}

pub(super) fn oidc() -> Endpoint {
    "https://oidc.eu-west-1.amazonaws.com".parse().unwrap()
}

pub(super) fn portal() -> Endpoint {
    "https://portal.sso.eu-west-1.amazonaws.com".parse().unwrap()
}

pub(super) fn place() -> Place {
    Place { file: "/home/user/.aws/config".into(), line: 1 }
}

pub(super) fn definition() -> SessionDefinition {
    SessionDefinition {
        name: corp(),
        start_url: "https://corp.awsapps.com/start".to_owned(),
        region: "eu-west-1".parse().unwrap(),
        scopes: vec!["sso:account:access".to_owned()],
        endpoints: Endpoints { oidc: oidc(), portal: portal() },
        endpoints_from: "the region".to_owned(),
        ca_bundle: None,
        signin: None,
        place: place(),
    }
}

pub(super) fn origin() -> Origin {
    definition().origin()
}

pub(super) fn grant(role: &str) -> Grant {
    Grant::Role { account: "111122223333".parse().unwrap(), role: role.parse().unwrap() }
}

pub(super) fn configuration_of(definition: SessionDefinition) -> Configuration {
    let mut catalog = Catalog::default();
    let target = TargetId { session: corp(), grant: grant("Dev") };
    let dev = Profile {
        name: "dev".parse().unwrap(),
        target: Some(target),
        session: corp(),
        through_shim: false,
        place: place(),
    };
    catalog.sessions.insert(corp(), Ok(definition));
    catalog.profiles.insert(dev.name.clone(), Ok(dev));
    Configuration { catalog, settings: Settings::default() }
}

pub(super) fn configuration() -> Configuration {
    configuration_of(definition())
}

/// The same session, led to another place by an environment variable.
pub(super) fn elsewhere() -> Configuration {
    let endpoints =
        Endpoints { oidc: "http://localhost:4566".parse().unwrap(), portal: "http://localhost:4566".parse().unwrap() };
    configuration_of(SessionDefinition { endpoints, endpoints_from: "AWS_ENDPOINT_URL".to_owned(), ..definition() })
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub(super) fn registration() -> ClientRegistration {
    ClientRegistration {
        client_id: "client-1".to_owned(),
        client_secret: secret("client-secret"),
        issued_at: Timestamp::from_millis(START),
        expires_at: Timestamp::from_millis(START).after(90 * DAY),
        scopes: vec!["sso:account:access".to_owned()],
        flow: Flow::Device,
    }
}

/// As they are on disk after a sign-in at the start of the bench's time.
pub(super) fn tokens() -> TokenRecord {
    let issued_at = Timestamp::from_millis(START);
    TokenRecord {
        session: corp(),
        origin: origin(),
        tokens: TokenSet {
            access_token: secret("access-1"),
            token_type: "Bearer".to_owned(),
            issued_at,
            expires_at: issued_at.after(HOUR),
            refresh_token: Some(secret("refresh-1")),
            registration: registration(),
        },
        clock_ahead: 0,
        signed_in_at: issued_at,
        refresh_sent_at: None,
        refused: None,
    }
}

pub(super) fn client() -> ClientRecord {
    ClientRecord {
        session: corp(),
        origin: origin(),
        registrations: vec![registration()],
        longest_session: Duration::ZERO,
        program_sign_ins: Vec::new(),
        quiet: None,
        last_session: None,
        end_announced: None,
        published: crate::sso_cache::Published::default(),
    }
}

pub(super) fn fresh(number: u32) -> Result<Answer, Failure> {
    Ok(Answer::Token(TokenResponse {
        access_token: secret(&format!("access-{number}")),
        token_type: "Bearer".to_owned(),
        expires_in: HOUR,
        refresh_token: Some(secret(&format!("refresh-{number}"))),
    }))
}

pub(super) fn service_error(name: ErrorName, status: u16) -> ServiceError {
    ServiceError { name, status, message: Untrusted::new("the service's words") }
}

pub(super) fn refused(name: ErrorName) -> Result<Answer, Failure> {
    Err(Failure::Refused(service_error(name, 400)))
}

pub(super) fn unauthorized() -> Result<Answer, Failure> {
    Err(Failure::Refused(service_error(ErrorName::Unauthorized, 401)))
}

pub(super) fn not_sent() -> Result<Answer, Failure> {
    Err(Failure::NotSent(NotSent::Connect("refused".to_owned())))
}

pub(super) fn throttled(retry_after: Option<Duration>) -> Result<Answer, Failure> {
    Err(Failure::NotProcessed { status: 429, throttled: true, retry_after })
}

pub(super) fn lost() -> Result<Answer, Failure> {
    Err(Failure::Unknown(Unclear::Broken("reset".to_owned())))
}

pub(super) fn role_keys(id: &str, expires_at: Timestamp) -> Result<Answer, Failure> {
    Ok(Answer::RoleCredentials(RoleCredentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret("role-secret"),
        session_token: secret("role-session"),
        expires_at,
    }))
}

pub(super) fn device() -> Result<Answer, Failure> {
    Ok(Answer::DeviceAuthorization(DeviceAuthorization {
        device_code: secret("device-code"),
        user_code: Untrusted::new("ABCD-EFGH"),
        verification_uri: Untrusted::new("https://device.sso.eu-west-1.amazonaws.com/"),
        verification_uri_complete: Untrusted::new("https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH"),
        expires_in: Duration::from_secs(600),
        interval: Duration::from_secs(1),
    }))
}

pub(super) fn console(role: &str, destination: Option<&str>) -> Request {
    let Request::Credentials { target, .. } = credentials(role, None, None) else { panic!("a target") };
    Request::Console { target, destination: destination.map(str::to_owned) }
}

pub(super) fn credentials(role: &str, min_validity: Option<Duration>, timeout: Option<Duration>) -> Request {
    let target =
        TargetQuery::Role { session: None, account: "111122223333".parse().unwrap(), role: role.parse().unwrap() };
    Request::Credentials { target, min_validity, timeout }
}

pub(super) fn by(started_by: StartedBy) -> LoginRequest {
    LoginRequest { flow: FlowChoice::Device, started_by, ..LoginRequest::default() }
}

pub(super) fn disk_full() -> StoreError {
    StoreError::Io {
        doing: "write",
        path: "/state/record".into(),
        source: std::io::Error::from(std::io::ErrorKind::StorageFull),
    }
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const START: i64 = 1_700_000_000_000;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
