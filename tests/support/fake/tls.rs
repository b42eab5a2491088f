//! A private CA made on the spot, and a server certificate of it for loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// A CA that nobody trusts by default, with one certificate for `localhost`, 127.0.0.1 and ::1.
pub struct PrivateCa {
    pem: String,
    path: PathBuf,
    acceptor: TlsAcceptor,
}

impl PrivateCa {
    /// Makes the CA, its server certificate for this machine and these hosts, and a file with the CA's certificate.
    pub fn new(hosts: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "Fake Identity Center CA");
        let key = KeyPair::generate().expect("a key can be made");
        let ca = CertifiedIssuer::self_signed(params, key).expect("a CA can be made");
        let names = ["localhost", "127.0.0.1", "::1"].iter().chain(hosts).map(|name| (*name).to_owned());
        let leaf = CertificateParams::new(names.collect::<Vec<_>>()).expect("the names are valid");
        let leaf_key = KeyPair::generate().expect("a key can be made");
        let certificate = leaf.signed_by(&leaf_key, &ca).expect("the CA can sign");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
            )
            .expect("the key belongs to the certificate");
        let pem = ca.pem();
        let number = FILES_MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fake-identity-center-ca-{}-{number}.pem", std::process::id()));
        fs::write(&path, &pem).expect("the temporary directory is writable");
        Self { pem, path, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// The CA's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A file with the CA's certificate, for `AWS_CA_BUNDLE`; removed with the CA.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What turns accepted connections into TLS.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl Drop for PrivateCa {
    fn drop(&mut self) {
        // A leftover in the temporary directory harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

static FILES_MADE: AtomicUsize = AtomicUsize::new(0);
