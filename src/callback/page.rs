//! The page that the browser shows in the end: one template, our own words, nothing that runs or is fetched.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use sha2::{Digest, Sha256};

use super::Verdict;
use crate::ids::SessionName;
use crate::untrusted::shown;

/// An answer, whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// To the place where the user signs in, or back to it.
pub(super) fn redirect(to: &str, cookie: Option<&str>) -> Answer {
    let mut answer = guarded(StatusCode::SEE_OTHER, Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(LOCATION, to.parse().expect("it was percent-encoded"));
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie.parse().expect("it is of our making"));
    }
    answer
}

/// To whatever is none of ours.
pub(super) fn nothing() -> Answer {
    page(StatusCode::NOT_FOUND, "idle", "Nothing here", "<p>There is nothing at this address.</p>")
}

/// The header is longer than that of any browser that comes back from a sign-in.
pub(super) fn too_large() -> Answer {
    let text = "<p>Your browser sent more than this address takes.</p>";
    page(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "bad", "Request too large", text)
}

/// To whoever opens the short link after somebody else has.
pub(super) fn used() -> Answer {
    let text = "<p>A sign-in link opens once, in one browser, and this one was opened before.</p>\n\
        <p>If that was not you, cancel the sign-in: it may be somebody else's. \
        Otherwise go on in the browser that opened it, or run <code>sso-agent login</code> again.</p>";
    page(StatusCode::GONE, "bad", "This link was used already", text)
}

/// What became of the sign-in.
pub(super) fn of(verdict: &Verdict, session: &SessionName) -> Answer {
    match verdict {
        Verdict::SignedIn => {
            let session = escaped(shown(session.as_str()));
            let text =
                format!("<p>You are signed in to session <strong>{session}</strong>. You can close this window.</p>");
            page(StatusCode::OK, "good", "Signed in", &text)
        }
        Verdict::Failed(reason) => {
            let mut rest = reason.chars();
            let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
            let reason = escaped(shown(&format!("{first}{}", rest.as_str())));
            let text = format!(
                "<p>{reason}.</p>\n<p>The program that asked for the sign-in may know more. You can close this window. \
                 To try again, run <code>sso-agent login</code>.</p>"
            );
            page(StatusCode::OK, "bad", "Sign-in failed", &text)
        }
        Verdict::Closed => {
            let text = "<p>Nobody waits for this sign-in any more: it was cancelled, it took too long, or a newer one \
                took its place.</p>\n<p>You can close this window. To try again, run <code>sso-agent login</code>.</p>";
            page(StatusCode::GONE, "bad", "Not signed in", text)
        }
    }
}

/// As long as that is not known. Asks again by itself, which shows what is known then.
pub(super) fn not_yet(session: &SessionName) -> Answer {
    let session = escaped(shown(session.as_str()));
    let text = format!(
        "<p>Your approval has arrived, and the agent is fetching the tokens of session <strong>{session}</strong>.</p>\n\
         <p>This page looks again by itself.</p>"
    );
    filled(StatusCode::OK, "busy", "Signing in", &text, REFRESH)
}

fn page(status: StatusCode, kind: &str, title: &str, text: &str) -> Answer {
    filled(status, kind, title, text, "")
}

fn filled(status: StatusCode, kind: &str, title: &str, text: &str, refresh: &str) -> Answer {
    // What comes from elsewhere is in the text, and that is filled in last.
    let html = TEMPLATE
        .replace("{refresh}", refresh)
        .replace("{title}", title)
        .replace("{kind}", kind)
        .replace("{text}", text);
    let mut answer = guarded(status, html.into());
    answer.headers_mut().insert(CONTENT_TYPE, "text/html; charset=utf-8".parse().expect("it is a header"));
    answer
}

/// Nothing is fetched, run, framed, sent on, kept or guessed at.
fn guarded(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(style()))
    );
    let headers = [
        (CONTENT_SECURITY_POLICY, policy.as_str()),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, value.parse().expect("it is a header"));
    }
    answer
}

fn style() -> &'static str {
    let (_, rest) = TEMPLATE.split_once("<style>").expect("the template has a style");
    rest.split_once("</style>").expect("it ends").0
}

fn escaped(text: impl Display) -> String {
    let mut html = String::new();
    for character in text.to_string().chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

const TEMPLATE: &str = include_str!("page.html");
const REFRESH: &str = "\n<meta http-equiv=\"refresh\" content=\"2\">";
