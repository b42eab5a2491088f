//! The program that AWS's SDKs run; everything it does is `sso_agent::shim`.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    sso_agent::panics::tell_only_where("sso-credential-process");
    let env = sso_agent::env::Env::of_process();
    sso_agent::shim::run(&env, std::env::args_os().skip(1), &mut io::stdout().lock(), &mut io::stderr()).into()
}
