//! `configure`: what it writes is right by the service, and means the same to every client.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::fake::{Exception, FakeAccount, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{AGENT, CORP, Finished, SHIM, Sandbox};

#[test]
fn a_session_is_written_once_the_service_has_said_that_it_is_right() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::new().at(service.url());
    let agent = sandbox.start_agent();
    let done = session(&sandbox, &["--start-url", "https://corp.awsapps.com/start"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let begun = [Operation::RegisterClient, Operation::StartDeviceAuthorization].map(|call| service.count(call));
    assert_eq!(begun, [1, 1]);
    assert!(config(&sandbox).starts_with("[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\n"));
    let status = agent.get("/v1/status");
    assert_eq!(status["sessions"][0]["session"], "corp", "the agent has read it: {status}");
    assert_eq!(status["sessions"][0]["state"], "signed_out", "nothing is kept of the check");
    agent.sign_in(&service);
}

#[test]
fn what_the_service_does_not_know_is_not_written_and_said_so_that_it_helps() {
    let service = FakeIdentityCenter::start(FakeConfig {
        start_urls: vec!["https://corp.awsapps.com/start".to_owned()],
        ..FakeConfig::default()
    });
    let sandbox = Sandbox::new().at(service.url());
    let wrong = session(&sandbox, &["--start-url", "https://crop.awsapps.com/start"]);
    assert_eq!(wrong.code, Some(6), "{wrong:?}");
    assert!(wrong.stderr.contains("no access portal https://crop.awsapps.com/start in region eu-west-1"), "{wrong:?}");
    assert!(wrong.stderr.contains("caused by: InvalidRequestException"), "{wrong:?}");

    service.go_offline();
    let right = ["--start-url", "https://corp.awsapps.com/start"];
    let offline = session(&sandbox, &right);
    assert_eq!(offline.code, Some(7), "{offline:?}");
    assert!(offline.stderr.contains("--no-check"), "{offline:?}");

    assert!(!sandbox.home().join(".aws/config").exists());

    session(&sandbox, &[&right[..], &["--no-check"]].concat()).expect_success();
    assert!(config(&sandbox).contains("sso_region = eu-west-1\n"));
}

#[test]
fn six_hundred_accounts_become_profiles_although_the_portal_throttles() {
    let accounts: Vec<FakeAccount> = (0..600)
        .map(|number| FakeAccount::new(&format!("{number:012}"), &format!("Team {number}"), &["Admin", "ReadOnly"]))
        .collect();
    let service =
        FakeIdentityCenter::start(FakeConfig { accounts, portal_calls_per_second: Some(200), ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // Also on a machine that is too slow to ask more often than it may.
    let throttled = Fault::Exception(Exception::TooManyRequests);
    service.fault(Operation::ListAccountRoles, throttled, When::BeforeEffect, Times::Next(4));
    let done = sandbox.cli(&["configure", "profiles", "--json"]).json();
    assert_eq!(done["profiles"].as_array().map(Vec::len), Some(1200));
    assert!(service.count(Operation::ListAccountRoles) > 600, "the portal has throttled");
    let text = config(&sandbox);
    assert!(text.starts_with(CORP), "what was there is as it was");
    assert!(text.contains("[profile Team-599-ReadOnly]\n"));
    assert!(!text.contains("@example.com"), "nobody's address is written");
    assert_eq!(agent.get("/v1/status")["warnings"], Value::Array(Vec::new()), "the agent reads all of it");

    service.configure(|config| config.portal_calls_per_second = None);
    let path = sandbox.home().join(".aws/config");
    let before = std::fs::metadata(&path).unwrap();
    let again = sandbox.cli(&["configure", "profiles"]);
    assert!(again.stderr.contains("nothing to do"), "{again:?}");
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), before.mtime(), before.mtime_nsec()), (after.ino(), after.mtime(), after.mtime_nsec()));

    let shown = sandbox.cli(&["configure", "profiles", "--filter", "account!=team 5?", "--dry-run"]);
    assert_eq!(shown.stdout.matches("\n-[profile Team-5").count(), 20, "{}", shown.stderr);
    assert_eq!(config(&sandbox), text);
}

#[test]
fn hostile_names_stay_names_for_every_client() {
    let hostile = [
        "x]\n[profile default]\ncredential_process = touch /tmp/x",
        "\x1b]52;c;eA==\x07$(id); rm -rf ~",
        "\u{202e}noitcudorP\u{200b}",
        &"long".repeat(75),
        "",
        "#;=\"'\\",
        "default",
        "größer 日本",
        "Same",
        "Same",
    ];
    let accounts: Vec<FakeAccount> = hostile
        .iter()
        .enumerate()
        .map(|(number, name)| FakeAccount::new(&format!("{number:012}"), name, &["a+b=c,d.e@f-g", "R"]))
        .collect();
    let service = FakeIdentityCenter::start(FakeConfig { accounts, ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let bin = installed_in(&sandbox, "bin");
    let configure = |arguments: &[&str]| {
        Finished::of(sandbox.command(bin.join("sso-agent")).args(["configure", "profiles", "--json"]).args(arguments))
    };
    for form in ["--credential-process", "--sso"] {
        let done = configure(&[form]).json();
        let names: Vec<&str> =
            done["profiles"].as_array().unwrap().iter().map(|profile| profile["profile"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 20);
        let mut expected: Vec<&str> = names.iter().copied().chain(["dev"]).collect();
        expected.sort_unstable();
        assert_eq!(read_by_botocore(&sandbox), expected, "botocore, {form}");
        assert_eq!(read_by_javascript(&sandbox), expected, "JavaScript, {form}");
        assert!(names.contains(&"000000000004-R") && names.contains(&"Same-R-000000000008"), "{names:?}");
        if form == "--sso" {
            continue;
        }
        for name in [names[0], names[7], "Same-R-000000000009"] {
            let keys = [Client::Boto3, Client::JavaScript, Client::Rust].map(|client| client.key_id(&sandbox, name));
            assert!(keys[0].starts_with("ASIA") && keys.iter().all(|key| *key == keys[0]), "{name}: {keys:?}");
        }
    }
    assert!(!Path::new("/tmp/x").exists(), "nobody has run it");
    configure(&["--remove"]).expect_success();
    assert_eq!(config(&sandbox).trim_end(), CORP.trim_end());
}

#[test]
fn a_program_that_some_clients_would_not_run_is_not_written() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let bin = installed_in(&sandbox, "a b");
    let refused = Finished::of(sandbox.command(bin.join("sso-agent")).args(["configure", "profiles"]));
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("some clients would not run"), "{refused:?}");
    std::fs::remove_file(bin.join("sso-credential-process")).unwrap();
    let missing = Finished::of(sandbox.command(bin.join("sso-agent")).args(["configure", "profiles"]));
    assert!(missing.code == Some(5) && missing.stderr.contains("there is no "), "{missing:?}");
    assert_eq!(config(&sandbox), CORP);
}

#[test]
fn a_disk_that_is_full_and_a_directory_that_is_closed_leave_the_file_as_it_was() {
    let sandbox = Sandbox::new();
    let old = format!("{CORP}# {}\n", "x".repeat(2000));
    sandbox.write_config(&old);
    let arguments = "configure session corp --start-url https://other.awsapps.com/start --region eu-west-1 --no-check";
    // The nearest there is without a disk to fill: no file may grow beyond 512 bytes.
    let script = format!("trap '' XFSZ; ulimit -f 1; exec '{AGENT}' {arguments}");
    let full = Finished::of(sandbox.command("/bin/sh").args(["-c", &script]));
    assert_eq!(full.code, Some(5), "{full:?}");
    assert!(full.stderr.contains("nothing was changed"), "{full:?}");
    assert_eq!(config(&sandbox), old);
    assert_eq!(std::fs::read_dir(sandbox.home().join(".aws")).unwrap().count(), 1, "nothing is left behind");

    if !rustix::process::geteuid().is_root() {
        let directory = sandbox.home().join(".aws");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o500)).unwrap();
        let closed = Finished::of(sandbox.command(AGENT).args(arguments.split(' ')));
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(closed.code == Some(5) && closed.stderr.contains("cannot create a file in"), "{closed:?}");
        assert_eq!(config(&sandbox), old);
    }
}

/// `configure session corp` in eu-west-1, unless the arguments say otherwise.
fn session(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    let region: &[&str] = if arguments.contains(&"--region") { &[] } else { &["--region", "eu-west-1"] };
    sandbox.cli(&[&["configure", "session", "corp"], region, arguments].concat())
}

fn config(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.home().join(".aws/config")).unwrap()
}

/// Both programs in a directory of their own.
fn installed_in(sandbox: &Sandbox, name: &str) -> PathBuf {
    let directory = sandbox.root().join(name);
    std::fs::create_dir(&directory).unwrap();
    for program in [AGENT, SHIM] {
        let place = directory.join(Path::new(program).file_name().unwrap());
        if std::fs::hard_link(program, &place).is_err() {
            Finished::of(sandbox.command("cp").arg(program).arg(&place)).expect_success();
        }
    }
    directory
}

/// The names of the profiles, sorted.
fn read_by_botocore(sandbox: &Sandbox) -> Vec<String> {
    let hex = config(sandbox).bytes().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let list = sandbox.write("files.json", &format!("[\"{hex}\"]"));
    let mut command = sandbox.command(client("python/bin/python"));
    command.arg("-B").arg(script("read_config.py")).stdin(std::fs::File::open(list).unwrap());
    let read = Finished::of(&mut command).json();
    names(&read[0]["profiles"])
}

/// The same. This reader lists other sections as profiles whose name has a dot behind the kind.
fn read_by_javascript(sandbox: &Sandbox) -> Vec<String> {
    let mut command = sandbox.command(client("node/node"));
    command.arg(script("read-config.mjs")).env("NODE_PACKAGES", client("node/package.json"));
    let read = Finished::of(&mut command).json();
    assert_eq!(names(&read["sso_sessions"]), ["corp"]);
    names(&read["profiles"]).into_iter().filter(|name| !name.starts_with("sso-session.")).collect()
}

fn names(object: &Value) -> Vec<String> {
    let mut names: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    names
}

/// A program of somebody else's that gets credentials from a profile.
#[derive(Debug, Clone, Copy)]
enum Client {
    Boto3,
    JavaScript,
    Rust,
}

impl Client {
    fn key_id(self, sandbox: &Sandbox, profile: &str) -> String {
        let mut command: Command = match self {
            Self::Boto3 => {
                let mut command = sandbox.command(client("python/bin/python"));
                command.arg("-B").arg(script("key_id.py"));
                command
            }
            Self::JavaScript => {
                let mut command = sandbox.command(client("node/node"));
                command.arg(script("key-id.mjs")).env("NODE_PACKAGES", client("node/package.json"));
                command
            }
            Self::Rust => {
                let mut command = sandbox.command(client("rust/debug/caller-identity"));
                command.arg("--key-id");
                command
            }
        };
        command.env("AWS_PROFILE", profile).env("AWS_EC2_METADATA_DISABLED", "true");
        Finished::of(&mut command).expect_success().trim_end().to_owned()
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn client(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients").join(path);
    assert!(path.exists(), "{} is not there: run tests/all, which installs it", path.display());
    path
}
