//! What a response means for a request that did not succeed.
//!
//! Owns: the table from status, headers and body to [`Failure`], the error's name and words, and `Retry-After`. Refuses
//! to know which operation was asked for. Invariants: nothing is decided by a message's text; a name counts only in a
//! response that has the service's form, so that a proxy's page never ends a session.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::http::Response;
use super::{Failure, ServiceTime, Unclear, sts};
use crate::identity_center::{ErrorName, ServiceError};
use crate::time::Timestamp;
use crate::untrusted::Untrusted;

/// What came of a request that was answered at all.
pub(super) struct Verdict {
    /// A success's body, or why it is none.
    pub(super) body: Result<zeroize::Zeroizing<Vec<u8>>, Failure>,
    /// Whether the service itself named the error.
    pub(super) named: bool,
}

/// In which words a service says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// JSON: sso-oidc and the portal.
    Json,
    /// XML: STS.
    Xml,
}

/// Judges a response. A 2xx is a success as far as HTTP goes; its body is the parser's affair.
pub(super) fn judge(response: Response, dialect: Dialect) -> Verdict {
    let Response { status, headers, body, received, .. } = response;
    if status.is_success() {
        return Verdict { body: body.map_err(Failure::Unknown), named: false };
    }
    let words = body.as_deref().map_or(b"".as_slice(), Vec::as_slice);
    let error = match dialect {
        Dialect::Json => service_error(status, &headers, words),
        Dialect::Xml => sts::service_error(status, words),
    };
    let named = !matches!(error.name, ErrorName::Other(_) | ErrorName::Unnamed);
    let throttled = status == StatusCode::TOO_MANY_REQUESTS
        || matches!(error.name, ErrorName::SlowDown | ErrorName::TooManyRequests);
    let retry_after = retry_after(&headers, received.wall);
    let asks_to_come_back = status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(RETRY_AFTER);
    let failure = if throttled || status.is_redirection() || asks_to_come_back {
        Failure::NotProcessed { status: status.as_u16(), throttled, retry_after }
    } else if !status.is_client_error() || error.name == ErrorName::InternalServer {
        Failure::Unknown(Unclear::ServerError(status.as_u16()))
    } else {
        match body {
            Ok(_) => Failure::Refused(error),
            // No answer of the service is that large, but somebody on the way refused the request.
            Err(Unclear::TooLarge) => Failure::Refused(unnamed(status)),
            Err(incomplete) => Failure::Unknown(incomplete),
        }
    };
    Verdict { body: Err(failure), named }
}

/// The service's clock beside ours at the midpoint of the request; no cache may have aged the answer.
pub(super) fn service_time(response: &Response) -> Option<ServiceTime> {
    if response.headers.contains_key(AGE) {
        return None;
    }
    ServiceTime::between(date(&response.headers)?, response.sent, response.received)
}

fn service_error(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ServiceError {
    let body = body.trim_ascii();
    let members = if body.is_empty() {
        Map::new()
    } else {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => members,
            _ => return unnamed(status),
        }
    };
    let header = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok()).filter(|name| !name.is_empty());
    let name = header
        .or_else(|| text(&members, &["__type", "code", "Code"]))
        .map(ErrorName::from_type)
        .or_else(|| text(&members, &["error"]).map(ErrorName::from_oauth))
        .unwrap_or(ErrorName::Unnamed);
    let message = text(&members, &["error_description", "message", "Message"]).unwrap_or_default();
    ServiceError { name, status: status.as_u16(), message: Untrusted::new(cut(message)) }
}

fn unnamed(status: StatusCode) -> ServiceError {
    ServiceError { name: ErrorName::Unnamed, status: status.as_u16(), message: Untrusted::default() }
}

/// The first of the members that is a text with something in it.
fn text<'a>(members: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    names.iter().filter_map(|name| members.get(*name)?.as_str()).find(|text| !text.is_empty())
}

/// A failure is remembered and shared; a megabyte of foreign words need not be.
pub(super) fn cut(message: &str) -> &str {
    match message.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => &message[..end],
        None => message,
    }
}

/// Seconds, or a date relative to the response's own clock where it has one.
fn retry_after(headers: &HeaderMap, received: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let then = timestamp(httpdate::parse_http_date(value).ok()?);
    Some(then.since(date(headers).unwrap_or(received)))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok().map(timestamp)
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(0).after(since_epoch)
}

const ERROR_TYPE: &str = "x-amzn-errortype";
const MOST_CHARACTERS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Mono, Now};

    fn response(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Response {
        let now = |millis| Now { wall: Timestamp::from_millis(millis), mono: Mono::default() };
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            body: Ok(body.as_bytes().to_vec().into()),
            sent: now(1_700_000_000_000),
            received: now(1_700_000_000_400),
        }
    }

    fn failure(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Failure {
        judge(response(status, headers, body), Dialect::Json).body.unwrap_err()
    }

    #[test]
    fn an_answer_without_a_decision_of_the_service_is_not_processed() {
        for status in [301, 302, 304, 307] {
            let expected = Failure::NotProcessed { status, throttled: false, retry_after: None };
            assert_eq!(failure(status, &[("location", "http://127.0.0.1:1/")], ""), expected);
        }
        let wait = Some(Duration::from_secs(7));
        for (status, headers, throttled, retry_after) in [
            (429, vec![], true, None),
            (429, vec![("retry-after", "7")], true, wait),
            (503, vec![("retry-after", "7")], false, wait),
            (503, vec![("retry-after", "soon")], false, None),
            (400, vec![("x-amzn-errortype", "SlowDownException"), ("retry-after", "7")], true, wait),
            (500, vec![("x-amzn-errortype", "SlowDownException")], true, None),
            (400, vec![("x-amzn-errortype", "a.b#TooManyRequestsException:http://x/")], true, None),
        ] {
            let expected = Failure::NotProcessed { status, throttled, retry_after };
            assert_eq!(failure(status, &headers, "{}"), expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date_on_the_services_clock() {
        let date = ("retry-after", "Tue, 14 Nov 2023 22:15:20 GMT");
        let ours = failure(429, &[date], "");
        // 22:15:20 is 119.6 s after the answer came, by our clock.
        let expected = Some(Duration::from_millis(119_600));
        assert_eq!(ours, Failure::NotProcessed { status: 429, throttled: true, retry_after: expected });
        let theirs = failure(429, &[date, ("date", "Tue, 14 Nov 2023 22:15:10 GMT")], "");
        let expected = Some(Duration::from_secs(10));
        assert_eq!(theirs, Failure::NotProcessed { status: 429, throttled: true, retry_after: expected });
        let past = failure(429, &[date, ("date", "Tue, 14 Nov 2023 23:15:10 GMT")], "");
        assert_eq!(past, Failure::NotProcessed { status: 429, throttled: true, retry_after: Some(Duration::ZERO) });
    }

    #[test]
    fn a_server_error_leaves_open_what_happened() {
        for status in [500, 501, 502, 503, 504, 509] {
            assert_eq!(failure(status, &[], "<html>busy</html>"), Failure::Unknown(Unclear::ServerError(status)));
        }
        let internal = failure(400, &[("x-amzn-errortype", "InternalServerException")], "{}");
        assert_eq!(internal, Failure::Unknown(Unclear::ServerError(400)));
        let grant = failure(500, &[("x-amzn-errortype", "InvalidGrantException")], "{}");
        assert_eq!(grant, Failure::Unknown(Unclear::ServerError(500)));
    }

    #[test]
    fn a_page_of_a_proxy_never_carries_a_name_of_the_service() {
        for body in ["<html>no</html>", "no", "[]", "\"InvalidGrantException\"", "{\"error\":\"invalid_grant\""] {
            let refused = failure(400, &[("x-amzn-errortype", "InvalidGrantException")], body);
            let Failure::Refused(error) = refused else { panic!("{refused:?}") };
            assert_eq!(error.name, ErrorName::Unnamed, "{body}");
        }
    }

    #[test]
    fn half_an_error_is_of_unknown_fate_and_a_huge_one_has_no_name() {
        let mut broken = response(400, &[("x-amzn-errortype", "InvalidGrantException")], "");
        broken.body = Err(Unclear::Broken("reset".into()));
        assert_eq!(judge(broken, Dialect::Json).body.unwrap_err(), Failure::Unknown(Unclear::Broken("reset".into())));
        let mut huge = response(403, &[("x-amzn-errortype", "InvalidGrantException")], "");
        huge.body = Err(Unclear::TooLarge);
        let Failure::Refused(error) = judge(huge, Dialect::Json).body.unwrap_err() else { panic!() };
        assert_eq!(error.name, ErrorName::Unnamed);
    }

    #[test]
    fn the_services_clock_is_compared_at_the_midpoint_and_never_through_a_cache() {
        let date = ("date", "Tue, 14 Nov 2023 22:13:30 GMT");
        let fresh = service_time(&response(200, &[date], "{}")).unwrap();
        assert_eq!(fresh.service, Timestamp::from_secs(1_700_000_010));
        assert_eq!(fresh.ours, Timestamp::from_millis(1_700_000_000_200));
        assert_eq!(service_time(&response(200, &[date, ("age", "0")], "{}")), None);
        assert_eq!(service_time(&response(200, &[("date", "yesterday")], "{}")), None);
    }

    #[test]
    fn a_request_through_a_suspend_or_a_set_clock_says_nothing_about_the_services_clock() {
        let date = ("date", "Tue, 14 Nov 2023 22:13:30 GMT");
        let after = |wall_millis: i64, mono: u64| {
            let mut response = response(200, &[date], "{}");
            let mono = Mono::default().after(Duration::from_millis(mono));
            response.received = Now { wall: Timestamp::from_millis(1_700_000_000_000 + wall_millis), mono };
            service_time(&response)
        };
        assert!(after(60_000, 60_000).is_some());
        assert_eq!(after(8 * 3_600_000, 8 * 3_600_000), None, "asleep meanwhile");
        assert_eq!(after(3_600_000, 400), None, "set forwards meanwhile");
        assert_eq!(after(-3_600_000, 400), None, "set backwards meanwhile");
    }
}
