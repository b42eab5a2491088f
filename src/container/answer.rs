//! What goes back, in the words of the container protocol.
//!
//! Owns: the bodies. Invariants: an answer is complete and may be kept by nobody; it has no header that lets a web page
//! read it; the buffer of one that holds secrets is wiped when it has been written.

use std::io::{self, Write};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

use crate::api::{Code, CredentialDocument, Problem};
use crate::ids::AccountId;
use crate::secret::{Secret, SecretBytes};
use crate::time::Timestamp;

/// What hyper writes.
pub(super) type Answer = hyper::Response<Full<Bytes>>;

/// A set as the container protocol has it: the session token is called `Token`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Set<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a Secret,
    token: &'a Secret,
    expiration: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a AccountId>,
}

/// The same as an instance's metadata has it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceSet<'a> {
    code: &'static str,
    last_updated: Timestamp,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(flatten)]
    set: Set<'a>,
}

impl<'a> Set<'a> {
    const fn of(document: &'a CredentialDocument) -> Self {
        Self {
            access_key_id: document.access_key_id.as_str(),
            secret_access_key: &document.secret_access_key,
            token: &document.session_token,
            expiration: document.expiration,
            account_id: document.account_id.as_ref(),
        }
    }
}

/// Credentials for a container.
pub(super) fn credentials(document: &CredentialDocument) -> Answer {
    of_json(StatusCode::OK, &Set::of(document))
}

/// Credentials for an instance.
pub(super) fn instance_credentials(document: &CredentialDocument, now: Timestamp) -> Answer {
    let set = Set::of(document);
    of_json(StatusCode::OK, &InstanceSet { code: "Success", last_updated: now, kind: "AWS-HMAC", set })
}

/// Lines for a program.
pub(super) fn text(text: &str) -> Answer {
    let body = SecretBytes::new(text.as_bytes().to_vec());
    with_headers(StatusCode::OK, "text/plain", Bytes::from_owner(body))
}

/// A secret that the client is to show from now on.
pub(super) fn secret_text(secret: &Secret) -> Answer {
    text(secret.expose())
}

/// Why there are none: one line, and the stable word. Some SDKs read these members capitalised, others do not.
pub(super) fn problem(problem: &Problem) -> Answer {
    // A code that is an end of a sign-in has no status of an error.
    let status = StatusCode::from_u16(problem.status).ok().filter(|status| status.as_u16() >= 400);
    let mut answer =
        refusal(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), problem.code.as_str(), &problem.to_string());
    if let Some(pause) = problem.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause));
    }
    answer
}

/// What somebody is told who gets nothing.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Refusal<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(rename = "Code")]
        capital_code: &'a str,
        #[serde(rename = "Message")]
        capital_message: &'a str,
    }
    of_json(status, &Refusal { code, message, capital_code: code, capital_message: message })
}

/// The methods there are, for who used another.
pub(super) fn allow(mut answer: Answer, methods: &[Method]) -> Answer {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        answer.headers_mut().insert(ALLOW, names);
    }
    answer
}

/// For whom nobody answers within the time there is.
pub(super) fn too_slow() -> Answer {
    problem(&Problem::new(Code::Timeout, "the credentials did not come in time"))
}

fn of_json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = encode(value).unwrap_or_default();
    with_headers(status, "application/json", Bytes::from_owner(body))
}

/// Measured first, because every buffer that is outgrown would be a copy of secrets that nobody wipes.
fn encode(value: &impl Serialize) -> serde_json::Result<SecretBytes> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value)?;
    let mut bytes = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut bytes, value)?;
    Ok(SecretBytes::new(bytes))
}

struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_headers(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Answer::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    fn document() -> CredentialDocument {
        CredentialDocument {
            version: 1,
            access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
            secret_access_key: Secret::new("sk".to_owned()),
            session_token: Secret::new("st".to_owned()),
            expiration: Timestamp::from_millis(1_700_000_000_999),
            account_id: Some("111122223333".parse().unwrap()),
        }
    }

    fn body(answer: Answer) -> Value {
        let body =
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer.into_body().collect());
        serde_json::from_slice(&body.unwrap().to_bytes()).unwrap()
    }

    #[test]
    fn a_set_has_the_containers_names_and_a_time_that_every_sdk_reads() {
        let expected = json!({
            "AccessKeyId": "ASIAEXAMPLEEXAMPLE00", "SecretAccessKey": "sk", "Token": "st",
            "Expiration": "2023-11-14T22:13:20Z", "AccountId": "111122223333",
        });
        assert_eq!(body(credentials(&document())), expected);
        let without = body(credentials(&CredentialDocument { account_id: None, ..document() }));
        assert_eq!(without.get("AccountId"), None, "absent, not null");
        let of_instance = body(instance_credentials(&document(), Timestamp::from_secs(1_700_000_000)));
        assert_eq!((&of_instance["Code"], &of_instance["Type"]), (&json!("Success"), &json!("AWS-HMAC")));
        assert_eq!(of_instance["Token"], "st");
    }

    #[test]
    fn a_problem_is_told_in_both_spellings_and_with_its_own_status() {
        let locked = problem(&Problem::new(Code::Locked, "the agent is locked").hint("sso-agent unlock"));
        assert_eq!(locked.status(), 423);
        let told = body(locked);
        assert_eq!((&told["code"], &told["Code"]), (&json!("locked"), &json!("locked")));
        assert_eq!(told["Message"], "the agent is locked; sso-agent unlock");
        assert_eq!(problem(&Problem::new(Code::SignInExpired, "x")).status(), 500, "no success without credentials");
    }

    #[test]
    fn no_answer_may_be_kept_or_read_by_a_page() {
        for answer in [credentials(&document()), text("x"), refusal(StatusCode::FORBIDDEN, "forbidden", "no")] {
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
            assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control-")));
        }
    }
}
