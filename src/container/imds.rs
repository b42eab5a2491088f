//! An instance's metadata, version 2, as far as it leads to credentials: for clients that know no other way.
//!
//! Owns: the tokens of that protocol, the paths, and the one role. Invariants: there is no version 1, so a request that
//! somebody can be tricked into making gets nothing; a token is good for the address that fetched it, for the time that
//! was asked for, and not after a restart. Whoever can send a request with two headers of their own gets the credentials:
//! the protocol knows no secret, which is why this is there only where the settings say so.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use std::future::Future;
use std::sync::Arc;

use super::answer::{self, Answer};
use super::door::Desk;
use super::token::{Mark, Token};
use crate::api::{CredentialDocument, Problem};
use crate::clock::Clock;
use crate::time::Mono;

/// The one role that is handed out.
pub trait Role: Send + Sync + 'static {
    /// What it is called.
    fn name(&self) -> &str;

    /// Its credentials.
    fn credentials(&self) -> impl Future<Output = Result<Arc<CredentialDocument>, Problem>> + Send;
}

/// Answers as an instance's metadata would.
pub struct Metadata<R> {
    role: R,
    clock: Arc<dyn Clock>,
    tokens: Mutex<VecDeque<Fetched>>,
}

/// A token that somebody has fetched.
struct Fetched {
    mark: Mark,
    by: IpAddr,
    until: Mono,
}

impl<R: Role> Metadata<R> {
    /// With this role and no other.
    #[must_use]
    pub fn new(role: R, clock: Arc<dyn Clock>) -> Self {
        Self { role, clock, tokens: Mutex::default() }
    }

    fn fetch_token(&self, request: &Parts, from: IpAddr) -> Answer {
        let asked = request.headers.get(LIFETIME).and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(seconds) = asked.filter(|seconds| (1..=MOST_SECONDS).contains(seconds)) else {
            return answer::refusal(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the token's lifetime is 1 to 21600 seconds",
            );
        };
        let Some(token) = Token::random() else {
            return answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the system has no randomness");
        };
        let now = self.clock.now().mono;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|fetched| now < fetched.until);
        if tokens.len() >= MOST_TOKENS {
            tokens.pop_front();
        }
        let until = now.after(Duration::from_secs(seconds.into()));
        tokens.push_back(Fetched { mark: token.mark(), by: from, until });
        let mut answer = answer::secret_text(token.text());
        answer.headers_mut().insert(LIFETIME, HeaderValue::from(seconds));
        answer
    }

    fn knows(&self, request: &Parts, from: IpAddr) -> bool {
        let mut shown = request.headers.get_all(TOKEN).iter();
        let Some(mark) = shown.next().map(|shown| Mark::of(shown.as_bytes())) else { return false };
        let now = self.clock.now().mono;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |fetched: &Fetched| fetched.mark == mark && fetched.by == from && now < fetched.until;
        shown.next().is_none() && tokens.iter().any(known)
    }
}

impl<R: Role> Desk for Metadata<R> {
    const METHODS: &'static [Method] = &[Method::GET, Method::PUT];

    async fn answer(&self, request: Parts, from: IpAddr) -> Answer {
        let path = request.uri.path();
        if request.method == Method::PUT {
            return match path {
                TOKENS => self.fetch_token(&request, from),
                _ => nothing_here(),
            };
        }
        if !self.knows(&request, from) {
            return answer::refusal(StatusCode::UNAUTHORIZED, "unauthorized", "fetch a token with PUT first");
        }
        let Some(rest) = path.strip_prefix(CREDENTIALS) else { return nothing_here() };
        match rest.strip_prefix('/').unwrap_or(rest) {
            "" => answer::text(self.role.name()),
            name if name == self.role.name() && rest.starts_with('/') => match self.role.credentials().await {
                Ok(document) => answer::instance_credentials(&document, self.clock.now().wall),
                Err(problem) => answer::problem(&problem),
            },
            _ => nothing_here(),
        }
    }
}

fn nothing_here() -> Answer {
    answer::refusal(StatusCode::NOT_FOUND, "not_found", "there are credentials here and nothing else")
}

const TOKENS: &str = "/latest/api/token";
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials";
const LIFETIME: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// Six hours, as in the original.
const MOST_SECONDS: u32 = 21_600;
/// A process fetches one; when there are more, the oldest has to be fetched anew.
const MOST_TOKENS: usize = 512;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::secret::Secret;
    use crate::time::{Now, Timestamp};

    struct Reader;

    impl Role for Reader {
        fn name(&self) -> &str {
            "ReadOnly"
        }

        async fn credentials(&self) -> Result<Arc<CredentialDocument>, Problem> {
            Ok(Arc::new(CredentialDocument {
                version: 1,
                access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
                secret_access_key: Secret::new("sk".to_owned()),
                session_token: Secret::new("st".to_owned()),
                expiration: Timestamp::from_secs(1_700_000_000),
                account_id: None,
            }))
        }
    }

    #[derive(Default)]
    struct Hands(Mutex<Duration>);

    impl Clock for Hands {
        fn now(&self) -> Now {
            let passed = *self.0.lock().unwrap();
            Now { wall: Timestamp::from_secs(0).after(passed), mono: Mono::from_start(passed) }
        }
    }

    struct Desktop(Metadata<Reader>, Arc<Hands>);

    impl Desktop {
        fn new() -> Self {
            let hands = Arc::new(Hands::default());
            Self(Metadata::new(Reader, Arc::clone(&hands) as Arc<dyn Clock>), hands)
        }

        fn ask(&self, method: &str, path: &str, headers: &[(&HeaderName, &str)], from: [u8; 4]) -> (u16, String) {
            let mut request = http::Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let parts = request.body(()).unwrap().into_parts().0;
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
                let answer = self.0.answer(parts, IpAddr::from(from)).await;
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.into()).unwrap())
            })
        }

        fn token(&self) -> String {
            let (status, token) = self.ask("PUT", TOKENS, &[(&LIFETIME, "60")], HERE);
            assert_eq!(status, 200, "{token}");
            token
        }
    }

    const HERE: [u8; 4] = [127, 0, 0, 1];

    #[test]
    fn a_client_that_asks_twice_gets_the_one_role() {
        let desktop = Desktop::new();
        let token = desktop.token();
        let get = |path: &str| desktop.ask("GET", path, &[(&TOKEN, &token)], HERE);
        for list in [CREDENTIALS, "/latest/meta-data/iam/security-credentials/"] {
            assert_eq!(get(list), (200, "ReadOnly".to_owned()));
        }
        let (status, body) = get("/latest/meta-data/iam/security-credentials/ReadOnly");
        assert!(status == 200 && body.contains(r#""Code":"Success""#) && body.contains(r#""Token":"st""#), "{body}");
        for other in
            ["security-credentials/Admin", "security-credentialsReadOnly", "security-credentials-extended/", "info"]
        {
            assert_eq!(get(&format!("/latest/meta-data/iam/{other}")).0, 404, "{other}");
        }
    }

    #[test]
    fn there_is_no_first_version_and_a_token_is_its_fetchers_for_its_time() {
        let desktop = Desktop::new();
        assert_eq!(desktop.ask("GET", CREDENTIALS, &[], HERE).0, 401);
        let token = desktop.token();
        assert_eq!(desktop.ask("GET", CREDENTIALS, &[(&TOKEN, &token)], [172, 17, 0, 2]).0, 401, "another address");
        assert_eq!(desktop.ask("GET", CREDENTIALS, &[(&TOKEN, "guess")], HERE).0, 401);
        assert_eq!(desktop.ask("GET", CREDENTIALS, &[(&TOKEN, &token)], HERE).0, 200);
        *desktop.1.0.lock().unwrap() += Duration::from_secs(60);
        assert_eq!(desktop.ask("GET", CREDENTIALS, &[(&TOKEN, &token)], HERE).0, 401, "over");
    }

    #[test]
    fn a_token_has_a_lifetime() {
        let desktop = Desktop::new();
        assert_eq!(desktop.ask("PUT", TOKENS, &[], HERE).0, 400);
        for wrong in ["0", "21601", "x", "-1", ""] {
            assert_eq!(desktop.ask("PUT", TOKENS, &[(&LIFETIME, wrong)], HERE).0, 400, "{wrong}");
        }
        assert_eq!(desktop.ask("PUT", "/latest/api/other", &[(&LIFETIME, "60")], HERE).0, 404);
    }
}
