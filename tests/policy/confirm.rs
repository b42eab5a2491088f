//! A prompt before credentials are handed out, by a pinentry that is a process of its own.

use std::io::Write;
use std::path::PathBuf;

use super::{machine, refusals};
use crate::support::fake::{FakeIdentityCenter, Operation};
use crate::support::sandbox::{Finished, Sandbox};

/// Whoever answers prompts: a program called `pinentry` on the agent's `PATH`.
struct Person {
    directory: PathBuf,
}

impl Person {
    fn at(sandbox: &mut Sandbox) -> Self {
        let file = sandbox.write("prompts/pinentry", PINENTRY);
        let directory = file.parent().unwrap().to_owned();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        for fifo in ["asked", "answer"] {
            Finished::of(sandbox.command("mkfifo").arg(directory.join(fifo))).expect_success();
        }
        sandbox.set("PATH", &format!("{}:/usr/bin:/bin", directory.display()));
        Self { directory }
    }

    /// What is on the screen, once something is.
    fn reads(&self) -> String {
        // Opening it waits until a prompt is there.
        std::fs::read_to_string(self.directory.join("asked")).unwrap()
    }

    fn says(&self, answer: &str) {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(self.directory.join("answer")).unwrap();
        writeln!(pipe, "{answer}").unwrap();
    }

    fn prompts(&self) -> usize {
        std::fs::read_to_string(self.directory.join("heard")).unwrap_or_default().matches("CONFIRM").count()
    }

    fn note(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap()
    }
}

const PINENTRY: &str = r#"#!/bin/sh
here=${0%/*}
env > "$here/environment"
ls -l /proc/$$/fd > "$here/descriptors"
pwd > "$here/place"
echo "OK Pleased to meet you"
while read -r line; do
    echo "$line" >> "$here/heard"
    case "$line" in
        SETDESC*) described=$line; echo OK ;;
        CONFIRM) echo "$described" > "$here/asked"; read -r answer < "$here/answer"; echo "$answer" ;;
        BYE) echo OK; exit 0 ;;
        *) echo OK ;;
    esac
done
"#;

const CONFIRM: &str = "[target.dev]\nconfirm = true\n";
const NO: &str = "ERR 83886194 Not confirmed <Pinentry>";

fn signed_in(settings: &str) -> (FakeIdentityCenter, Sandbox, Person) {
    let (service, mut sandbox) = machine(settings);
    let person = Person::at(&mut sandbox);
    (service, sandbox, person)
}

#[test]
fn fifty_programs_are_one_prompt_that_has_nothing_of_the_agents() {
    let (service, mut sandbox, person) = signed_in(CONFIRM);
    sandbox.set("SSO_AGENT_SECRET_OF_SOMEBODY", "s3cr3t");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(person.prompts(), 0, "nothing was handed out");
    let shims: Vec<_> = (0..50).map(|_| sandbox.spawn_shim(&["--profile", "dev", "--timeout", "120s"])).collect();
    let asked = person.reads();
    let this = std::env::current_exe().unwrap();
    assert!(asked.contains("role ReadOnly in account 111122223333, session corp"), "{asked}");
    if !asked.contains("cannot be told") {
        assert!(asked.contains(this.to_str().unwrap()), "{asked}");
    }
    person.says("OK");
    for shim in shims {
        Finished::awaited(shim).json();
    }
    assert_eq!(person.prompts(), 1);
    sandbox.shim(&["--profile", "dev"]).json();
    assert_eq!(person.prompts(), 1, "remembered");
    let environment = person.note("environment");
    assert!(!environment.contains("s3cr3t") && !environment.contains("AWS_"), "{environment}");
    assert_eq!(person.note("place"), "/\n");
    // Neither a connection nor a file of the agent's; what the test itself was started with may be among them.
    let descriptors = person.note("descriptors");
    let state = sandbox.state();
    assert!(!descriptors.contains("socket:") && !descriptors.contains(state.to_str().unwrap()), "{descriptors}");
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
    assert!(agent.stop().success());
}

#[test]
fn a_no_is_a_refusal_that_is_written_down_and_nobody_is_asked_in_a_loop() {
    let (service, sandbox, person) = signed_in(CONFIRM);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let shim = sandbox.spawn_shim(&["--profile", "dev"]);
    person.reads();
    person.says(NO);
    let shim = Finished::awaited(shim);
    assert_eq!((shim.code, shim.stdout.as_str()), (Some(6), ""), "{shim:?}");
    assert!(shim.stderr.contains("no yes was given at the prompt for target dev"), "{}", shim.stderr);
    for _ in 0..5 {
        assert_eq!(sandbox.shim(&["--profile", "dev"]).code, Some(6));
    }
    assert_eq!(person.prompts(), 1);
    let refusals = refusals(&sandbox);
    assert!(!refusals.is_empty() && refusals.iter().all(|(_, setting, _)| setting == "confirm"), "{refusals:?}");
}

#[test]
fn what_was_confirmed_is_not_handed_out_if_the_agent_was_locked_meanwhile() {
    let (service, sandbox, person) = signed_in(CONFIRM);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let shim = sandbox.spawn_shim(&["--profile", "dev"]);
    person.reads();
    sandbox.cli(&["lock"]).expect_success();
    person.says("OK");
    assert_eq!(Finished::awaited(shim).code, Some(8));
    sandbox.cli(&["unlock"]).expect_success();
    sandbox.shim(&["--profile", "dev"]).json();
    drop(agent);
}

#[test]
fn without_any_prompt_it_is_refused_with_words() {
    let (service, sandbox) = machine(CONFIRM);
    let mut sandbox = sandbox;
    sandbox.set("PATH", sandbox.root().to_str().unwrap().to_owned().as_str());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let shim = sandbox.shim(&["--profile", "dev"]);
    assert_eq!((shim.code, shim.stdout.as_str()), (Some(6), ""), "{shim:?}");
    assert!(shim.stderr.contains("pinentry, zenity or kdialog"), "{}", shim.stderr);
}
