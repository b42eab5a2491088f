//! Credentials for who has the token: the container protocol of the AWS SDKs.
//!
//! Owns: reading `Authorization`, wrong tokens, what there is at which path. Refuses to know where credentials come
//! from: that is its [`Source`]. Invariant: a token leads to one target and to nothing that tells about others.

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode};

use super::answer::{self, Answer};
use super::door::Desk;
use super::guesses::{Guesses, MINUTE};
use super::token::Mark;
use crate::api::{CredentialDocument, Problem};
use crate::clock::Clock;

/// Where credentials come from.
pub trait Source: Send + Sync + 'static {
    /// What a token is good for.
    type Pass: Send + Sync;

    /// What the token of this mark is good for; none where there is no such token, or no more.
    fn admit(&self, shown: &Mark) -> Option<Self::Pass>;

    /// The credentials that the pass is for.
    fn credentials(&self, pass: &Self::Pass) -> impl Future<Output = Result<Arc<CredentialDocument>, Problem>> + Send;
}

/// Answers who has a token.
pub struct Tokens<S> {
    source: S,
    clock: Arc<dyn Clock>,
    guesses: Mutex<Guesses>,
}

impl<S: Source> Tokens<S> {
    /// Answers with what this source has.
    #[must_use]
    pub fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, guesses: Mutex::default() }
    }

    fn wrong(&self) -> Answer {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if !guesses.note(self.clock.now().mono) {
            return answer::refusal(StatusCode::UNAUTHORIZED, "invalid_token", "no such token is known here");
        }
        let mut answer =
            answer::refusal(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_tokens", "too many wrong tokens a minute");
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(MINUTE.as_secs()));
        answer
    }
}

impl<S: Source> Desk for Tokens<S> {
    const METHODS: &'static [Method] = &[Method::GET];

    async fn answer(&self, request: Parts, from: IpAddr) -> Answer {
        let mut shown = request.headers.get_all(AUTHORIZATION).iter();
        let pass = shown.next().and_then(|shown| self.source.admit(&Mark::of(shown.as_bytes())));
        let Some(pass) = pass.filter(|_| shown.next().is_none()) else {
            tracing::warn!(%from, "a request to an endpoint for containers had no token that is known");
            return self.wrong();
        };
        // Who has no token is not told what there is.
        if request.uri.path() != PATH {
            return answer::refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing but /credentials here");
        }
        match self.source.credentials(&pass).await {
            Ok(document) => answer::credentials(&document),
            Err(problem) => answer::problem(&problem),
        }
    }
}

/// The one path.
pub const PATH: &str = "/credentials";

#[cfg(test)]
mod tests {
    use super::super::token::Token;
    use super::*;
    use crate::api::Code;
    use crate::clock::SystemClock;
    use crate::secret::Secret;
    use crate::time::Timestamp;

    struct One(Mark, Result<Arc<CredentialDocument>, Problem>);

    impl Source for One {
        type Pass = ();

        fn admit(&self, shown: &Mark) -> Option<()> {
            (self.0 == *shown).then_some(())
        }

        async fn credentials(&self, (): &()) -> Result<Arc<CredentialDocument>, Problem> {
            self.1.clone()
        }
    }

    fn desk(outcome: Result<Arc<CredentialDocument>, Problem>) -> (Tokens<One>, Token) {
        let token = Token::random().unwrap();
        (Tokens::new(One(token.mark(), outcome), Arc::new(SystemClock)), token)
    }

    fn document() -> Arc<CredentialDocument> {
        Arc::new(CredentialDocument {
            version: 1,
            access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
            secret_access_key: Secret::new("sk".to_owned()),
            session_token: Secret::new("st".to_owned()),
            expiration: Timestamp::from_secs(1_700_000_000),
            account_id: None,
        })
    }

    fn asked(desk: &Tokens<One>, path: &str, tokens: &[&str]) -> u16 {
        let mut request = http::Request::get(path);
        for token in tokens {
            request = request.header(AUTHORIZATION, *token);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(desk.answer(parts, IpAddr::from([127, 0, 0, 1]))).status().as_u16()
    }

    #[test]
    fn who_has_the_token_gets_the_set_and_nobody_else_hears_anything() {
        let (desk, token) = desk(Ok(document()));
        let right = token.text().expose();
        assert_eq!(asked(&desk, PATH, &[right]), 200);
        for wrong in [&[][..], &["x"], &[""], &[&format!("Bearer {right}")], &[right, right], &[&right[1..]]] {
            assert_eq!(asked(&desk, PATH, wrong), 401, "{}", wrong.len());
        }
        assert_eq!(asked(&desk, "/", &[right]), 404);
        assert_eq!(asked(&desk, "/", &["x"]), 401, "not even what there is");
    }

    #[test]
    fn who_tries_tokens_out_is_told_to_wait_and_the_right_one_is_let_in_all_the_same() {
        let (desk, token) = desk(Ok(document()));
        for _ in 0..20 {
            assert_eq!(asked(&desk, PATH, &["guess"]), 401);
        }
        assert_eq!(asked(&desk, PATH, &["guess"]), 429);
        assert_eq!(asked(&desk, PATH, &[token.text().expose()]), 200);
    }

    #[test]
    fn what_the_agent_says_is_passed_on() {
        for (code, status) in [(Code::Locked, 423), (Code::SignInRequired, 401), (Code::Unavailable, 503)] {
            let (desk, token) = desk(Err(Problem::new(code, "x")));
            assert_eq!(asked(&desk, PATH, &[token.text().expose()]), status);
        }
    }
}
