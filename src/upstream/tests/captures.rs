//! What real clients sent and were answered, through the real client and the real parsers.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::identity_center::{ErrorName, ServiceError};
use crate::time::Now;
use crate::upstream::{Answer, Failure, Unclear, oidc, portal};

/// A capture's request and response.
struct Capture(Value);

impl Capture {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(format!("{name}.json"));
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Self(file["exchanges"][0].clone())
    }

    /// The request without a member that the agent never sends.
    fn without(mut self, member: &str) -> Self {
        let body = &mut self.0["request"]["body"];
        let mut members: serde_json::Map<String, Value> = serde_json::from_str(body.as_str().unwrap()).unwrap();
        members.remove(member).expect("the member is there");
        *body = Value::String(Value::Object(members).to_string());
        self
    }

    fn request_line(&self) -> String {
        format!(
            "{} {} HTTP/1.1",
            self.0["request"]["method"].as_str().unwrap(),
            self.0["request"]["target"].as_str().unwrap()
        )
    }

    fn response(&self) -> String {
        let answer = &self.0["response"];
        let headers: Vec<(&str, &str)> = answer["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| (header[0].as_str().unwrap(), header[1].as_str().unwrap()))
            .collect();
        let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
        response(status, &headers, answer["body"].as_str().unwrap())
    }

    /// Makes a call against the captured answer and compares the request with the captured one.
    async fn replay(&self, make: impl FnOnce(&Endpoint) -> Call) -> Reply {
        let (address, serving) = listener(vec![Act::Answer(self.response())]);
        let endpoint = endpoint(address);
        let reply = call(make(&endpoint), &endpoint).await;
        let request = serving.join().unwrap().remove(0);
        assert_eq!(request.lines().next().unwrap(), self.request_line());
        let captured = self.0["request"]["body"].as_str().unwrap();
        if captured.is_empty() {
            assert_eq!(body(&request), "");
            assert_eq!(header(&request, "x-amz-sso_bearer_token"), Some("at-SECRET"));
        } else {
            let (ours, theirs): (Value, Value) =
                (serde_json::from_str(body(&request)).unwrap(), serde_json::from_str(captured).unwrap());
            assert_eq!(ours, theirs);
            assert_eq!(header(&request, "content-type"), Some("application/json"));
        }
        assert_eq!(header(&request, "authorization"), None);
        assert_eq!(header(&request, "user-agent"), Some(concat!("sso-agent/", env!("CARGO_PKG_VERSION"))));
        reply
    }
}

fn register(scopes: &[&str]) -> Call {
    let scopes = scopes.iter().map(|&scope| scope.into()).collect();
    let start_url = "https://d-1234567890.awsapps.com/start".to_owned();
    Call::RegisterClient { client_name: "agent-test".into(), scopes, flow: Flow::Device, start_url }
}

fn refusal(reply: Reply) -> ServiceError {
    let Err(Failure::Refused(error)) = reply.result else { panic!("{reply:?}") };
    error
}

#[tokio::test]
async fn a_client_is_registered_with_the_scopes_asked_for() {
    for (name, scopes) in
        [("oidc-register-client-min", vec![]), ("oidc-register-client-scopes", vec!["sso:account:access"])]
    {
        let reply = Capture::read(name).replay(|_| register(&scopes)).await;
        let Ok(Answer::Registered(registration)) = reply.result else { panic!("{reply:?}") };
        assert_eq!(registration.client_id, "cid");
        assert_eq!(registration.client_secret.expose(), "csec");
        assert_eq!(registration.issued_at, Timestamp::from_secs(1_700_000_000));
        assert_eq!(registration.expires_at, Timestamp::from_secs(1_707_776_000));
        assert_eq!(registration.scopes, scopes);
    }
}

#[tokio::test]
async fn a_client_for_the_browser_is_registered_with_its_grants_its_way_back_and_its_issuer() {
    let call = |_: &Endpoint| match register(&["sso:account:access"]) {
        Call::RegisterClient { client_name, scopes, start_url, .. } => {
            Call::RegisterClient { client_name, scopes, flow: Flow::Browser, start_url }
        }
        other => other,
    };
    let capture = Capture::read("oidc-register-client-authcode").without("entitledApplicationArn");
    let reply = capture.replay(call).await;
    let Ok(Answer::Registered(registration)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(registration.flow, Flow::Browser);
}

#[tokio::test]
async fn a_device_authorization_is_understood() {
    let start_url = "https://d-1234567890.awsapps.com/start";
    let reply = Capture::read("oidc-start-device-authorization")
        .replay(|home| Call::StartDeviceAuthorization { registration: registration(home), start_url: start_url.into() })
        .await;
    let Ok(Answer::DeviceAuthorization(authorization)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(authorization.device_code.expose(), "dc");
    assert_eq!(authorization.user_code.raw(), "ABCD-EFGH");
    assert_eq!(
        authorization.verification_uri_complete.raw(),
        "https://device.sso.us-east-1.amazonaws.com/?user_code=ABCD-EFGH"
    );
    assert_eq!(authorization.expires_in, Duration::from_secs(600));
    assert_eq!(authorization.interval, Duration::from_secs(1));
}

#[tokio::test]
async fn a_token_is_fetched_with_a_device_code_an_authorization_code_and_a_refresh_token() {
    let captures: [(&str, Make, Option<&str>); 5] = [
        ("oidc-create-token-authcode", exchange, Some("rt")),
        ("oidc-create-token-device", poll, Some("rt")),
        ("oidc-create-token-device-legacy-norefresh", poll, None),
        ("oidc-create-token-refresh", refresh, Some("rt")),
        ("oidc-create-token-unknown-fields-tolerated", refresh, Some("rt")),
    ];
    for (name, make, refresh_token) in captures {
        let reply = Capture::read(name).replay(make).await;
        let Ok(Answer::Token(token)) = reply.result else { panic!("{name}: {reply:?}") };
        assert_eq!(token.access_token.expose(), "at", "{name}");
        assert_eq!(token.token_type, "Bearer", "{name}");
        assert!(token.expires_in >= Duration::from_secs(3600), "{name}");
        assert_eq!(token.refresh_token.as_ref().map(Secret::expose), refresh_token, "{name}");
    }
}

#[tokio::test]
async fn every_error_of_sso_oidc_is_known_by_name() {
    use ErrorName::{
        AccessDenied, AuthorizationPending, ExpiredToken, InvalidClient, InvalidClientMetadata, InvalidGrant,
        InvalidRedirectUri, InvalidRequest, InvalidRequestRegion, InvalidScope, UnauthorizedClient,
        UnsupportedGrantType,
    };
    for (name, expected, status, message) in [
        ("AuthorizationPendingException", AuthorizationPending, 400, "text for authorization_pending"),
        ("ExpiredTokenException", ExpiredToken, 400, "text for expired_token"),
        ("AccessDeniedException", AccessDenied, 400, "text for access_denied"),
        ("AccessDenied-kms-reason", AccessDenied, 400, "kms"),
        ("InvalidClientException", InvalidClient, 401, "text for invalid_client"),
        ("InvalidClientMetadataException", InvalidClientMetadata, 400, "text for invalid_client_metadata"),
        ("InvalidGrantException", InvalidGrant, 400, "text for invalid_grant"),
        ("InvalidRedirectUriException", InvalidRedirectUri, 400, "text for invalid_redirect_uri"),
        ("InvalidRequestException", InvalidRequest, 400, "text for invalid_request"),
        ("InvalidRequestRegionException", InvalidRequestRegion, 400, "text for invalid_request"),
        ("InvalidScopeException", InvalidScope, 400, "text for invalid_scope"),
        ("UnauthorizedClientException", UnauthorizedClient, 400, "text for unauthorized_client"),
        ("UnsupportedGrantTypeException", UnsupportedGrantType, 400, "text for unsupported_grant_type"),
    ] {
        let reply = answered(&Capture::read(&format!("oidc-error-{name}"))).await;
        let error = refusal(reply);
        assert_eq!((error.name, error.status), (expected, status), "{name}");
        assert_eq!(error.message.raw(), message, "{name}");
    }
    for (name, expected) in
        [("InvalidRequest-kms-reason", InvalidRequest), ("InvalidRequestRegion-fields", InvalidRequestRegion)]
    {
        assert_eq!(refusal(answered(&Capture::read(&format!("oidc-error-{name}"))).await).name, expected, "{name}");
    }
    let slow = answered(&Capture::read("oidc-error-SlowDownException")).await;
    assert_eq!(slow.result, Err(Failure::NotProcessed { status: 400, throttled: true, retry_after: None }));
    let internal = answered(&Capture::read("oidc-error-InternalServerException")).await;
    assert_eq!(internal.result, Err(Failure::Unknown(Unclear::ServerError(500))));
}

#[tokio::test]
async fn an_error_is_known_by_name_however_it_is_named() {
    for (name, expected) in [
        ("body-__type", ErrorName::AuthorizationPending),
        ("body-error-only-no-header", ErrorName::AuthorizationPending),
        ("header-namespaced", ErrorName::ExpiredToken),
        ("empty-body-403", ErrorName::Unnamed),
        ("message-body", ErrorName::from_type("ValidationException")),
    ] {
        assert_eq!(
            refusal(answered(&Capture::read(&format!("oidc-errvariant-{name}"))).await).name,
            expected,
            "{name}"
        );
    }
    for name in ["body-code", "header-and-__type-disagree"] {
        let reply = answered(&Capture::read(&format!("oidc-errvariant-{name}"))).await;
        assert_eq!(
            reply.result,
            Err(Failure::NotProcessed { status: 400, throttled: true, retry_after: None }),
            "{name}"
        );
    }
    let html = answered(&Capture::read("oidc-errvariant-html-body")).await;
    assert_eq!(html.result, Err(Failure::Unknown(Unclear::ServerError(503))));
}

/// Error captures come from several operations; what they mean does not depend on it.
async fn answered(capture: &Capture) -> Reply {
    let (address, serving) = listener(vec![Act::Answer(capture.response())]);
    let endpoint = endpoint(address);
    let reply = call(poll(&endpoint), &endpoint).await;
    serving.join().unwrap();
    reply
}

#[tokio::test]
async fn every_error_of_the_portal_is_known_by_name() {
    let captures: [(&str, Make, ErrorName, u16); 5] = [
        ("Forbidden-unmodeled", role_credentials, ErrorName::Forbidden, 403),
        ("InvalidRequestException", role_credentials, ErrorName::InvalidRequest, 400),
        ("ResourceNotFoundException", role_credentials, ErrorName::ResourceNotFound, 404),
        ("Unauthorized-logout", logout, ErrorName::Unauthorized, 401),
        ("UnauthorizedException", role_credentials, ErrorName::Unauthorized, 401),
    ];
    for (name, make, expected, status) in captures {
        let error = refusal(Capture::read(&format!("sso-error-{name}")).replay(make).await);
        assert_eq!((error.name, error.status), (expected, status), "{name}");
    }
    let throttled = Err(Failure::NotProcessed { status: 429, throttled: true, retry_after: None });
    let named = Capture::read("sso-error-TooManyRequestsException").replay(role_credentials).await;
    assert_eq!(named.result, throttled);
    for name in ["sso-error-429-without-code"] {
        assert_eq!(answered(&Capture::read(name)).await.result, throttled, "{name}");
    }
    for name in ["sso-error-Unauthorized-list_accounts", "sso-error-Unauthorized-list_account_roles"] {
        assert_eq!(refusal(answered(&Capture::read(name)).await).name, ErrorName::Unauthorized, "{name}");
    }
}

#[tokio::test]
async fn signing_out_is_confirmed_by_an_empty_answer_or_an_empty_object() {
    for name in ["sso-logout", "sso-logout-empty-200"] {
        assert_eq!(Capture::read(name).replay(logout).await.result, Ok(Answer::LoggedOut), "{name}");
    }
}

#[test]
fn role_credentials_are_parsed_and_illegal_ones_are_refused() {
    let body = |key_id: &str, key: &str, token: &str, expiration: &str| {
        format!(
            r#"{{"roleCredentials":{{"accessKeyId":{key_id},"secretAccessKey":{key},"sessionToken":{token},"expiration":{expiration},"credentialScope":null}}}}"#
        )
    };
    let parse = |key_id: &str, key: &str, token: &str, expiration: &str| {
        portal::role_credentials(body(key_id, key, token, expiration).as_bytes())
    };
    let (id, key, token, expiration) = (r#""ASIAEXAMPLEEXAMPLE00""#, r#""s/k+=""#, r#""t_-""#, "1700003600000");
    let set = parse(id, key, token, expiration).unwrap();
    assert_eq!(set.access_key_id, "ASIAEXAMPLEEXAMPLE00");
    assert_eq!(set.expires_at, Timestamp::from_millis(1_700_003_600_000));
    for wrong in [r#""ASIAEXAMPLE""#, r#""ASIAEXAMPLEEXAMPLE0$""#, "null", "7", r#""asiaexampleexample00""#] {
        assert!(parse(wrong, key, token, expiration).is_err(), "{wrong}");
    }
    for wrong in [r#""s;k""#, r#""$(x)""#, r#""a b""#, r#""a\nb""#, r#""""#, "null"] {
        assert!(parse(id, wrong, token, expiration).is_err(), "{wrong}");
        assert!(parse(id, key, wrong, expiration).is_err(), "{wrong}");
    }
    for wrong in ["null", "0", "-1", "\"1700003600000\"", "1700003600000.5"] {
        assert!(parse(id, key, token, wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "{}", "[]", "null", "<html>", r#"{"roleCredentials":null}"#] {
        assert!(portal::role_credentials(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_token_without_a_lifetime_or_with_a_strange_text_is_refused() {
    let parse = |body: &str| oidc::token(body.as_bytes());
    assert!(parse(r#"{"accessToken":"at","expiresIn":1}"#).is_ok());
    assert_eq!(parse(r#"{"accessToken":"at","expiresIn":1,"tokenType":null}"#).unwrap().token_type, "Bearer");
    assert_eq!(parse(r#"{"accessToken":"at","expiresIn":1,"refreshToken":""}"#).unwrap().refresh_token, None);
    for wrong in [
        "{}",
        r#"{"accessToken":"at"}"#,
        r#"{"accessToken":"at","expiresIn":0}"#,
        r#"{"accessToken":"at","expiresIn":-5}"#,
        r#"{"accessToken":"at","expiresIn":1.5}"#,
        r#"{"accessToken":"at","expiresIn":"3600"}"#,
        r#"{"accessToken":"","expiresIn":1}"#,
        r#"{"accessToken":"a t","expiresIn":1}"#,
        r#"{"accessToken":"a\r\nx: y","expiresIn":1}"#,
        r#"{"accessToken":"ä","expiresIn":1}"#,
        r#"{"expiresIn":1}"#,
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_registration_that_does_not_say_when_it_was_issued_was_issued_now() {
    let started = Now { wall: Timestamp::from_secs(1_700_000_000), mono: crate::time::Mono::default() };
    let parse = |body: &str| oidc::registered(body.as_bytes(), &[], Flow::Device, started);
    let registration = parse(r#"{"clientId":"c","clientSecret":"s","clientSecretExpiresAt":1707776000}"#).unwrap();
    assert_eq!(registration.issued_at, started.wall);
    for wrong in [
        r#"{"clientId":"c","clientSecret":"s"}"#,
        r#"{"clientId":"c","clientSecret":"s","clientSecretExpiresAt":0}"#,
        r#"{"clientId":"","clientSecret":"s","clientSecretExpiresAt":1707776000}"#,
        r#"{"clientId":"c","clientSecret":null,"clientSecretExpiresAt":1707776000}"#,
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_device_authorization_leads_only_to_presentable_pages() {
    let oidc: Endpoint = "https://oidc.eu-west-1.amazonaws.com".parse().unwrap();
    let parse = |uri: &str, complete: &str, interval: &str| {
        let body = format!(
            r#"{{"deviceCode":"dc","userCode":"AB","verificationUri":{uri},"verificationUriComplete":{complete},"expiresIn":600,"interval":{interval}}}"#
        );
        oidc::device_authorization(body.as_bytes(), &oidc, "https://d-1.awsapps.com/start")
    };
    let (good, evil) = (r#""https://d-1.awsapps.com/x""#, r#""https://evil.example.com/x""#);
    assert_eq!(parse(good, good, "1").unwrap().interval, Duration::from_secs(1));
    for missing in ["null", "0", "-1"] {
        assert_eq!(parse(good, good, missing).unwrap().interval, Duration::from_secs(5));
    }
    assert_eq!(parse(good, "null", "1").unwrap().verification_uri_complete.raw(), "https://d-1.awsapps.com/x");
    assert!(parse(evil, good, "1").is_err());
    assert!(parse(good, evil, "1").is_err());
    assert!(parse("null", good, "1").is_err());
}
