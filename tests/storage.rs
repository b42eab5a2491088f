//! The key to what is stored: in each of its places, moved between them, and away for a while.

mod migration;
mod passphrase;
mod places;

use std::io::Write;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::fake::FakeIdentityCenter;
use crate::support::sandbox::{AGENT, Finished, Sandbox};

/// A home with one session whose settings say where the key is to be kept.
fn home(service: &FakeIdentityCenter, key: &str) -> Sandbox {
    let sandbox = Sandbox::with_session(service.url());
    set_key(&sandbox, key);
    sandbox
}

fn set_key(sandbox: &Sandbox, key: &str) {
    sandbox.write("home/.config/sso-agent/config.toml", &format!("[storage]\nkey = \"{key}\"\n"));
}

/// Our command line with this on its standard input.
fn begin_with_input(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Child {
    let mut command = sandbox.command(AGENT);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("our command line can be started");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // Who does not read does not want it.
    let _ = stdin.write_all(input.as_bytes());
    child
}

fn cli_with_input(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Finished {
    begin_with_input(sandbox, arguments, input).wait_with_output().expect("it ends").into()
}

fn storage(sandbox: &Sandbox) -> Value {
    sandbox.cli(&["storage", "status", "--json"]).json()
}

/// The names in the state directory that begin with this.
fn names(sandbox: &Sandbox, beginning: &str) -> Vec<String> {
    let names = std::fs::read_dir(sandbox.state()).expect("the state directory can be listed");
    let names = names.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("it is text"));
    names.filter(|name| name.starts_with(beginning)).collect()
}

/// A directory with the credential that a service manager would pass.
fn credential(sandbox: &Sandbox, byte: u8) -> std::path::PathBuf {
    // 32 bytes in Base64: 43 characters and one that fills up.
    let text = format!("{}=\n", char::from(byte).to_string().repeat(42) + "A");
    let file = sandbox.write(&format!("credentials-{byte}/sso-agent-key"), &text);
    file.parent().expect("it is in a directory").to_owned()
}
