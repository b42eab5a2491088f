//! A request as the route table sees it.

use super::{halves, is_one_line};
use crate::api::{Code, LoginRequest, Problem, Request, SessionQuery};
use crate::secret::Secret;

/// `METHOD target`, a line feed, the body. What is a request is written as it is read, and so is one about a session or
/// profile whose name is the target; what is none is told so in one line.
pub fn request(bytes: &[u8]) {
    let (line, body) = halves(bytes, b'\n');
    let line = String::from_utf8_lossy(line);
    let (method, target) = line.split_once(' ').unwrap_or((&line, ""));
    if let Ok(name) = target.parse() {
        asked_as_meant(&Request::Login { session: SessionQuery::Named(name), login: LoginRequest::default() });
    }
    if let Ok(profile) = target.parse() {
        asked_as_meant(&Request::Logout { session: SessionQuery::OfProfile(profile) });
    }
    if !target.is_empty() {
        asked_as_meant(&Request::Unlock { passphrase: Some(Secret::new(target.to_owned())) });
    }
    match Request::parse(method, target, body) {
        Ok(request) => asked_as_meant(&request),
        Err(problem) => {
            assert_eq!(problem.code, Code::InvalidRequest);
            assert!([400, 404, 405].contains(&problem.status), "{}", problem.status);
            assert!(is_one_line(&problem.detail) && is_one_line(&problem.to_string()), "{problem:?}");
            assert!(problem.detail.len() < 8192, "{} bytes of detail", problem.detail.len());
            let json = serde_json::to_vec(&problem).expect("a problem can be written");
            assert_eq!(serde_json::from_slice::<Problem>(&json).ok().as_ref(), Some(&problem));
        }
    }
}

fn asked_as_meant(request: &Request) {
    let raw = request.encode();
    assert!(raw.path_and_query.bytes().all(|byte| byte.is_ascii_graphic()), "{}", raw.path_and_query);
    assert!(raw.path_and_query.starts_with("/v1/"));
    let again = Request::parse(&raw.method.to_string(), &raw.path_and_query, raw.body.expose());
    assert_eq!(again.as_ref(), Ok(request), "{raw:?}");
}
