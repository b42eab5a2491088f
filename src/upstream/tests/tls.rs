//! Whom the client trusts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::upstream::{Answer, Failure, NotSent};

const TOKEN: &str = r#"{"accessToken":"at","expiresIn":3600}"#;

/// A certificate authority of a test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Corp Proxy\x1b[2J CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate as a PEM file that goes away with the value.
    pub(super) fn bundle(&self) -> Bundle {
        let bundle = Bundle::path_only();
        bundle.write(self);
        bundle
    }

    fn server(&self, params: &CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }

    /// Serves one connection; returns the request, or nothing if the client hung up before it sent one.
    fn serve(&self, name: &str) -> (Endpoint, JoinHandle<Option<String>>) {
        self.serve_as(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    fn serve_as(&self, params: &CertificateParams) -> (Endpoint, JoinHandle<Option<String>>) {
        let config = self.server(params);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let serving = thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            stream.read_exact(&mut []).unwrap();
            stream.conn.complete_io(&mut stream.sock).ok()?;
            let request = read_request(&mut stream);
            stream.write_all(response(200, &[], TOKEN).as_bytes()).unwrap();
            stream.conn.send_close_notify();
            let _ = stream.flush();
            Some(request)
        });
        (endpoint, serving)
    }
}

pub(super) struct Bundle(PathBuf);

impl Bundle {
    fn path_only() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("sso-agent-test-{}-{number}.pem", std::process::id())))
    }

    fn write(&self, authority: &Authority) {
        fs::write(&self.0, authority.0.pem()).unwrap();
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn refreshed(client: &Https, endpoint: &Endpoint, bundle: Option<&Bundle>) -> Reply {
    let route = Route { ca_bundle: bundle.map(|bundle| bundle.path().to_owned()), ..route(endpoint) };
    client.call(route, refresh(endpoint)).await
}

#[tokio::test]
async fn a_service_of_the_bundles_authority_is_trusted() {
    let authority = Authority::new();
    let (endpoint, serving) = authority.serve("localhost");
    let reply = refreshed(&https(), &endpoint, Some(&authority.bundle())).await;
    assert!(matches!(reply.result, Ok(Answer::Token(_))), "{reply:?}");
    assert!(serving.join().unwrap().unwrap().starts_with("POST /token HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_service_nobody_vouches_for_receives_no_request() {
    let authority = Authority::new();
    let stranger = Authority::new().bundle();
    let (endpoint, serving) = authority.serve("localhost");
    let reply = refreshed(&https(), &endpoint, Some(&stranger)).await;
    assert!(matches!(reply.result, Err(Failure::NotSent(NotSent::Untrusted(_)))), "{reply:?}");
    assert_eq!(serving.join().unwrap(), None);
}

#[tokio::test]
async fn without_the_bundle_its_authority_is_not_trusted() {
    let (endpoint, serving) = Authority::new().serve("localhost");
    let reply = refreshed(&https(), &endpoint, None).await;
    match reply.result {
        Err(Failure::NotSent(NotSent::Untrusted(_))) => assert_eq!(serving.join().unwrap(), None),
        // A machine without any platform roots: refused before the first byte.
        Err(Failure::NotSent(NotSent::Roots(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let authority = Authority::new();
    let (endpoint, serving) = authority.serve("oidc.example.com");
    let reply = refreshed(&https(), &endpoint, Some(&authority.bundle())).await;
    assert!(matches!(reply.result, Err(Failure::NotSent(NotSent::Tls(_)))), "{reply:?}");
    assert_eq!(serving.join().unwrap(), None);
}

/// What is said about a server that is not trusted, and that this is what another authority would change.
async fn distrusted(server: &Authority, params: &CertificateParams, trusted: &Authority) -> (String, bool) {
    let (endpoint, serving) = server.serve_as(params);
    let reply = refreshed(&https(), &endpoint, Some(&trusted.bundle())).await;
    assert_eq!(serving.join().unwrap(), None);
    match reply.result {
        Err(Failure::NotSent(NotSent::Tls(said))) => (said, false),
        Err(Failure::NotSent(NotSent::Untrusted(said))) => (said, true),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_in_words() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let local = || CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let (said, by_a_stranger) = distrusted(&stranger, &local(), &authority).await;
    let signed = "the certificate of localhost is signed by Corp Proxy\u{fffd}[2J CA, which is not in /";
    assert!(said.starts_with(signed) && by_a_stranger, "{said}");
    let mut expired = local();
    (expired.not_before, expired.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    let (said, other_way) = distrusted(&authority, &expired, &authority).await;
    let words = "the certificate of localhost expired at 2020-01-01T00:00:00Z, and the clock of this machine says 2";
    assert!(said.starts_with(words) && !other_way, "{said}");
    let mut early = local();
    (early.not_before, early.not_after) = (date_time_ymd(2500, 1, 1), date_time_ymd(2501, 1, 1));
    let (said, _) = distrusted(&authority, &early, &authority).await;
    assert!(said.starts_with("the certificate of localhost is valid from 2500-01-01T00:00:00Z only, and"), "{said}");
    let other = CertificateParams::new(vec!["oidc.example.com".to_owned()]).unwrap();
    let (said, _) = distrusted(&authority, &other, &authority).await;
    assert_eq!(said, "what answers for localhost shows a certificate for oidc.example.com");
}

/// An https proxy of this authority that leads whoever asks to `service`, for one connection; joined, it returns what it
/// was asked, or nothing if the client hung up before.
fn https_proxy(authority: &Authority, service: SocketAddr) -> (u16, JoinHandle<Option<String>>) {
    let config = authority.server(&CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        let mut client = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        client.conn.complete_io(&mut client.sock).ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut service = TcpStream::connect(service).unwrap();
        // Whoever has nothing to say for a moment lets the other one speak.
        let moment = Some(Duration::from_millis(20));
        client.sock.set_read_timeout(moment).unwrap();
        service.set_read_timeout(moment).unwrap();
        let mut buffer = [0; 4096];
        // Whether there may be more.
        let mut carry = |from: &mut dyn Read, to: &mut dyn Write| match from.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => to.write_all(&buffer[..count]).is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        };
        while carry(&mut client, &mut service) && carry(&mut service, &mut client) {}
        Some(String::from_utf8(head).unwrap())
    });
    (port, serving)
}

#[tokio::test]
async fn an_https_proxy_is_verified_itself_before_it_hears_its_password_and_the_service_inside_of_it() {
    // A name that is not this machine's by name: it is the proxy that leads there.
    const SERVICE: &str = "https://oidc.eu-west-1.amazonaws.com";
    let (authority, stranger) = (Authority::new(), Authority::new());
    let endpoint: Endpoint = SERVICE.parse().unwrap();
    for (of_proxy, of_service) in [(&authority, &authority), (&authority, &stranger), (&stranger, &authority)] {
        let (place, serving) = of_service.serve("oidc.eu-west-1.amazonaws.com");
        let port = place.as_str().rsplit_once(':').unwrap().1.parse().unwrap();
        let service = SocketAddr::from(([127, 0, 0, 1], port));
        let (port, proxying) = https_proxy(of_proxy, service);
        let proxy = format!("https://user:hunter2@localhost:{port}");
        let env: Env = [("HTTPS_PROXY", proxy.as_str())].into_iter().collect();
        let client = Https::new(Arc::new(SystemClock), &env);
        let reply = refreshed(&client, &endpoint, Some(&authority.bundle())).await;
        let said = format!("{:?}", reply.result);
        if of_proxy.0.pem() != authority.0.pem() {
            // Nobody comes.
            drop(TcpStream::connect(service));
            let Err(Failure::NotSent(NotSent::Proxy(failure))) = reply.result else { panic!("{said}") };
            assert_eq!(failure.proxy, format!("https://***@localhost:{port}"));
            assert!(
                failure.to_string().contains("is signed by Corp Proxy") && failure.hint().contains("AWS_CA_BUNDLE")
            );
            assert_eq!((proxying.join().unwrap(), serving.join().unwrap()), (None, None));
        } else {
            let asked = proxying.join().unwrap().unwrap();
            assert!(asked.starts_with("CONNECT oidc.eu-west-1.amazonaws.com:443 HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n"), "{asked}");
            let is_trusted = of_service.0.pem() == authority.0.pem();
            assert_eq!(matches!(reply.result, Ok(Answer::Token(_))), is_trusted, "{said}");
            assert_eq!(serving.join().unwrap().is_some(), is_trusted, "a stranger gets no request");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_missing_bundle_is_not_replaced_by_the_platforms_roots() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("https://{}", elsewhere.local_addr().unwrap()).parse().unwrap();
    let reply = refreshed(&https(), &endpoint, Some(&Bundle::path_only())).await;
    assert!(matches!(reply.result, Err(Failure::NotSent(NotSent::Roots(_)))), "{reply:?}");
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err());
}

#[tokio::test]
async fn a_replaced_bundle_is_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let bundle = old.bundle();
    let client = https();
    let (endpoint, serving) = old.serve("localhost");
    assert!(refreshed(&client, &endpoint, Some(&bundle)).await.result.is_ok());
    serving.join().unwrap();
    bundle.write(&new);
    // The file system's clock may be coarse, and both certificates may be equally long.
    let later = std::time::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    fs::File::options().append(true).open(bundle.path()).unwrap().set_modified(later).unwrap();
    let (endpoint, serving) = new.serve("localhost");
    let reply = refreshed(&client, &endpoint, Some(&bundle)).await;
    assert!(reply.result.is_ok(), "{reply:?}");
    serving.join().unwrap();
}

#[tokio::test]
async fn something_that_does_not_speak_tls_receives_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let serving = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        received
    });
    let reply = refreshed(&https(), &endpoint, Some(&Authority::new().bundle())).await;
    let Err(Failure::NotSent(NotSent::Tls(said))) = reply.result else { panic!("{reply:?}") };
    assert!(said.contains("127.0.0.1 answers, but does not speak TLS"), "{said}");
    assert!(!String::from_utf8_lossy(&serving.join().unwrap()).contains("POST"));
}
