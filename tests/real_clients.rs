//! What it is all for: the AWS CLI, boto3 and the AWS SDK for JavaScript work with a profile that names our shim.
//!
//! Each signs a real request, to a stand-in for STS on loopback that notes which key signed it. `tests/all` installs
//! the clients; without them these tests fail, because a promise that was not tried is not kept.

pub(crate) mod sts;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, FakeRole, Operation};
use crate::support::sandbox::{Finished, SHIM, Sandbox};
use sts::StsStub;

#[test]
fn the_aws_cli_works_before_and_after_a_refresh() {
    works_before_and_after_a_refresh(Client::AwsCli);
}

#[test]
fn boto3_works_before_and_after_a_refresh() {
    works_before_and_after_a_refresh(Client::Boto3);
}

#[test]
fn the_javascript_sdk_works_before_and_after_a_refresh() {
    works_before_and_after_a_refresh(Client::JavaScript);
}

#[test]
fn the_aws_cli_shows_our_line_when_nobody_is_signed_in() {
    shows_our_line_when_nobody_is_signed_in(Client::AwsCli);
}

#[test]
fn boto3_shows_our_line_when_nobody_is_signed_in() {
    shows_our_line_when_nobody_is_signed_in(Client::Boto3);
}

#[test]
fn the_javascript_sdk_shows_our_line_when_nobody_is_signed_in() {
    shows_our_line_when_nobody_is_signed_in(Client::JavaScriptProcessOnly);
}

#[test]
fn the_aws_cli_and_boto3_work_with_a_role_that_is_assumed_once_for_both() {
    let arn = "arn:aws:iam::444455556666:role/Operator";
    let service = FakeIdentityCenter::start(FakeConfig { roles: vec![FakeRole::new(arn)], ..FakeConfig::default() });
    let mut sandbox = served_by_the_shim(service.url());
    sandbox.set("AWS_ENDPOINT_URL_STS", service.url());
    let config = std::fs::read_to_string(sandbox.home().join(".aws/config")).unwrap();
    let (shim, _) = config.split_once(" --session").expect("the profile names its target");
    let shim = shim.rsplit(' ').next().expect("it has a program");
    let source = config.replace("[profile served]", "[profile source]");
    sandbox.write_config(&format!(
        "{source}
[profile chained]
role_arn = {arn}
source_profile = source
region = eu-west-1

[profile served]
credential_process = {shim} --profile chained
region = eu-west-1
"
    ));
    let (agent, sts) = (sandbox.start_agent(), StsStub::start());
    agent.sign_in(&service);
    for client in [Client::AwsCli, Client::Boto3] {
        client.run(&sandbox, &sts).expect_success();
    }
    let served = agent.get("/v1/credentials?profile=chained");
    assert_eq!(sts.last_call().access_key_id, served["AccessKeyId"]);
    assert_eq!((service.count(Operation::GetRoleCredentials), service.count(Operation::AssumeRole)), (1, 1));
}

fn works_before_and_after_a_refresh(client: Client) {
    let service = FakeIdentityCenter::start(FakeConfig {
        access_token_lifetime: Duration::from_secs(12),
        role_credentials_lifetime: Duration::from_secs(15),
        ..FakeConfig::default()
    });
    let (sandbox, sts) = (served_by_the_shim(service.url()), StsStub::start());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);

    let identity = client.run(&sandbox, &sts).expect_success();
    assert!(identity.contains(StsStub::ARN), "{identity}");
    let before = sts.last_call();

    // With a new access token, new role credentials are fetched ahead, because somebody has used them.
    service.wait_for_answers(Operation::CreateTokenRefresh, 1, Duration::from_secs(30)).unwrap();
    let known = service.count(Operation::GetRoleCredentials);
    service.wait_for_answers(Operation::GetRoleCredentials, known + 1, Duration::from_secs(30)).unwrap();

    client.run(&sandbox, &sts).expect_success();
    let after = sts.last_call();
    assert_ne!(before.access_key_id, after.access_key_id, "a new set, asked for by nobody");
    let issued = service.issued_secrets();
    for call in [before, after] {
        assert!(issued.contains(&call.session_token), "signed with what the service has issued: {call:?}");
    }
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "signed in once");
}

fn shows_our_line_when_nobody_is_signed_in(client: Client) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let (sandbox, sts) = (served_by_the_shim(service.url()), StsStub::start());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    client.run(&sandbox, &sts).expect_success();
    sandbox.cli(&["logout", "corp"]).expect_success();

    let ours = sandbox.shim(&TARGET);
    assert_eq!((ours.code, ours.stdout.as_str(), ours.stderr.lines().count()), (Some(3), "", 1), "{ours:?}");
    assert!(ours.stderr.contains("sso-agent login"), "it says what helps: {ours:?}");
    let calls = sts.calls();
    let failed = client.run(&sandbox, &sts);
    assert_ne!(failed.code, Some(0));
    assert!(failed.stderr.contains(ours.stderr.trim_end()), "{}\nis not in\n{}", ours.stderr, failed.stderr);
    assert_eq!(sts.calls(), calls, "nothing was signed");
}

/// A home with the profile `served`, which gets its credentials from the shim and has no `sso_*` keys.
fn served_by_the_shim(service: &str) -> Sandbox {
    let sandbox = Sandbox::new().at(service);
    // Not where this was built: the path stands in a line that SDKs take apart in ways of their own.
    let shim = sandbox.root().join("sso-credential-process");
    symlink(SHIM, &shim).unwrap();
    sandbox.write_config(&format!(
        "[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_registration_scopes = sso:account:access

[profile served]
credential_process = {} {}
region = eu-west-1
",
        shim.display(),
        TARGET.join(" ")
    ));
    sandbox
}

/// A program of somebody else's that uses credentials.
#[derive(Debug, Clone, Copy)]
enum Client {
    AwsCli,
    Boto3,
    JavaScript,
    /// The same, told to try the profile's process and no other source: else it does not say what the process said.
    JavaScriptProcessOnly,
}

impl Client {
    /// Asks STS who it is, with the credentials of the profile `served`.
    fn run(self, sandbox: &Sandbox, sts: &StsStub) -> Finished {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = match self {
            Self::AwsCli => {
                let mut command = self.command(sandbox, "python/bin/aws");
                command.args(["sts", "get-caller-identity", "--output", "json", "--endpoint-url", sts.url()]);
                command
            }
            Self::Boto3 => {
                let mut command = self.command(sandbox, "python/bin/python");
                // No byte code beside the sources.
                command.arg("-B").arg(scripts.join("caller_identity.py"));
                command
            }
            Self::JavaScript | Self::JavaScriptProcessOnly => {
                let mut command = self.command(sandbox, "node/node");
                command.arg(scripts.join("caller-identity.mjs"));
                if matches!(self, Self::JavaScriptProcessOnly) {
                    command.arg("--process-only");
                }
                command.env("NODE_PACKAGES", installed("node/package.json"));
                command
            }
        };
        command.env("STS_STUB", sts.url()).env("AWS_PROFILE", "served").env("AWS_EC2_METADATA_DISABLED", "true");
        Finished::of(&mut command)
    }

    fn command(self, sandbox: &Sandbox, program: &str) -> Command {
        let program = installed(program);
        assert!(
            program.exists(),
            "{self:?} is not installed in {}: run tests/all, which installs it",
            program.display()
        );
        sandbox.command(program)
    }
}

fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients").join(path)
}

const TARGET: [&str; 6] = ["--session", "corp", "--account", "111122223333", "--role", "ReadOnly"];
