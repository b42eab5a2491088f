//! STS: the signed request beside the parser of its answer.
//!
//! Owns: the members of `AssumeRole`, its signature (the work of AWS's own crate), and the XML that comes back. Refuses to
//! know how requests travel, and whose credentials these are. Invariants: they are taken out of their [`Bound`] for the
//! address the request goes to; the secret key does not leave, only what is signed with it; what comes back consists of
//! characters that mean nothing to a shell.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use percent_encoding::utf8_percent_encode;
use roxmltree::{Document, Node, ParsingOptions};

use super::body::{Unusable, no_legal};
use super::errors::cut;
use super::http::{Connection, Outgoing};
use super::portal::{RESERVED, is_key, is_key_id};
use super::{AGENT, NotSent};
use crate::identity_center::{Bound, Endpoint, ErrorName, RoleCredentials, ServiceError};
use crate::ids::Assumption;
use crate::secret::{Secret, SecretBytes};
use crate::time::Timestamp;
use crate::untrusted::Untrusted;

pub(super) fn assume_role(
    credentials: &Bound<RoleCredentials>,
    assumption: &Assumption,
    signed_at: Timestamp,
) -> Result<Outgoing, NotSent> {
    let endpoint = Endpoint::from(&assumption.sts.address);
    let credentials = credentials.for_sending_to(&endpoint).map_err(NotSent::WrongOrigin)?;
    let uri = format!("{endpoint}/");
    let body = members(assumption);
    let mut request = Request::post(&uri)
        .header(CONTENT_TYPE, HeaderValue::from_static(FORM))
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .body(Full::new(Bytes::from(body.clone())))
        .map_err(|error| NotSent::Malformed(error.to_string()))?;
    let identity = aws_credential_types::Credentials::new(
        credentials.access_key_id.clone(),
        credentials.secret_access_key.expose(),
        Some(credentials.session_token.expose().to_owned()),
        None,
        "sso-agent",
    )
    .into();
    // Whatever it is that cannot be signed: its words could quote what was to be signed.
    let unsigned = || NotSent::Malformed("the request cannot be signed".to_owned());
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(assumption.sts.region.as_str())
        .name("sts")
        .time(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(signed_at.as_millis()).unwrap_or_default()))
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| unsigned())?
        .into();
    let headers = [("content-type", FORM)];
    let signable =
        SignableRequest::new("POST", uri.as_str(), headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
    let (instructions, _) = sign(signable.map_err(|_| unsigned())?, &parameters).map_err(|_| unsigned())?.into_parts();
    for header in instructions.into_parts().0 {
        let value = Bytes::from_owner(SecretBytes::new(header.value().as_bytes().to_vec()));
        let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| unsigned())?;
        value.set_sensitive(true);
        request.headers_mut().insert(header.name(), value);
    }
    Ok(Outgoing { request, connection: Connection::Pooled })
}

fn members(assumption: &Assumption) -> String {
    let duration = assumption.duration.map(|duration| duration.get().as_secs().to_string());
    let members = [
        ("RoleArn", Some(assumption.role.as_str())),
        ("RoleSessionName", Some(assumption.session_name.as_str())),
        ("DurationSeconds", duration.as_deref()),
        ("ExternalId", assumption.external_id.as_ref().map(crate::ids::ExternalId::as_str)),
    ];
    let mut body = "Action=AssumeRole&Version=2011-06-15".to_owned();
    for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        body.push('&');
        body.push_str(name);
        body.push('=');
        body.extend(utf8_percent_encode(value, RESERVED));
    }
    body
}

pub(super) fn assumed(body: &[u8]) -> Result<RoleCredentials, Unusable> {
    let document = parse(body).ok_or_else(|| Unusable("not XML".to_owned()))?;
    let set = Some(document.root_element())
        .filter(|root| root.tag_name().name() == "AssumeRoleResponse")
        .and_then(|root| child(root, "AssumeRoleResult"))
        .and_then(|result| child(result, "Credentials"))
        .ok_or_else(|| no_legal("Credentials"))?;
    let text = |name| child(set, name).and_then(|node| node.text()).map(str::trim);
    let secret =
        |name| text(name).map(|text| Secret::new(text.to_owned())).filter(is_key).ok_or_else(|| no_legal(name));
    let ends: Option<Timestamp> = text("Expiration").and_then(|text| text.parse().ok());
    Ok(RoleCredentials {
        access_key_id: text("AccessKeyId")
            .filter(|id| is_key_id(id))
            .map(str::to_owned)
            .ok_or_else(|| no_legal("AccessKeyId"))?,
        secret_access_key: secret("SecretAccessKey")?,
        session_token: secret("SessionToken")?,
        expires_at: ends.filter(|ends| ends.as_millis() > 0).ok_or_else(|| no_legal("Expiration"))?,
    })
}

/// The error that an answer names; one that has not the service's form names none.
pub(super) fn service_error(status: StatusCode, body: &[u8]) -> ServiceError {
    let document = parse(body);
    let error = document
        .as_ref()
        .map(Document::root_element)
        .filter(|root| root.tag_name().name() == "ErrorResponse")
        .and_then(|root| child(root, "Error"));
    let text = |name| error.and_then(|error| child(error, name)?.text()).map(str::trim).filter(|text| !text.is_empty());
    ServiceError {
        name: text("Code").map_or(ErrorName::Unnamed, |code| ErrorName::from_sts(cut(code))),
        status: status.as_u16(),
        message: Untrusted::new(cut(text("Message").unwrap_or_default())),
    }
}

/// No entities of its own making: the parser refuses a document type.
fn parse(body: &[u8]) -> Option<Document<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).ok()
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// The longest answer of the service has a few dozen.
const MOST_NODES: u32 = 1000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::{Grant, StsPlace};

    const ANSWER: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><AssumedRoleId>AROA1:x</AssumedRoleId><Arn>arn:aws:sts::444455556666:assumed-role/R/x</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAEXAMPLEEXAMPLE12</AccessKeyId>
      <SecretAccessKey>abc/DEF+0=</SecretAccessKey>
      <SessionToken>FwoG&#x2B;Zx==</SessionToken>
      <Expiration>2026-11-22T10:00:00Z</Expiration>
    </Credentials>
  </AssumeRoleResult>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</AssumeRoleResponse>"#;

    fn assumption(address: &str) -> Arc<Assumption> {
        let endpoint: Endpoint = address.parse().unwrap();
        Arc::new(Assumption {
            source: Grant::Role { account: "111122223333".parse().unwrap(), role: "Dev".parse().unwrap() },
            role: "arn:aws:iam::444455556666:role/a/Ops".parse().unwrap(),
            session_name: "sso-agent-u@h".parse().unwrap(),
            external_id: Some("a/b:c".parse().unwrap()),
            duration: Some("900".parse().unwrap()),
            sts: StsPlace { region: "eu-west-1".parse().unwrap(), address: (&endpoint).into(), ca_bundle: None },
        })
    }

    fn credentials() -> RoleCredentials {
        RoleCredentials {
            access_key_id: "ASIAEXAMPLEEXAMPLE12".into(),
            secret_access_key: Secret::new("hidden-key".into()),
            session_token: Secret::new("token".into()),
            expires_at: Timestamp::from_secs(2_000_000_000),
        }
    }

    #[test]
    fn a_role_is_assumed_with_what_the_profile_says_and_the_secret_key_stays_here() {
        let assumption = assumption("https://sts.eu-west-1.amazonaws.com");
        let bound = Bound::new((&assumption.sts.address).into(), credentials());
        let out = assume_role(&bound, &assumption, Timestamp::from_secs(1_700_000_000)).unwrap();
        let header = |name: &str| out.request.headers()[name].to_str().unwrap();
        assert_eq!(header("x-amz-security-token"), "token");
        assert_eq!(header("x-amz-date"), "20231114T221320Z");
        let authorization = header("authorization");
        let scope = "Credential=ASIAEXAMPLEEXAMPLE12/20231114/eu-west-1/sts/aws4_request";
        assert!(authorization.starts_with("AWS4-HMAC-SHA256") && authorization.contains(scope), "{authorization}");
        for signed in ["content-type", "host", "x-amz-date", "x-amz-security-token"] {
            assert!(authorization.contains(signed), "{authorization}");
        }
        assert!(!format!("{out:?}").contains("hidden-key") && !format!("{out:?}").contains("\"token\""));
        assert_eq!(
            members(&assumption),
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A444455556666%3Arole%2Fa%2FOps\
             &RoleSessionName=sso-agent-u%40h&DurationSeconds=900&ExternalId=a%2Fb%3Ac"
        );
    }

    #[test]
    fn credentials_of_one_sts_are_not_signed_with_for_another() {
        let assumption = assumption("http://127.0.0.1:4566");
        let bound = Bound::new("https://sts.eu-west-1.amazonaws.com".parse().unwrap(), credentials());
        let refused = assume_role(&bound, &assumption, Timestamp::from_secs(1_700_000_000));
        assert!(matches!(refused, Err(NotSent::WrongOrigin(_))), "{refused:?}");
    }

    #[test]
    fn an_answer_is_read_whatever_else_is_in_it() {
        let set = assumed(ANSWER.as_bytes()).unwrap();
        assert_eq!(set.access_key_id, "ASIAEXAMPLEEXAMPLE12");
        assert_eq!(set.session_token.expose(), "FwoG+Zx==");
        assert_eq!(set.expires_at, "2026-11-22T10:00:00Z".parse().unwrap());
    }

    #[test]
    fn an_answer_that_is_not_the_services_is_refused_in_words_that_do_not_quote_it() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"x\">]><AssumeRoleResponse/>";
        for body in [
            "",
            "<html>sign in</html>",
            "{\"AssumeRoleResponse\":{}}",
            bomb,
            &ANSWER.replace("AssumeRoleResponse", "Other"),
            &ANSWER.replace("abc/DEF+0=", "s3cr3t; curl"),
            &ANSWER.replace("ASIAEXAMPLEEXAMPLE12", "asia$"),
            &ANSWER.replace("2026-11-22T10:00:00Z", "tomorrow"),
            &ANSWER.replace("<SessionToken>", "<Token>").replace("</SessionToken>", "</Token>"),
            &ANSWER[..ANSWER.len() / 2],
            &format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000)),
        ] {
            let Unusable(words) = assumed(body.as_bytes()).unwrap_err();
            assert!(words.len() < 64 && !words.contains("s3cr3t"), "{words}");
        }
    }

    #[test]
    fn an_error_has_the_services_name_only_in_the_services_form() {
        let named = |body: &str| service_error(StatusCode::FORBIDDEN, body.as_bytes());
        let body = |code: &str| {
            format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>no &amp; no</Message></Error></ErrorResponse>"
            )
        };
        for (code, name) in [
            ("AccessDenied", ErrorName::AccessDenied),
            ("ExpiredToken", ErrorName::ExpiredToken),
            ("ExpiredTokenException", ErrorName::ExpiredToken),
            ("InvalidClientTokenId", ErrorName::InvalidClientTokenId),
            ("Throttling", ErrorName::TooManyRequests),
            ("RegionDisabledException", ErrorName::Other(Untrusted::new("RegionDisabledException"))),
            ("ValidationError", ErrorName::Other(Untrusted::new("ValidationError"))),
        ] {
            let error = named(&body(code));
            assert_eq!((error.name, error.message.raw()), (name, "no & no"), "{code}");
        }
        for page in ["", "<html>no</html>", "AccessDenied", "<Error><Code>AccessDenied</Code></Error>", "{}"] {
            assert_eq!(named(page).name, ErrorName::Unnamed, "{page}");
        }
    }
}
