//! STS: `AssumeRole`, for credentials that the portal or this has issued.
//!
//! It recomputes every signature, from the request as it came and with code of its own: whoever signs something else
//! than what is sent, or with something else than what was issued, is refused as the service refuses it.

use percent_encoding::percent_decode_str;
use ring::{digest, hmac};

use super::answer::{Answer, Request};
use super::clock::ServiceTime;
use super::config::FakeRole;
use super::state::Service;

/// Credentials that may sign.
#[derive(Debug, Clone)]
pub struct Signer {
    secret_access_key: String,
    session_token: String,
    expires_at: ServiceTime,
}

/// A set of credentials as it is issued.
#[derive(Debug, Clone)]
pub struct Issued {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expires_at: ServiceTime,
}

impl Service {
    /// Issues credentials that may sign from now on.
    pub fn issue_credentials(&mut self, expires_at: ServiceTime) -> Issued {
        let issued = Issued {
            access_key_id: self.mint.access_key_id(),
            secret_access_key: self.mint.secret_access_key(),
            session_token: self.mint.session_token(),
            expires_at,
        };
        let Issued { secret_access_key, session_token, .. } = issued.clone();
        self.signers.insert(issued.access_key_id.clone(), Signer { secret_access_key, session_token, expires_at });
        issued
    }
}

/// Answers a request to STS, in XML.
pub fn answer(service: &mut Service, now: ServiceTime, request: &Request) -> Answer {
    match assume_role(service, now, request) {
        Ok(issued) => {
            let Issued { access_key_id, secret_access_key, session_token, expires_at } = issued;
            let ends =
                jiff::Timestamp::from_second(i64::try_from(expires_at.seconds()).expect("a time")).expect("a time");
            let body = format!(
                "<AssumeRoleResponse xmlns=\"{NAMESPACE}\">\n  <AssumeRoleResult>\n    <AssumedRoleUser>\
                 <AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/x/y</Arn></AssumedRoleUser>\n    \
                 <Credentials>\n      <AccessKeyId>{access_key_id}</AccessKeyId>\n      \
                 <SecretAccessKey>{secret_access_key}</SecretAccessKey>\n      \
                 <SessionToken>{session_token}</SessionToken>\n      <Expiration>{ends}</Expiration>\n    \
                 </Credentials>\n  </AssumeRoleResult>\n  <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\n\
                 </AssumeRoleResponse>\n"
            );
            Answer::typed(200, "text/xml", body)
        }
        Err(No { status, code, text }) => {
            let body = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{code}</Code>\n    \
                 <Message>{text}</Message>\n  </Error>\n  <RequestId>r</RequestId>\n</ErrorResponse>\n"
            );
            let mut answer = Answer::typed(status, "text/xml", body);
            answer.error = Some(code);
            answer
        }
    }
}

struct No {
    status: u16,
    code: &'static str,
    text: String,
}

fn no(status: u16, code: &'static str, text: impl Into<String>) -> No {
    No { status, code, text: text.into() }
}

fn assume_role(service: &mut Service, now: ServiceTime, request: &Request) -> Result<Issued, No> {
    if request.method != "POST" {
        return Err(no(400, "InvalidAction", "not a POST"));
    }
    check_signature(service, now, request)?;
    let members = members(&request.body);
    let member = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let needed =
        |name: &'static str| member(name).ok_or_else(|| no(400, "ValidationError", format!("{name} is missing")));
    const KNOWN: [&str; 6] = ["Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId"];
    if let Some((other, _)) = members.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
        return Err(no(400, "ValidationError", format!("unexpected {other}")));
    }
    if needed("Version")? != "2011-06-15" {
        return Err(no(400, "NoSuchVersion", "no such version"));
    }
    let name = needed("RoleSessionName")?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&name.len()) || !name.bytes().all(legal) {
        return Err(no(400, "ValidationError", "RoleSessionName"));
    }
    let arn = needed("RoleArn")?;
    let denied =
        || no(403, "AccessDenied", format!("User is not authorized to perform: sts:AssumeRole on resource: {arn}"));
    let FakeRole { external_id, lifetime, .. } =
        service.config.roles.iter().find(|role| role.arn == arn).cloned().ok_or_else(denied)?;
    if external_id.is_some() && external_id.as_deref() != member("ExternalId") {
        return Err(denied());
    }
    let lifetime = match member("DurationSeconds").map(str::parse::<u64>) {
        None => lifetime,
        Some(Ok(seconds @ 900..=3600)) => std::time::Duration::from_secs(seconds),
        Some(_) => {
            let text =
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
            return Err(no(400, "ValidationError", text));
        }
    };
    Ok(service.issue_credentials(now.plus(lifetime)))
}

fn members(body: &[u8]) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let body = String::from_utf8_lossy(body);
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Signature Version 4, from its description.
fn check_signature(service: &Service, now: ServiceTime, request: &Request) -> Result<(), No> {
    let incomplete = |what: &str| no(403, "IncompleteSignature", format!("no {what}"));
    let header = |name: &'static str| request.header(name).ok_or_else(|| incomplete(name));
    let authorization =
        header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| incomplete("algorithm"))?;
    let part = |name: &'static str| {
        let parts = authorization.split(',').map(str::trim);
        parts.filter_map(|part| part.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let credential = part("Credential").ok_or_else(|| incomplete("Credential"))?;
    let signed = part("SignedHeaders").ok_or_else(|| incomplete("SignedHeaders"))?;
    let signature = part("Signature").ok_or_else(|| incomplete("Signature"))?;
    let (key_id, scope) = credential.split_once('/').ok_or_else(|| incomplete("scope"))?;
    let date = header("x-amz-date")?;
    let [day, region, "sts", "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(incomplete("scope"));
    };
    if !date.starts_with(day) {
        return Err(incomplete("day"));
    }
    let unknown = || no(403, "InvalidClientTokenId", "The security token included in the request is invalid.");
    let signer = service.signers.get(key_id).ok_or_else(unknown)?;
    if header("x-amz-security-token")? != signer.session_token {
        return Err(unknown());
    }
    for needed in ["host", "x-amz-date", "x-amz-security-token"] {
        if !signed.split(';').any(|name| name == needed) {
            return Err(incomplete(needed));
        }
    }
    let mut headers = String::new();
    for name in signed.split(';') {
        let value = request.header(name).ok_or_else(|| incomplete("signed header"))?;
        headers.push_str(&format!("{name}:{}\n", value.trim()));
    }
    let canonical = format!("POST\n{}\n\n{headers}\n{signed}\n{}", request.path(), sha256(&request.body));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{}", signer.secret_access_key).into_bytes();
    for step in [day, region, "sts", "aws4_request"] {
        key = mac(&key, step.as_bytes());
    }
    if hex(&mac(&key, to_sign.as_bytes())) != signature {
        return Err(no(403, "SignatureDoesNotMatch", "The request signature does not match the one we calculated."));
    }
    let written = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok();
    let signed_at =
        written.and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|at| at.timestamp().as_second());
    let off = signed_at.map(|at| at.abs_diff(i64::try_from(now.seconds()).expect("a time")));
    if off.is_none_or(|off| off > 300) {
        return Err(no(403, "SignatureDoesNotMatch", "Signature expired"));
    }
    if signer.expires_at <= now {
        return Err(no(403, "ExpiredToken", "The security token included in the request is expired"));
    }
    Ok(())
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
