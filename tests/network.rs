//! The way to AWS: through proxies, with private authorities, to every kind of start URL. Real binaries and real host
//! names; the proxy of the test leads them to the fake, so nothing leaves the machine.

mod portal;
mod proxies;
mod start_urls;
mod trust;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Transport};
use crate::support::proxy::Proxy;
use crate::support::sandbox::{CORP, Sandbox};

const OIDC: &str = "oidc.eu-west-1.amazonaws.com";
const PORTAL: &str = "portal.sso.eu-west-1.amazonaws.com";
const VANITY: &str = "login.example.com";

/// AWS as it is seen through `proxy`.
fn aws_behind(proxy: &Proxy, config: FakeConfig) -> FakeIdentityCenter {
    const HOSTS: &[&str] = &[OIDC, PORTAL, VANITY];
    let service = FakeIdentityCenter::start(FakeConfig { transport: Transport::TlsAs(HOSTS), ..config });
    proxy.leads(HOSTS, service.address());
    service
}

/// A machine whose only way out is the proxy at this URL.
fn machine(service: &FakeIdentityCenter, proxy: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    sandbox.set("AWS_CA_BUNDLE", &service.ca_pem_path().unwrap().display().to_string());
    sandbox.set("HTTPS_PROXY", proxy);
    sandbox
}

const LOGIN: [&str; 3] = ["login", "--no-browser", "--force"];
