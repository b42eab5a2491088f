//! Who has come, and what that means: the rules of the callback, without connections.
//!
//! Invariant: the sign-in gets one answer, and only from the browser that opened the short link first, with the `state`
//! that it was sent away with. Whatever else comes changes nothing.

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::pkce;
use super::{Arrival, AuthorizationCode, ListenError, Plan};
use crate::secret::Secret;
use crate::untrusted::Untrusted;

/// What one sign-in expects, and how far it is.
pub(super) struct Gate {
    /// `127.0.0.1:PORT`.
    host: String,
    /// `/` and 128 random bits.
    landing: String,
    cookie_name: String,
    cookie_value: String,
    state: String,
    authorize_url: String,
    opened: bool,
    /// Given away with the answer.
    awaiting: Option<Awaiting>,
}

struct Awaiting {
    verifier: Secret,
    redirect_uri: String,
}

/// What a visit comes to.
pub(super) enum Visit {
    /// Nothing of ours.
    Stranger,
    /// The short link, opened before by somebody else.
    TooLate,
    /// To the service, for the first time with a cookie.
    Leave { to: String, cookie: Option<String> },
    /// The answer.
    Return(Arrival),
    /// The answer was here before: let it see what became of it.
    Again,
}

impl Gate {
    pub(super) fn new(plan: &Plan, port: u16) -> Result<Self, ListenError> {
        let verifier = pkce::verifier()?;
        let state = pkce::name()?;
        let redirect_uri = format!("http://127.0.0.1:{port}{CALLBACK}");
        let authorize_url = authorize_url(plan, &redirect_uri, &state, &pkce::challenge(&verifier));
        Ok(Self {
            host: format!("127.0.0.1:{port}"),
            landing: format!("/{}", pkce::name()?),
            cookie_name: format!("sso-agent-{}", pkce::name()?),
            cookie_value: pkce::name()?,
            state,
            authorize_url,
            opened: false,
            awaiting: Some(Awaiting { verifier, redirect_uri }),
        })
    }

    /// The short link.
    pub(super) fn landing(&self) -> String {
        format!("http://{}{}", self.host, self.landing)
    }

    /// Judges a request.
    pub(super) fn visit(&mut self, request: &Parts) -> Visit {
        if request.method != Method::GET || !self.is_at_home(request) {
            return Visit::Stranger;
        }
        let known = self.is_known(&request.headers);
        match request.uri.path() {
            CALLBACK if known => self.callback(request.uri.query().unwrap_or_default()),
            path if !pkce::is_same(path, &self.landing) => Visit::Stranger,
            _ if request.uri.query().is_some() => Visit::Stranger,
            _ if !self.opened => {
                self.opened = true;
                let cookie = format!(
                    "{}={}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax",
                    self.cookie_name, self.cookie_value
                );
                Visit::Leave { to: self.authorize_url.clone(), cookie: Some(cookie) }
            }
            _ if !known => Visit::TooLate,
            _ if self.awaiting.is_none() => Visit::Again,
            _ => Visit::Leave { to: self.authorize_url.clone(), cookie: None },
        }
    }

    /// Whether the request was meant for this address, as a browser writes it. A name that leads to 127.0.0.1 (which
    /// somebody else may own) is another address.
    fn is_at_home(&self, request: &Parts) -> bool {
        let mut hosts = request.headers.get_all(HOST).iter();
        let host = hosts.next().is_some_and(|host| host.as_bytes() == self.host.as_bytes());
        host && hosts.next().is_none() && request.uri.authority().is_none()
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut ours = pairs.filter(|(name, _)| *name == self.cookie_name);
        let known = ours.next().is_some_and(|(_, value)| pkce::is_same(value, &self.cookie_value));
        known && ours.next().is_none()
    }

    fn callback(&mut self, query: &str) -> Visit {
        let Some(parameters) = Parameters::parse(query) else { return Visit::Stranger };
        if !parameters.state.is_some_and(|state| pkce::is_same(&state, &self.state)) {
            return Visit::Stranger;
        }
        let arrival = match (parameters.code, parameters.error) {
            (Some(code), None) if is_visible_ascii(&code) => Ok(Secret::new(code)),
            (None, Some(error)) if !error.is_empty() => Err(Untrusted::new(error)),
            _ => return Visit::Stranger,
        };
        let Some(Awaiting { verifier, redirect_uri }) = self.awaiting.take() else { return Visit::Again };
        Visit::Return(match arrival {
            Ok(code) => Arrival::Code(AuthorizationCode { code, verifier, redirect_uri }),
            Err(error) => {
                let description = Untrusted::new(parameters.error_description.unwrap_or_default());
                Arrival::Refused { error, description }
            }
        })
    }
}

/// What matters in the query of a callback.
#[derive(Default)]
struct Parameters {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Parameters {
    /// Reads a query in which no parameter occurs twice, as form encoding has it; others are passed over.
    fn parse(query: &str) -> Option<Self> {
        let mut parameters = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match decoded(name)?.as_str() {
                "code" => &mut parameters.code,
                "state" => &mut parameters.state,
                "error" => &mut parameters.error,
                "error_description" => &mut parameters.error_description,
                _ => continue,
            };
            if place.replace(decoded(value)?).is_some() {
                return None;
            }
        }
        Some(parameters)
    }
}

fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned())
}

/// What a code may consist of by RFC 6749.
fn is_visible_ascii(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// As the service was seen to be asked: `scopes` in the plural, and the challenge last.
fn authorize_url(plan: &Plan, redirect_uri: &str, state: &str, challenge: &str) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    format!(
        "{}/authorize?response_type=code&client_id={}&redirect_uri={}&state={}&code_challenge_method=S256&scopes={}\
         &code_challenge={}",
        plan.oidc,
        encoded(&plan.client_id),
        encoded(redirect_uri),
        encoded(state),
        encoded(&plan.scopes.join(" ")),
        encoded(challenge),
    )
}

/// Where the service sends the browser back to; part of what a client registers.
const CALLBACK: &str = "/oauth/callback";
/// Longer than a sign-in is waited for. Each has a cookie of its own, and they shall not pile up.
const COOKIE_SECONDS: u32 = 3600;
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAIRS: &AsciiSet = &RESERVED.remove(b'&').remove(b'=');

    fn gate() -> Gate {
        let plan = Plan {
            oidc: "https://oidc.eu-west-1.amazonaws.com".parse().unwrap(),
            client_id: "id".to_owned(),
            scopes: vec!["sso:account:access".to_owned()],
            port: None,
            session: "corp".parse().unwrap(),
        };
        Gate::new(&plan, 1234).unwrap()
    }

    /// A request of the browser that has the cookie.
    fn request(gate: &Gate, target: &str) -> Option<Parts> {
        let cookie = format!("{}={}", gate.cookie_name, gate.cookie_value);
        let request = http::Request::get(target).header(HOST, "127.0.0.1:1234").header(COOKIE, cookie).body(());
        Some(request.ok()?.into_parts().0)
    }

    proptest! {
        #[test]
        fn without_the_state_no_query_counts(query in "[a-z_=&%+0-9A-F;\\[\\]]{0,80}|((code|state|error|%63ode)=[a-f0-9%]{0,40}&?){0,5}") {
            let mut gate = gate();
            for target in [format!("/oauth/callback?{query}"), format!("/{query}"), query] {
                let Some(request) = request(&gate, &target) else { continue };
                prop_assert!(matches!(gate.visit(&request), Visit::Stranger));
            }
        }

        #[test]
        fn with_it_a_code_comes_out_as_it_went_in(code in "[ -~]{1,200}", others in "(&[f-z]{1,5}=[^&=#]{0,9}){0,3}") {
            let mut gate = gate();
            let encoded = utf8_percent_encode(&code, RESERVED);
            let others = utf8_percent_encode(&others, PAIRS);
            let target = format!("/oauth/callback?code={encoded}&state={}{others}", gate.state);
            let request = request(&gate, &target).unwrap();
            let visit = gate.visit(&request);
            let Visit::Return(Arrival::Code(arrived)) = visit else { panic!("it does not count") };
            prop_assert_eq!(arrived.code, Secret::new(code));
            prop_assert!(matches!(gate.visit(&request), Visit::Again));
        }
    }
}
