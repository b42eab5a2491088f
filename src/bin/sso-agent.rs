//! The agent and its command line.

use std::process::ExitCode;

use sso_agent::clock::SystemClock;
use sso_agent::env::Env;

fn main() -> ExitCode {
    sso_agent::panics::tell_only_where("sso-agent");
    sso_agent::cli::main(std::env::args_os(), &Env::of_process(), &SystemClock).take()
}
