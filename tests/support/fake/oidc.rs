//! sso-oidc: `RegisterClient`, `StartDeviceAuthorization`, `CreateToken`, and the page a user approves on.
//!
//! Strict where the real service may be lenient: unknown, null and misplaced members are refused, so that a
//! client that only happens to work is found out here.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Request};
use super::authorize;
use super::clock::ServiceTime;
use super::config::RefreshTokens;
use super::operation::{AUTHORIZATION_CODE_GRANT, DEVICE_CODE_GRANT, Operation, REFRESH_TOKEN_GRANT};
use super::refusal::{Exception, Refusal};
use super::sessions::Tokens;
use super::state::{Grants, Service};

/// Answers a request of sso-oidc.
pub fn answer(service: &mut Service, now: ServiceTime, base: &str, request: &Request) -> Result<Answer, Refusal> {
    if request.method != "POST" {
        return Err(Refusal::new(Exception::UnknownOperation, format!("{} is not POST", request.method)));
    }
    if request.header("authorization").is_some() {
        return Err(invalid("these operations are not signed"));
    }
    let content_type = request.header("content-type").unwrap_or_default();
    if content_type.split(';').next().unwrap_or_default().trim() != "application/json" {
        return Err(Refusal::new(Exception::UnsupportedMediaType, format!("{content_type:?} is not application/json")));
    }
    if request.target.contains('?') {
        return Err(invalid("these operations take no query"));
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(&request.body) else {
        return Err(invalid("the body is not a JSON object"));
    };
    let members = Members(members);
    match request.path() {
        "/client/register" => register_client(service, now, base, &members),
        "/device_authorization" => start_device_authorization(service, now, base, &members),
        _ => create_token(service, now, &members),
    }
}

/// The page behind `verificationUriComplete`: shows the code, and lets a person allow or deny it.
pub fn device_page(service: &mut Service, now: ServiceTime, request: &Request) -> Answer {
    let query = request.query();
    let parameter = |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let code = parameter("user_code").unwrap_or_default();
    let known = service.pending_user_codes(now).iter().any(|pending| pending.eq_ignore_ascii_case(code));
    let text = match (known, request.method.as_str(), parameter("answer")) {
        (false, ..) => "<p>No sign-in waits for this code.</p>".to_owned(),
        (true, "POST", Some("allow")) => {
            service.decide(now, code, Some(Service::default_user()));
            "<p>Allowed. You can close this page.</p>".to_owned()
        }
        (true, "POST", Some("deny")) => {
            service.decide(now, code, None);
            "<p>Denied. You can close this page.</p>".to_owned()
        }
        (true, ..) => format!(
            "<p>A program asks for access. Its code: <b>{code}</b></p>\
             <form method=post action=\"/device?user_code={code}&amp;answer=allow\"><button>Allow</button></form>\
             <form method=post action=\"/device?user_code={code}&amp;answer=deny\"><button>Deny</button></form>"
        ),
    };
    Answer::html(200, &format!("<!doctype html><title>Fake Identity Center</title>{text}"))
}

fn register_client(service: &mut Service, now: ServiceTime, base: &str, members: &Members) -> Result<Answer, Refusal> {
    members.only(&[
        "clientName",
        "clientType",
        "scopes",
        "redirectUris",
        "grantTypes",
        "issuerUrl",
        "entitledApplicationArn",
    ])?;
    let client_name = members.text("clientName")?;
    let client_type = members.text("clientType")?;
    let metadata = |text: &str| Err(Refusal::new(Exception::InvalidClientMetadata, text));
    if client_name.is_empty() || client_name.len() > 128 || !client_name.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return metadata("clientName must have 1 to 128 ASCII characters");
    }
    if client_type != "public" {
        return metadata("clientType must be public");
    }
    let scopes = members.list("scopes")?.unwrap_or_default();
    if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
        return Err(Refusal::new(Exception::InvalidScope, format!("{scope:?} is not a scope")));
    }
    let grants = grants(members.list("grantTypes")?.unwrap_or_default())?;
    let redirect_uris = members.list("redirectUris")?.unwrap_or_default();
    let redirect = |text: String| Err(Refusal::new(Exception::InvalidRedirectUri, text));
    if grants.authorization_code {
        let issuer_url = members.text("issuerUrl")?;
        if !service.config.start_urls.is_empty() && !service.config.start_urls.iter().any(|url| url == issuer_url) {
            return Err(invalid("no such issuer URL"));
        }
        if redirect_uris.is_empty() {
            return redirect("the authorization-code grant needs redirectUris".to_owned());
        }
        if let Some(uri) = redirect_uris.iter().find(|uri| !is_portless_loopback(uri)) {
            return redirect(format!("{uri:?} is not http on a loopback address without a port"));
        }
    } else if !redirect_uris.is_empty() {
        return redirect("redirectUris belong to the authorization-code grant".to_owned());
    }
    let client = service.register(now, client_name, scopes, grants);
    if grants.authorization_code {
        service.register_for_browser(&client, redirect_uris, members.text("issuerUrl")?);
    }
    Ok(Answer::json(
        200,
        &json!({
            "clientId": client.client_id,
            "clientSecret": client.client_secret,
            "clientIdIssuedAt": client.issued_at.seconds(),
            "clientSecretExpiresAt": client.expires_at.seconds(),
            "authorizationEndpoint": grants.authorization_code.then(|| format!("{base}/authorize")),
            "tokenEndpoint": grants.authorization_code.then(|| format!("{base}/token")),
        }),
    ))
}

fn start_device_authorization(
    service: &mut Service,
    now: ServiceTime,
    base: &str,
    members: &Members,
) -> Result<Answer, Refusal> {
    members.only(&["clientId", "clientSecret", "startUrl"])?;
    let start_url = members.text("startUrl")?;
    let client = service.client(now, members.text("clientId")?, members.text("clientSecret")?)?;
    if !start_url.starts_with("https://") && !start_url.starts_with("http://") {
        return Err(invalid("startUrl is not a URL"));
    }
    let device = service.start_device_authorization(now, &client, start_url)?;
    let mut body = json!({
        "deviceCode": device.device_code,
        "userCode": device.user_code,
        "verificationUri": format!("{base}/device"),
        "verificationUriComplete": format!("{base}/device?user_code={}", device.user_code),
        "expiresIn": service.config.device_code_lifetime.as_secs(),
    });
    if let Some(interval) = service.config.interval {
        body["interval"] = interval.into();
    }
    Ok(Answer::json(200, &body))
}

fn create_token(service: &mut Service, now: ServiceTime, members: &Members) -> Result<Answer, Refusal> {
    let grant_type = members.text("grantType")?;
    let client = service.client(now, members.text("clientId")?, members.text("clientSecret")?)?;
    let tokens = match grant_type {
        DEVICE_CODE_GRANT => {
            members.only(&["clientId", "clientSecret", "grantType", "scope", "deviceCode"])?;
            service.redeem_device_code(now, &client, members.text("deviceCode")?)?
        }
        AUTHORIZATION_CODE_GRANT => {
            members.only(&["clientId", "clientSecret", "grantType", "scope", "code", "codeVerifier", "redirectUri"])?;
            let (code, verifier) = (members.text("code")?, members.text("codeVerifier")?);
            authorize::redeem(service, now, &client, code, verifier, members.text("redirectUri")?)?
        }
        REFRESH_TOKEN_GRANT => {
            members.only(&["clientId", "clientSecret", "grantType", "scope", "refreshToken"])?;
            service.refresh(now, &client, members.text("refreshToken")?)?
        }
        other => return Err(Refusal::new(Exception::UnsupportedGrantType, format!("{other:?} is not a grant"))),
    };
    Ok(Answer::json(200, &token_body(service, grant_type, &tokens)))
}

fn token_body(service: &Service, grant_type: &str, tokens: &Tokens) -> Value {
    let mut body = json!({
        "accessToken": tokens.access_token,
        "tokenType": "Bearer",
        "expiresIn": tokens.expires_in.as_secs(),
        "idToken": null,
    });
    let unmentioned = grant_type == REFRESH_TOKEN_GRANT && service.config.refresh_tokens == RefreshTokens::Unmentioned;
    if let Some(refresh_token) = tokens.refresh_token.as_ref().filter(|_| !unmentioned) {
        body["refreshToken"] = refresh_token.as_str().into();
    }
    body
}

fn grants(grant_types: Vec<String>) -> Result<Grants, Refusal> {
    if grant_types.is_empty() {
        return Ok(Grants { device_code: true, authorization_code: false, refresh_token: true });
    }
    let known = [DEVICE_CODE_GRANT, AUTHORIZATION_CODE_GRANT, REFRESH_TOKEN_GRANT];
    if let Some(unknown) = grant_types.iter().find(|grant| !known.contains(&grant.as_str())) {
        return Err(Refusal::new(Exception::UnsupportedGrantType, format!("{unknown:?} is not a grant")));
    }
    let has = |wanted: &str| grant_types.iter().any(|grant| grant == wanted);
    let grants = Grants {
        device_code: has(DEVICE_CODE_GRANT),
        authorization_code: has(AUTHORIZATION_CODE_GRANT),
        refresh_token: has(REFRESH_TOKEN_GRANT),
    };
    if grants.device_code == grants.authorization_code {
        let text = "a client has either the device-code or the authorization-code grant";
        return Err(Refusal::new(Exception::InvalidClientMetadata, text));
    }
    Ok(grants)
}

fn is_scope(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    text.split(':').all(part)
}

fn is_portless_loopback(uri: &str) -> bool {
    ["http://127.0.0.1/", "http://[::1]/"].iter().any(|prefix| uri.starts_with(prefix))
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(Exception::InvalidRequest, text)
}

/// The members of a request body.
struct Members(Map<String, Value>);

impl Members {
    fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(invalid(format!("unexpected member {unknown:?}"))),
            None => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(invalid(format!("{name} is not a string"))),
            None => Err(invalid(format!("{name} is missing"))),
        }
    }

    fn list(&self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let not_a_list = || invalid(format!("{name} is not a list of strings"));
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let items = value.as_array().ok_or_else(not_a_list)?;
        let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        texts.map(Some).ok_or_else(not_a_list)
    }
}

/// Whether an operation is one of this service's.
pub fn serves(operation: Operation, path: &str) -> bool {
    path == "/token"
        || matches!(
            operation,
            Operation::RegisterClient
                | Operation::StartDeviceAuthorization
                | Operation::CreateTokenDeviceCode
                | Operation::CreateTokenAuthorizationCode
                | Operation::CreateTokenRefresh
        )
}
