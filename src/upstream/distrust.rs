//! Why a TLS connection is not trusted, in words for people.
//!
//! Owns: who signed a certificate that nobody here trusts, and the words for what can be wrong with a handshake. Refuses
//! to decide whom to trust. Invariant: [`Explaining`] never accepts what the verifier inside it does not.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use super::connect::in_words;
use super::issuer;
use crate::time::Timestamp;
use crate::untrusted::{Untrusted, shown};

/// The usual verifier, which says who signed a certificate that it does not trust.
#[derive(Debug)]
pub(super) struct Explaining {
    verifier: Arc<WebPkiServerVerifier>,
    bundle: Option<PathBuf>,
}

impl Explaining {
    /// `bundle` is where the trusted authorities were read, if not from the platform.
    pub(super) const fn new(verifier: Arc<WebPkiServerVerifier>, bundle: Option<PathBuf>) -> Self {
        Self { verifier, bundle }
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verdict.map_err(|error| match error {
            // A bad signature is what an authority of the same name with another key looks like: a renewed one.
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                // The end of the chain is whoever would have to be trusted.
                let issuer = issuer::of(intermediates.last().unwrap_or(end_entity));
                let stranger = Stranger { issuer, bundle: self.bundle.clone() };
                rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(stranger))))
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Signed by somebody who is not trusted here.
#[derive(Debug)]
struct Stranger {
    issuer: Option<Untrusted>,
    bundle: Option<PathBuf>,
}

impl fmt::Display for Stranger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.issuer {
            Some(issuer) => write!(formatter, "is signed by {}, which ", issuer.shown())?,
            None => formatter.write_str("is signed by an authority without a name, which ")?,
        }
        match &self.bundle {
            Some(path) => write!(formatter, "is not in {}", shown(&path.to_string_lossy())),
            None => formatter.write_str("this machine does not trust"),
        }
    }
}

impl Error for Stranger {}

/// Whether it is about a certificate that was signed by somebody who is not trusted here.
pub(super) fn is_about_a_stranger(error: &(dyn Error + 'static)) -> bool {
    matches!(
        tls_error(error),
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) if cause.is::<Stranger>()
    )
}

/// What went wrong between TCP and the request, at this host.
pub(super) fn explain(host: &str, error: &(dyn Error + 'static)) -> String {
    let host = shown(host);
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(problem)) => certificate(&host.to_string(), problem),
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{host} answers, but does not speak TLS: something else is listening there or in between")
        }
        Some(other) => format!("{host}: {}", shown(&other.to_string())),
        None => format!("{host}: {}", in_words(error)),
    }
}

fn certificate(host: &str, problem: &CertificateError) -> String {
    let date = |time: &UnixTime| Timestamp::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    match problem {
        CertificateError::Other(OtherError(cause)) if cause.is::<Stranger>() => {
            format!("the certificate of {host} {cause}")
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {host} expired at {}, and the clock of this machine says {}",
            date(not_after),
            date(time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {host} is valid from {} only, and the clock of this machine says {}",
            date(not_before),
            date(time)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<String> = presented.iter().take(MOST_NAMES).map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            format!("what answers for {host} shows a certificate for {names}")
        }
        other => format!("the certificate of {host} is not valid: {}", shown(&other.to_string())),
    }
}

/// `x.example` of `DnsName("x.example")`, which is how the verifier writes it.
fn bare(name: &str) -> String {
    let inside = name.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    shown(inside.unwrap_or(name)).to_string()
}

/// The error of the TLS layer, however often it was wrapped.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inside = |error: &'a (dyn Error + 'static)| match error.downcast_ref::<io::Error>() {
        // What is in an `io::Error` is not its source, but itself in other words.
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    };
    std::iter::successors(Some(error), |&error| inside(error)).find_map(|error| error.downcast_ref())
}

const MOST_NAMES: usize = 4;
