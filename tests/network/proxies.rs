//! CONNECT proxies.

use std::time::Duration;

use super::{LOGIN, OIDC, PORTAL, aws_behind, machine};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, Transport};
use crate::support::proxy::{Manner, Proxy};
use crate::support::sandbox::{CORP, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "hunter2:of@the-proxy";

/// A proxy that asks for a password, and its URL with that.
fn guarded() -> (Proxy, String) {
    let proxy = Proxy::with_password(&format!("corp user:{PASSWORD}"));
    let url = proxy.url("corp%20user:hunter2%3Aof%40the-proxy@");
    (proxy, url)
}

#[test]
fn a_whole_life_goes_through_the_proxy_and_the_proxy_sees_nothing_of_it() {
    let (proxy, url) = guarded();
    let service = aws_behind(&proxy, FakeConfig::with_tokens_of(Duration::from_secs(8)));
    let mut sandbox = machine(&service, &url);
    sandbox.set("RUST_LOG", "trace");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.shim(&["--profile", "dev"]).expect_success();
    sandbox.cli(&["accounts"]).expect_success();
    service.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    let (oidc, portal) = (format!("{OIDC}:443"), format!("{PORTAL}:443"));
    let to_portal = proxy.asked().iter().filter(|target| **target == portal).count();
    assert_eq!(to_portal, 1, "reads share a tunnel: {:?}", proxy.asked());
    let status = agent.get("/v1/status").to_string();
    sandbox.cli(&["logout"]).expect_success();

    let asked = proxy.asked();
    assert!(asked.contains(&oidc) && asked.contains(&portal), "{asked:?}");
    assert!(asked.iter().all(|target| *target == oidc || *target == portal), "{asked:?}");
    let polls = service.count(Operation::CreateTokenDeviceCode) + service.count(Operation::CreateTokenRefresh);
    assert!(asked.len() > polls, "every request for tokens has a tunnel of its own: {asked:?}");
    let told = proxy.heads().concat();
    for secret in service.issued_secrets() {
        assert!(!told.contains(&secret), "the proxy was told {secret}");
    }
    assert_eq!(service.refresh_token_reuses(), 0);
    let seen = format!("{status}{}", sandbox.log());
    for secret in [PASSWORD, "hunter2", "corp user", "corp%20user"] {
        assert!(!seen.contains(secret), "{secret} is seen");
    }
    assert!(!told.is_empty() && told.contains("Proxy-Authorization: Basic "));
}

#[test]
fn a_proxy_that_asks_for_a_password_is_told_apart_from_one_that_refuses_it() {
    let (proxy, _) = guarded();
    let service = aws_behind(&proxy, FakeConfig::default());
    for (userinfo, words) in [
        ("", ["asks for a user name and password", "put them into HTTPS_PROXY"]),
        ("corp%20user:wr0ng-secret@", ["does not accept the user name and password", "percent-encoded"]),
    ] {
        let sandbox = machine(&service, &proxy.url(userinfo));
        let agent = sandbox.start_agent();
        let stderr = sandbox.cli(&LOGIN).failed_with(7);
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
        let shown = proxy.url(if userinfo.is_empty() { "" } else { "***@" });
        assert!(stderr.contains(&shown), "{stderr}");
        let everywhere = format!("{stderr}{}{}", agent.get("/v1/status"), sandbox.log());
        assert!(!everywhere.contains("wr0ng-secret"), "{everywhere}");
    }
    assert!(service.all_calls().is_empty());
}

#[test]
fn a_proxy_that_is_down_costs_no_credentials_that_are_there_and_is_named() {
    let (proxy, url) = guarded();
    let service = aws_behind(&proxy, FakeConfig::default());
    let sandbox = machine(&service, &url);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let dev = sandbox.shim(&["--profile", "dev"]).expect_success();
    let shown = proxy.url("***@");
    drop(proxy);
    service.go_offline();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).expect_success(), dev);
    agent.get("/v1/token?session=corp");
    let other = ["--session", "corp", "--account", "111122223333", "--role", "Administrator", "--timeout", "3"];
    let stderr = sandbox.shim(&other).failed_with(7);
    assert!(stderr.contains(&format!("cannot connect to the proxy {shown}")), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn whatever_a_proxy_does_wrong_is_said_and_not_a_byte_of_the_request_leaves() {
    let proxy = Proxy::start();
    let service = aws_behind(&proxy, FakeConfig::default());
    let sandbox = machine(&service, &proxy.url(""));
    let agent = sandbox.start_agent();
    for (manner, words) in [
        (Manner::Refuse(403), "does not connect to oidc.eu-west-1.amazonaws.com (HTTP 403)"),
        (Manner::Refuse(502), "does not connect to oidc.eu-west-1.amazonaws.com (HTTP 502)"),
        (Manner::Garbage, "does not answer as a proxy: what it says is not HTTP"),
        (Manner::HangUp, "does not answer as a proxy: it hung up"),
        (Manner::Hang, "did not make a connection in time"),
        (Manner::CutAfter(64), OIDC),
    ] {
        proxy.behave(manner);
        let stderr = sandbox.cli(&LOGIN).failed_with(7);
        assert!(stderr.contains(words), "{manner:?}: {stderr}");
        assert!(stderr.contains(&proxy.url("")) || matches!(manner, Manner::CutAfter(_)), "{manner:?}: {stderr}");
    }
    assert!(service.all_calls().is_empty());
    proxy.behave(Manner::Tunnel);
    agent.sign_in(&service);
}

#[test]
fn a_setting_that_is_no_proxy_is_never_a_direct_connection() {
    let service = FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..FakeConfig::default() });
    for (setting, words) in [
        ("socks5h://user:hunter2@127.0.0.1:1080", "names a SOCKS proxy, which is not supported"),
        ("http://user:hunter2@:port/", "is not the URL of a proxy"),
        ("ftp://user:hunter2@proxy", "is neither an http:// nor an https:// URL"),
    ] {
        let sandbox = machine(&service, setting);
        let _agent = sandbox.start_agent();
        let stderr = sandbox.cli(&LOGIN).failed_with(5);
        assert!(stderr.contains(&format!("HTTPS_PROXY {words}")), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn no_proxy_and_this_machine_are_reached_directly() {
    let proxy = Proxy::start();
    let service = FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..FakeConfig::default() });
    let sandbox = machine(&service, &proxy.url("")).at(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.shim(&["--profile", "dev"]).expect_success();
    drop(agent);
    // This machine under an address that is not called loopback.
    let other = format!("https://0.0.0.0:{}", service.address().port());
    let mut sandbox = machine(&service, &proxy.url("")).at(&other);
    sandbox.set("NO_PROXY", "other.org, 0.0.0.0/8");
    let agent = sandbox.start_agent();
    let stderr = sandbox.cli(&LOGIN).failed_with(7);
    assert!(stderr.contains("what answers for 0.0.0.0 shows a certificate for localhost"), "{stderr}");
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    drop(agent);
    sandbox.unset("NO_PROXY");
    let _agent = sandbox.start_agent();
    sandbox.cli(&LOGIN).failed_with(7);
    assert_eq!(proxy.asked(), [format!("0.0.0.0:{}", service.address().port())]);
}

#[test]
fn a_region_with_a_slip_in_it_is_recognised_wherever_it_shows() {
    let proxy = Proxy::start();
    let service = aws_behind(&proxy, FakeConfig::default());
    let at = |region: &str| -> Sandbox {
        let sandbox = machine(&service, &proxy.url(""));
        sandbox.write_config(&CORP.replace("sso_region = eu-west-1", &format!("sso_region = {region}")));
        sandbox
    };
    let sandbox = at("eu-wset-1");
    let agent = sandbox.start_agent();
    let stderr = sandbox.cli(&LOGIN).failed_with(7);
    assert!(stderr.contains("there is no region eu-wset-1: did you mean eu-west-1?"), "{stderr}");
    drop(agent);
    let sandbox = at("EU-WEST-1");
    let _agent = sandbox.start_agent();
    let stderr = sandbox.cli(&LOGIN).failed_with(5);
    assert!(stderr.contains("sso_region of [sso-session corp] is not a valid region"), "{stderr}");
    assert!(stderr.contains("did you mean eu-west-1?"), "{stderr}");
}
