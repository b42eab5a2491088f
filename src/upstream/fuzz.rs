//! Anything at all as the response of the service, or of whoever sits in between.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::errors::{Dialect, judge, service_time};
use super::http::Response;
use super::{Failure, Unclear, oidc, portal, sts};
use crate::fuzzing::{halves, is_one_line};
use crate::identity_center::link::is_presentable;
use crate::identity_center::{Endpoint, ErrorName, Flow};
use crate::time::{Mono, Now, Timestamp};

/// `OPERATION STATUS`, lines of headers, an empty line, the body. A failure is one line that repeats nothing of a
/// success's body; an error's name counts only in the service's own form; what a success brings is fit for use.
pub fn service(bytes: &[u8]) {
    let (first, mut rest) = halves(bytes, b'\n');
    let first = String::from_utf8_lossy(first);
    let (operation, status) = first.split_once(' ').unwrap_or((&first, ""));
    let Some(status) = status.trim().parse().ok().and_then(|status| StatusCode::from_u16(status).ok()) else { return };
    let mut headers = HeaderMap::new();
    while let (line, after) = halves(rest, b'\n')
        && !line.is_empty()
    {
        rest = after;
        let (name, value) = halves(line, b':');
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    let body = rest.strip_prefix(b"\n").unwrap_or(rest);
    let now = |millis| Now { wall: Timestamp::from_millis(millis), mono: Mono::default() };
    let (sent, received) = (now(1_700_000_000_000), now(1_700_000_000_400));
    let response = Response { status, headers, body: Ok(body.to_vec().into()), sent, received };
    if let Some(time) = service_time(&response) {
        assert_eq!(time.ours, Timestamp::from_millis(1_700_000_000_200));
    }
    let dialect = if operation == "AssumeRole" { Dialect::Xml } else { Dialect::Json };
    let verdict = judge(response, dialect);
    assert_eq!(verdict.body.is_ok(), status.is_success(), "nothing but a 2xx is a success");
    assert!(!(verdict.named && status.is_success()), "a success carries no error");
    match verdict.body {
        Err(failure) => failed(&failure, status, body, dialect),
        Ok(body) => {
            if let Err(failure) = succeeded(operation, &body, received).map_err(Failure::Unknown) {
                let words = failure.to_string();
                assert!(words.is_ascii() && words.len() < 128, "these are our own words: {words}");
            }
        }
    }
}

fn failed(failure: &Failure, status: StatusCode, body: &[u8], dialect: Dialect) {
    assert!(is_one_line(&failure.to_string()), "{failure}");
    match failure {
        Failure::Refused(error) => {
            assert!(status.is_client_error());
            assert!(error.message.raw().chars().count() <= 2048);
            let is_form = match dialect {
                Dialect::Json => serde_json::from_slice::<serde_json::Map<_, _>>(body).is_ok(),
                Dialect::Xml => body.windows(13).any(|window| window == b"ErrorResponse"),
            };
            let page = !is_form && !body.trim_ascii().is_empty();
            assert!(!page || error.name == ErrorName::Unnamed, "a page that is no answer names {}", error.name);
        }
        Failure::NotProcessed { retry_after, .. } => assert!(retry_after.is_none_or(|pause| pause.as_secs() < 1 << 40)),
        Failure::Unknown(_) => {}
        Failure::NotSent(_) => panic!("it was sent: {failure}"),
    }
}

fn succeeded(operation: &str, body: &[u8], now: Now) -> Result<(), Unclear> {
    match operation {
        "RegisterClient" => {
            let client = oidc::registered(body, &[], Flow::Device, now)?;
            assert!(!client.client_secret.is_empty() && is_one_line(&client.client_id));
            assert!(client.expires_at > Timestamp::from_millis(0));
        }
        "StartDeviceAuthorization" => {
            let (oidc, start_url) = (endpoint("https://oidc.eu-west-1.amazonaws.com"), "https://d-1.awsapps.com/start");
            let device = oidc::device_authorization(body, &oidc, start_url)?;
            for link in [&device.verification_uri, &device.verification_uri_complete] {
                assert!(is_presentable(link.raw(), &oidc, start_url));
            }
            assert!(!device.expires_in.is_zero() && !device.interval.is_zero() && !device.user_code.is_empty());
        }
        "CreateToken" => {
            let token = oidc::token(body)?;
            let text = token.access_token.expose();
            assert!(HeaderValue::from_str(text).is_ok() && !text.is_empty(), "it has to fit into a header");
        }
        "GetRoleCredentials" | "AssumeRole" => {
            let set = if operation == "AssumeRole" { sts::assumed(body)? } else { portal::role_credentials(body)? };
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte));
            for text in [&set.access_key_id, set.secret_access_key.expose(), set.session_token.expose()] {
                assert!(!text.is_empty() && plain(text), "nothing in it means anything to a shell");
            }
            assert!(set.expires_at > Timestamp::from_millis(0));
        }
        "ListAccounts" => {
            let page = portal::accounts(body)?;
            for account in &page.items {
                let texts = [account.account_name.as_ref(), account.email.as_ref()];
                assert!(texts.into_iter().flatten().all(|text| is_one_line(&text.shown().to_string())));
            }
            assert_ne!(page.next.as_deref(), Some(""), "an empty page token would be asked for again and again");
        }
        "ListAccountRoles" => {
            let account = "111122223333".parse().expect("an account id");
            let page = portal::roles(body, &account)?;
            assert!(page.items.iter().all(|role| role.account_id == account));
            assert_ne!(page.next.as_deref(), Some(""));
        }
        "Logout" => portal::logged_out(body)?,
        _ => {}
    }
    Ok(())
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}
