//! Start URLs that are a company's own.

use super::{LOGIN, OIDC, VANITY, aws_behind, machine};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::proxy::Proxy;
use crate::support::sandbox::{CORP, Sandbox};

const REAL: &str = "https://corp.awsapps.com/start";

/// A proxy, an AWS that knows only the real start URL, and a machine that is configured with this one.
fn with_start_url(start_url: &str) -> (Proxy, FakeIdentityCenter, Sandbox) {
    let proxy = Proxy::start();
    let service = aws_behind(&proxy, FakeConfig { start_urls: vec![REAL.to_owned()], ..FakeConfig::default() });
    let sandbox = machine(&service, &proxy.url(""));
    sandbox.write_config(&CORP.replace(REAL, start_url));
    (proxy, service, sandbox)
}

fn answers(service: &FakeIdentityCenter, fault: Fault, times: Times) {
    service.fault(Operation::Unknown, fault, When::BeforeEffect, times);
}

#[test]
fn a_vanity_url_is_followed_once_and_carries_nothing() {
    let (proxy, service, sandbox) = with_start_url("https://login.example.com/aws#/");
    answers(&service, Fault::status(405), Times::Next(1));
    answers(&service, Fault::Redirect(REAL.to_owned()), Times::UntilCleared);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let asked = service.calls(Operation::Unknown);
    let requests: Vec<_> = asked.iter().map(|call| (call.request.method.as_str(), call.request.path())).collect();
    assert_eq!(requests, [("HEAD", "/aws"), ("GET", "/aws")]);
    for call in &asked {
        let names: Vec<_> = call.request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert!(
            names.iter().all(|name| ["host", "user-agent", "content-length"].contains(&name.as_str())),
            "{names:?}"
        );
        assert!(call.request.body.is_empty());
    }
    let hosts: Vec<_> = proxy.asked();
    assert!(hosts.iter().all(|host| *host == format!("{VANITY}:443") || *host == format!("{OIDC}:443")), "{hosts:?}");
    let status = agent.get("/v1/status");
    assert_eq!(status["sessions"][0]["start_url"], "https://login.example.com/aws#/", "as configured");
    sandbox.shim(&["--profile", "dev"]).expect_success();
}

#[test]
fn configure_finds_out_where_a_vanity_url_leads_before_it_writes_it() {
    let (proxy, service, sandbox) = with_start_url("https://unused.example.com");
    let configure = |name: &str| {
        let start_url = ["--start-url", "https://login.example.com/aws", "--region", "eu-west-1"];
        sandbox.cli(&[&["configure", "session", name], &start_url[..]].concat())
    };
    answers(&service, Fault::Redirect("https://ssoins-1.portal.us-east-1.app.aws".to_owned()), Times::Next(1));
    let stderr = configure("new").failed_with(5);
    assert!(stderr.contains("is in us-east-1, not in eu-west-1") && stderr.contains("--region us-east-1"), "{stderr}");
    answers(&service, Fault::status(404), Times::Next(1));
    let stderr = configure("new").failed_with(5);
    assert!(stderr.contains("login.example.com has no such page"), "{stderr}");
    let config = || std::fs::read_to_string(sandbox.home().join(".aws/config")).unwrap();
    assert!(!config().contains("[sso-session new]"));
    answers(&service, Fault::Redirect(REAL.to_owned()), Times::UntilCleared);
    configure("new").expect_success();
    assert!(config().contains("[sso-session new]\nsso_start_url = https://login.example.com/aws\n"), "as it was given");
    let hosts = proxy.asked();
    assert!(hosts.iter().all(|host| *host == format!("{VANITY}:443") || *host == format!("{OIDC}:443")), "{hosts:?}");
}

#[test]
fn a_start_url_that_leads_to_no_portal_of_aws_is_refused_with_what_it_leads_to() {
    let (_proxy, service, sandbox) = with_start_url("https://login.example.com/aws");
    let _agent = sandbox.start_agent();
    for (fault, words) in [
        (Fault::status(404), "login.example.com has no such page (HTTP 404): is the start URL typed correctly?"),
        (Fault::status(403), "does not lead to one: it answered HTTP 403"),
        (Fault::Html200, "does not lead to one: it answered HTTP 200"),
        (Fault::Redirect("https://evil.example/start".to_owned()), "it leads to evil.example, which is not"),
        (Fault::Redirect("http://corp.awsapps.com/start".to_owned()), "by plain http"),
        (Fault::Redirect("https://ssoins-1.portal.us-east-1.app.aws".to_owned()), "us-east-1"),
    ] {
        answers(&service, fault, Times::Next(1));
        let stderr = sandbox.cli(&LOGIN).failed_with(5);
        assert!(stderr.contains(words), "{stderr}");
    }
    assert_eq!(service.count(Operation::RegisterClient), 0);
}

#[test]
fn a_start_url_with_a_slip_in_it_is_named() {
    // The proxy finds no such host.
    let (_proxy, _service, sandbox) = with_start_url("https://lgoin.example.com/aws");
    let agent = sandbox.start_agent();
    let stderr = sandbox.cli(&LOGIN).failed_with(7);
    assert!(stderr.contains("does not connect to lgoin.example.com (HTTP 502)"), "{stderr}");
    assert!(stderr.contains("check sso_start_url at "), "{stderr}");
    drop(agent);
    // AWS knows no such portal.
    let (_proxy, _service, sandbox) = with_start_url("https://crop.awsapps.com/start");
    let _agent = sandbox.start_agent();
    let stderr = sandbox.cli(&LOGIN).failed_with(6);
    assert!(stderr.contains("InvalidRequest"), "{stderr}");
}
