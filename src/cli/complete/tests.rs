//! Candidates, with a stand-in for the agent.

use std::sync::Mutex;
use std::time::Duration;

use clap::CommandFactory;
use serde_json::{Value, json};

use super::*;
use crate::api::Request;
use crate::cli::watching::Feed;
use crate::client::{Absence, ClientError, Reply};
use crate::scratch::Scratch;
use crate::secret::SecretBytes;

/// Answers from a script; nobody is there when it has ended.
struct Script(Mutex<Vec<Value>>, Mutex<Vec<Request>>);

impl Ask for Script {
    fn send(&self, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
        assert!(patience < Duration::from_secs(1), "nobody waits longer while typing");
        self.1.lock().unwrap().push(request.clone());
        let mut left = self.0.lock().unwrap();
        if left.is_empty() {
            return Err(ClientError::NoAgent { socket: "/s".into(), absence: Absence::NoSocket });
        }
        let body = SecretBytes::new(serde_json::to_vec(&left.remove(0)).unwrap());
        Ok(Reply { status: 200, agent_version: None, body })
    }

    fn feed(&self) -> std::io::Result<Box<dyn Feed + '_>> {
        unreachable!("nobody watches while typing")
    }

    fn agent_version(&self) -> Option<String> {
        None
    }

    fn pause(&self, _: Duration) {}
}

fn status(state: &str) -> Value {
    let text = include_str!("status.json").replace("STATE", state);
    serde_json::from_str(&text).unwrap()
}

fn ask(env: &Env, words: &[&str], agent: Option<Arc<Agent>>) -> Vec<String> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let question = Question { index: words.len() - 1, words };
    answer(question, crate::cli::Arguments::command(), env, agent).lines().map(str::to_owned).collect()
}

fn home(config: &str) -> (Scratch, Env) {
    let dir = Scratch::new();
    let path = dir.path().join("config");
    std::fs::write(&path, config).unwrap();
    let env = Env::from_iter([("HOME", dir.path()), ("AWS_CONFIG_FILE", path.as_path())]);
    (dir, env)
}

const CONFIG: &str = "\
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
[sso-session my session; $(touch x)]
sso_start_url = https://other.awsapps.com/start
sso_region = eu-west-1
[profile dev]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = Developer
[profile plain]
region = eu-west-1
";

#[test]
fn commands_and_options_complete_from_the_command_line_itself() {
    let env = Env::default();
    let commands = ask(&env, &["sso-agent", "sto"], None);
    assert!(commands[0].starts_with("stop\t") && commands[1].starts_with("storage\t"), "{commands:?}");
    assert!(ask(&env, &["sso-agent", "comp"], None).iter().all(|line| !line.starts_with("complete\t")));
    let options = ask(&env, &["sso-agent", "login", "--no-b"], None);
    assert!(options[0].starts_with("--no-browser\t"), "{options:?}");
    assert_eq!(ask(&env, &["sso-agent", "completions", "z"], None), ["zsh"]);
}

#[test]
fn sessions_and_profiles_complete_from_the_configuration_without_an_agent() {
    let (_dir, env) = home(CONFIG);
    let sessions = ask(&env, &["sso-agent", "login", ""], None);
    assert!(sessions.contains(&"corp\thttps://corp.awsapps.com/start".to_owned()), "{sessions:?}");
    assert_eq!(ask(&env, &["sso-agent", "credentials", "--profile", ""], None), ["dev\tcorp"]);
    assert_eq!(ask(&env, &["sso-agent", "credentials", "--profile=d"], None), ["--profile=dev\tcorp"]);
}

#[test]
fn accounts_and_roles_come_from_an_agent_where_the_session_is_signed_in() {
    let (_dir, env) = home(CONFIG);
    let accounts =
        json!({"accounts": [{"account_id": "111122223333", "account_name": "Pay\u{1b}roll\nx", "email": null}]});
    let script = Arc::new(Script(Mutex::new(vec![status("signed_in"), accounts]), Mutex::default()));
    let found = ask(&env, &["sso-agent", "roles", "corp", "--account", ""], Some(Arc::clone(&script) as Arc<Agent>));
    assert_eq!(found, ["111122223333\tPay\u{fffd}roll\u{fffd}x"]);

    let roles = json!({"roles": [{"account_id": "111122223333", "role_name": "Admin"}]});
    let script = Arc::new(Script(Mutex::new(vec![status("signed_in"), roles]), Mutex::default()));
    let words = ["sso-agent", "credentials", "--account=111122223333", "--role", "A"];
    assert_eq!(ask(&env, &words, Some(Arc::clone(&script) as Arc<Agent>)), ["Admin"]);
}

#[test]
fn a_session_that_is_not_signed_in_is_not_asked_for_its_accounts() {
    let (_dir, env) = home(CONFIG);
    for state in ["signed_out", "pending", "ended"] {
        let script = Arc::new(Script(Mutex::new(vec![status(state)]), Mutex::default()));
        let words = ["sso-agent", "credentials", "--session", "corp", "--account", ""];
        assert_eq!(ask(&env, &words, Some(Arc::clone(&script) as Arc<Agent>)), [""; 0], "{state}");
        assert!(matches!(script.1.lock().unwrap().as_slice(), [Request::Status { .. }]), "{state}");
    }
}

#[test]
fn without_an_agent_there_are_no_accounts_and_no_words() {
    let (_dir, env) = home(CONFIG);
    let script = Arc::new(Script(Mutex::default(), Mutex::default()));
    let words = ["sso-agent", "credentials", "--session", "corp", "--account", ""];
    assert_eq!(ask(&env, &words, Some(script as Arc<Agent>)), [""; 0]);
    assert_eq!(ask(&env, &words, None), [""; 0]);
    assert_eq!(ask(&Env::default(), &["sso-agent", "credentials", "--profile", ""], None), [""; 0]);
}

#[test]
fn the_session_of_a_line_is_the_one_it_names() {
    let words: Vec<OsString> = ["sso-agent", "--socket", "/s", "x", "--session=a"].map(OsString::from).to_vec();
    assert_eq!(value_of(&words, "--session"), Some(OsStr::new("a")));
    assert_eq!(value_of(&words, "--socket"), Some(OsStr::new("/s")));
    assert_eq!(value_of(&words, "--account"), None);
    assert_eq!(value_of(&words[..2], "--socket"), None);
}
