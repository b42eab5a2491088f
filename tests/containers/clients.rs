//! Programs of other people's at our endpoints: they keep running while credentials are renewed and the agent restarts.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::{place, token};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, Agent, CORP, Sandbox};

#[test]
fn boto3_goes_on_through_exec_and_through_a_standing_endpoint() {
    goes_on(Client::Boto3);
}

#[test]
fn the_aws_cli_goes_on_through_exec_and_through_a_standing_endpoint() {
    goes_on(Client::AwsCli);
}

#[test]
fn the_javascript_sdk_goes_on_through_exec_and_through_a_standing_endpoint() {
    goes_on(Client::JavaScript);
}

#[test]
fn the_rust_sdk_goes_on_through_exec_and_through_a_standing_endpoint() {
    goes_on(Client::Rust);
}

#[test]
fn every_client_finds_its_way_to_an_instances_metadata() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let here = place(9912);
    let settings = format!("[imds]\nlisten = \"{here}\"\ntarget = \"dev\"\n");
    sandbox.write("home/.config/sso-agent/config.toml", &settings);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let served = agent.get("/v1/credentials?profile=dev");
    for client in Client::ALL {
        let mut command = client.command(&sandbox, sandbox.command("env"));
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{here}")).env("AWS_REGION", "eu-west-1");
        let mut program = Program::start(command);
        let key = program.key();
        // The AWS CLI shows the end of it.
        let shown = key.trim_start_matches('*');
        assert!(shown.len() >= 4 && served["AccessKeyId"].as_str().unwrap().ends_with(shown), "{client:?}: {key}");
    }
}

/// One program without an end of its own: its credentials are renewed, then the agent restarts.
fn goes_on(client: Client) {
    let service = FakeIdentityCenter::start(FakeConfig {
        role_credentials_lifetime: Duration::from_secs(15),
        ..FakeConfig::default()
    });
    let sandbox = Sandbox::with_session(service.url());
    let here = place(9911);
    // What the default profile leads to must not come first.
    sandbox.write_config(&format!("[default]\nregion = eu-west-1\ncredential_process = /bin/false\n\n{CORP}"));
    sandbox.write("home/.config/sso-agent/config.toml", &format!("[container]\nlisten = [\"{here}\"]\n"));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut exec = sandbox.command(AGENT);
    exec.args(["exec", "--profile", "dev", "--"]);
    let through_exec = client.command(&sandbox, exec);
    let mut standing = client.command(&sandbox, sandbox.command("env"));
    let config = sandbox.write("container/config", "[default]\nregion = eu-west-1\n");
    standing
        .env("AWS_CONFIG_FILE", config)
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{here}/credentials"))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", token(&sandbox, &["--profile", "dev"]));
    let mut programs = [through_exec, standing].map(|mut command| {
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        Program::start(command)
    });
    let before = programs.each_mut().map(Program::key);

    // The agent fetches new ones ahead, because somebody has used them.
    let known = service.count(Operation::GetRoleCredentials);
    service.wait_for_answers(Operation::GetRoleCredentials, known + 1, Duration::from_secs(30)).unwrap();
    let renewed = agent.get("/v1/credentials?profile=dev");
    let renewed = renewed["AccessKeyId"].as_str().unwrap();
    assert!(before.iter().all(|key| !renewed.ends_with(key.trim_start_matches('*'))), "{before:?}");
    let after = others(&mut programs, &before, &agent, client);

    agent.kill();
    let agent = sandbox.start_agent();
    others(&mut programs, &after, &agent, client);
}

/// What the programs have after these: at once, where an SDK asks again because little is left; when what it has is over,
/// where it does not; one of them hands out what it has while it fetches others.
fn others(programs: &mut [Program; 2], before: &[String; 2], agent: &Agent<'_>, client: Client) -> [String; 2] {
    [0, 1].map(|index| {
        let mut asked = (0..250).map(|_| {
            assert!(agent.runs_for(Duration::from_millis(100)));
            programs[index].key_again()
        });
        asked.find(|key| *key != before[index]).unwrap_or_else(|| panic!("{client:?} {index}: {before:?}"))
    })
}

#[derive(Debug, Clone, Copy)]
enum Client {
    AwsCli,
    Boto3,
    JavaScript,
    Rust,
}

impl Client {
    const ALL: [Self; 4] = [Self::AwsCli, Self::Boto3, Self::JavaScript, Self::Rust];

    /// The program behind what is there already: says its access key, and again whenever it is told to.
    fn command(self, sandbox: &Sandbox, mut command: Command) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let program = match self {
            Self::AwsCli => "python/bin/aws",
            Self::Boto3 => "python/bin/python",
            Self::JavaScript => "node/node",
            Self::Rust => "rust/debug/caller-identity",
        };
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients").join(program);
        assert!(program.exists(), "{self:?} is not in {}: run tests/all, which installs it", program.display());
        match self {
            // It has no end of its own only in a loop. What it says of its credentials is masked but for the end.
            Self::AwsCli => {
                let script =
                    "for time in $(seq 60); do [ $time = 1 ] || read line || exit 0; \"$0\" configure list; done";
                command.args(["sh", "-c", script]).arg(program);
            }
            // No byte code beside the sources.
            Self::Boto3 => drop(command.arg(program).arg("-B").arg(scripts.join("key_id.py")).arg("60")),
            Self::JavaScript => {
                let packages: PathBuf =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients/node/package.json");
                command.arg(program).arg(scripts.join("key-id.mjs")).arg("60").env("NODE_PACKAGES", packages);
            }
            Self::Rust => drop(command.arg(program).args(["--key-id", "60"])),
        }
        let _ = sandbox;
        command
    }
}

/// A program that is running.
struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The access key that it says it has, as far as it says it.
    fn key(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it has ended");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                // As the AWS CLI has it.
                ["access_key", key, ..] => return (*key).to_owned(),
                [key] if key.starts_with("ASIA") => return (*key).to_owned(),
                _ => {}
            }
        }
    }

    fn key_again(&mut self) -> String {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.key()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
