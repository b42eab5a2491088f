//! Programs of other people's that read the AWS CLI's cache through a plain `sso_session` profile.

use std::path::{Path, PathBuf};

use crate::real_clients::sts::StsStub;
use crate::support::sandbox::{Finished, Sandbox};

#[derive(Debug, Clone, Copy)]
pub(super) enum Client {
    AwsCli,
    Boto3,
    JavaScript,
    Rust,
}

impl Client {
    pub(super) const ALL: [Self; 4] = [Self::AwsCli, Self::Boto3, Self::JavaScript, Self::Rust];

    /// Asks STS who it is, with what the profile `plain` leads to.
    pub(super) fn run(self, sandbox: &Sandbox, sts: &StsStub) -> Finished {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let program = match self {
            Self::AwsCli => "python/bin/aws",
            Self::Boto3 => "python/bin/python",
            Self::JavaScript => "node/node",
            Self::Rust => "rust/debug/caller-identity",
        };
        let program = installed(program);
        assert!(program.exists(), "{self:?} is not in {}: run tests/all, which installs it", program.display());
        let mut command = sandbox.command(program);
        match self {
            Self::AwsCli => {
                command.args(["sts", "get-caller-identity", "--output", "json", "--endpoint-url", sts.url()]);
            }
            // No byte code beside the sources.
            Self::Boto3 => drop(command.arg("-B").arg(scripts.join("caller_identity.py"))),
            Self::JavaScript => {
                command.arg(scripts.join("caller-identity.mjs")).env("NODE_PACKAGES", installed("node/package.json"));
            }
            Self::Rust => {}
        }
        command.env("STS_STUB", sts.url()).env("AWS_PROFILE", "plain").env("AWS_EC2_METADATA_DISABLED", "true");
        Finished::of(&mut command)
    }
}

fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients").join(path)
}
