//! Whom a TLS connection trusts.
//!
//! Owns: the platform's certificate authorities or the PEM bundle that replaces them, as a TLS configuration, and how to
//! notice that the bundle changed. Refuses to know about connections. Invariant: a bundle that cannot be used is an
//! error; it never falls back to the platform's roots.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::NotSent;
use super::distrust::Explaining;
use crate::identity_center::Endpoint;
use crate::untrusted::shown;

/// Which certificate authorities a route trusts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Roots {
    /// No TLS: `http` to this machine.
    Unneeded,
    /// The platform's.
    Platform,
    /// Those of a PEM file, and no others.
    Bundle(PathBuf),
}

/// What is compared to see whether a bundle was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Roots {
    pub(super) fn of(endpoint: &Endpoint, bundle: Option<&Path>) -> Self {
        if endpoint.as_str().starts_with("http://") {
            return Self::Unneeded;
        }
        bundle.map_or(Self::Platform, |path| Self::Bundle(path.to_owned()))
    }

    /// The bundle's present state; the platform's roots are read once in the life of the agent.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, NotSent> {
        match self {
            Self::Unneeded | Self::Platform => Ok(None),
            Self::Bundle(path) => fs::metadata(path)
                .map(|metadata| Some(Stamp::of(&metadata)))
                .map_err(|error| unusable(path, &error.to_string())),
        }
    }

    /// Reads the roots. Blocks on the disk.
    pub(super) fn load(&self) -> Result<ClientConfig, NotSent> {
        let store = match self {
            Self::Unneeded => RootCertStore::empty(),
            Self::Platform => platform()?,
            Self::Bundle(path) => bundle(path)?,
        };
        let (provider, store) = (Arc::new(ring::default_provider()), Arc::new(store));
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| NotSent::Tls(error.to_string()))?;
        if store.is_empty() {
            return Ok(config.with_root_certificates(store).with_no_client_auth());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(store, provider)
            .build()
            .map_err(|error| NotSent::Roots(error.to_string()))?;
        let bundle = match self {
            Self::Bundle(path) => Some(path.clone()),
            Self::Unneeded | Self::Platform => None,
        };
        // Called dangerous because others might accept what the usual verifier does not.
        let explaining = Arc::new(Explaining::new(verifier, bundle));
        Ok(config.dangerous().with_custom_certificate_verifier(explaining).with_no_client_auth())
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok() }
    }
}

fn platform() -> Result<RootCertStore, NotSent> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Platforms carry certificates that no verifier can parse; one such must not cost all others.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let cause =
            found.errors.first().map_or_else(|| "the platform's store is empty".to_owned(), ToString::to_string);
        return Err(NotSent::Roots(shown(&cause).to_string()));
    }
    Ok(store)
}

fn bundle(path: &Path) -> Result<RootCertStore, NotSent> {
    if path.is_dir() {
        return Err(unusable(path, "it is a directory, and has to be one file of PEM certificates"));
    }
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, &error.to_string()))?;
    let (mut store, found) = (RootCertStore::empty(), certificates.len());
    store.add_parsable_certificates(certificates);
    match (store.is_empty(), found) {
        (false, _) => Ok(store),
        (true, 0) => Err(unusable(path, "there is no PEM certificate (BEGIN CERTIFICATE) in it")),
        (true, _) => Err(unusable(path, "none of the certificates in it can be read")),
    }
}

fn unusable(path: &Path, cause: &str) -> NotSent {
    NotSent::Roots(format!("{}: {}", shown(&path.to_string_lossy()), shown(cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_needs_no_roots_and_a_bundle_replaces_the_platforms() {
        let loopback: Endpoint = "http://127.0.0.1:1".parse().unwrap();
        let service: Endpoint = "https://oidc.eu-west-1.amazonaws.com".parse().unwrap();
        let bundle = Path::new("/nowhere/ca.pem");
        assert_eq!(Roots::of(&loopback, Some(bundle)), Roots::Unneeded);
        assert_eq!(Roots::of(&service, None), Roots::Platform);
        assert_eq!(Roots::of(&service, Some(bundle)), Roots::Bundle(bundle.to_owned()));
    }

    #[test]
    fn a_bundle_without_a_certificate_is_an_error() {
        let refused = |path: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            match Roots::Bundle(path.clone()).load() {
                Err(NotSent::Roots(said)) => {
                    assert!(said.starts_with(&*path.to_string_lossy()), "{said}");
                    said
                }
                other => panic!("{other:?}"),
            }
        };
        assert!(refused("Cargo.toml").ends_with("there is no PEM certificate (BEGIN CERTIFICATE) in it"));
        assert!(refused("src").contains("it is a directory"));
        assert!(refused("no-such-file.pem").contains("o such file"));
    }
}
