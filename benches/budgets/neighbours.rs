//! What a user would pick instead of the shim: a whole process of the AWS tools that gets the same role credentials
//! through IAM Identity Center, with a valid token in its own cache. Wall time, since that is what a person waits for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::process::now;
use super::report::{Budget, Report, median};
use super::scene::{Scene, WARM_ARGUMENTS};
use super::support::sandbox::SHIM;

/// Side by side, as far as `tests/all` has installed them.
pub(crate) fn measure(scene: &Scene<'_>, report: &mut Report) {
    let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-clients");
    if !clients.is_dir() {
        println!("the AWS tools are not there to compare with: tests/all installs them");
        return;
    }
    let token = sign_in_of_their_own(scene);
    let (session, account, role) = (WARM_ARGUMENTS[1], WARM_ARGUMENTS[3], WARM_ARGUMENTS[5]);
    let config = format!(
        "[sso-session {session}]\nsso_start_url = https://{session}.awsapps.com/start\nsso_region = eu-west-1\n\
         [profile direct]\nsso_session = {session}\nsso_account_id = {account}\nsso_role_name = {role}\n"
    );
    let config = scene.sandbox.write("neighbours/config", &config);
    let python = clients.join("python/bin/python");
    let aws_cli = || {
        let mut command = scene.sandbox.command(&python);
        command.arg(clients.join("python/bin/aws")).args(["sso", "get-role-credentials", "--region", "eu-west-1"]);
        command.args(["--account-id", account, "--role-name", role, "--access-token", &token]);
        command
    };
    let boto3 = || {
        let mut command = scene.sandbox.command(&python);
        command.args([
            "-c",
            "import boto3; boto3.Session(profile_name='direct').get_credentials().get_frozen_credentials()",
        ]);
        command
    };
    let javascript = || {
        let mut command = scene.sandbox.command(clients.join("node/node"));
        command
            .args(["--input-type=module", "-e"])
            .arg("import { fromSSO } from '@aws-sdk/credential-provider-sso'; await fromSSO({ profile: 'direct' })();");
        command.current_dir(clients.join("node"));
        command
    };
    let shim = || {
        let mut command = scene.sandbox.command(SHIM);
        command.args(WARM_ARGUMENTS);
        command
    };
    let neighbours: [(&str, &dyn Fn() -> Command); 3] =
        [("AWS CLI v1", &aws_cli), ("boto3", &boto3), ("AWS SDK for JavaScript", &javascript)];
    for (name, neighbour) in neighbours {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(wall(shim()));
            theirs.push(wall({
                let mut command = neighbour();
                command.env("AWS_CONFIG_FILE", &config).env("AWS_EC2_METADATA_DISABLED", "true");
                command
            }));
        }
        let what = format!("credentials in a new process / {name}");
        report.line(&what, "ms", median(ours), Some(median(theirs)), Budget::None);
    }
}

/// The token file that `aws sso login` would have left. Also the token.
fn sign_in_of_their_own(scene: &Scene<'_>) -> String {
    let session = WARM_ARGUMENTS[1];
    let token = scene.agent.get(&format!("/v1/token?session={session}"));
    let name: String = digest(&SHA1_FOR_LEGACY_USE_ONLY, session.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let file = serde_json::json!({
        "startUrl": token["start_url"],
        "region": token["region"],
        "accessToken": token["access_token"],
        "expiresAt": token["expires_at"],
    });
    scene.sandbox.write(&format!("home/.aws/sso/cache/{name}.json"), &file.to_string());
    token["access_token"].as_str().expect("the token is text").to_owned()
}

/// From start to exit, in milliseconds.
fn wall(mut command: Command) -> f64 {
    let began = now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program can be started");
    assert!(status.success(), "{command:?}");
    now().since(began).as_secs_f64() * 1e3
}

const ROUNDS: usize = 15;
