//! `credentials`: role credentials for programs and shells.
//!
//! Owns: the formats of the AWS CLI's `export-credentials`. Invariant: nothing is printed for a shell to run before
//! every value has been checked to consist of characters that mean nothing to any shell.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::api::{CredentialDocument, Request};
use crate::secret::Secret;
use crate::time::parse_duration;

use super::choice::{self, TargetOptions};
use super::context::{Context, read};
use super::failure::Failure;

/// Print role credentials
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// As a credential_process document, or as lines for a shell to evaluate
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How long they must still live, if they can, for example 30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    min_validity: Option<Duration>,
    /// How long to wait for them
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The JSON document that SDKs read
    #[default]
    Process,
    /// export NAME=value
    Env,
    /// NAME=value
    EnvNoExport,
    /// set -gx NAME "value"
    Fish,
    /// $Env:NAME="value"
    Powershell,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let target = choice::target(&options.target, context.env)?;
    let request = Request::Credentials { target, min_validity: options.min_validity, timeout: Some(options.timeout) };
    // The agent answers within the timeout; a little longer, so that its own words arrive.
    let reply = context.ask_slowly(&request, options.timeout + MARGIN, "asking for role credentials")?;
    if options.format == Format::Process {
        return context.print_body(&reply);
    }
    let document: CredentialDocument = read(&reply)?;
    let lines = format(options.format, &document)?;
    context.print(lines.expose())
}

/// The lines of one format.
pub(super) fn format(format: Format, document: &CredentialDocument) -> Result<Secret, Failure> {
    let key = &document.access_key_id;
    let legal_key =
        (16..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if !legal_key || !is_plain(&document.secret_access_key) || !is_plain(&document.session_token) {
        return Err(Failure::Unsafe("credentials with characters no credentials have"));
    }
    // The AWS CLI writes an offset where we write `Z`.
    let expiration = document.expiration.to_string().replace('Z', "+00:00");
    let mut lines = String::with_capacity(4096);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", document.secret_access_key.expose()),
        ("AWS_SESSION_TOKEN", document.session_token.expose()),
        ("AWS_CREDENTIAL_EXPIRATION", &expiration),
    ] {
        let (before, between, after) = match format {
            Format::Process | Format::EnvNoExport => ("", "=", "\n"),
            Format::Env => ("export ", "=", "\n"),
            Format::Fish => ("set -gx ", " \"", "\"\n"),
            Format::Powershell => ("$Env:", "=\"", "\"\n"),
        };
        for part in [before, name, between, value, after] {
            lines.push_str(part);
        }
    }
    Ok(Secret::new(lines))
}

fn is_plain(secret: &Secret) -> bool {
    let text = secret.expose();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte))
}

const MARGIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn document() -> CredentialDocument {
        CredentialDocument {
            version: 1,
            access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
            secret_access_key: Secret::new("sk".to_owned()),
            session_token: Secret::new("st".to_owned()),
            expiration: "2026-11-22T15:33:40Z".parse().unwrap(),
            account_id: Some("111122223333".parse().unwrap()),
        }
    }

    #[test]
    fn every_format_is_the_aws_clis_byte_for_byte() {
        let written = |kind| format(kind, &document()).unwrap().expose().to_owned();
        assert_eq!(
            written(Format::Env),
            "export AWS_ACCESS_KEY_ID=ASIAEXAMPLEEXAMPLE00\nexport AWS_SECRET_ACCESS_KEY=sk\n\
             export AWS_SESSION_TOKEN=st\nexport AWS_CREDENTIAL_EXPIRATION=2026-11-22T15:33:40+00:00\n"
        );
        assert_eq!(
            written(Format::EnvNoExport),
            "AWS_ACCESS_KEY_ID=ASIAEXAMPLEEXAMPLE00\nAWS_SECRET_ACCESS_KEY=sk\nAWS_SESSION_TOKEN=st\n\
             AWS_CREDENTIAL_EXPIRATION=2026-11-22T15:33:40+00:00\n"
        );
        assert_eq!(
            written(Format::Fish),
            "set -gx AWS_ACCESS_KEY_ID \"ASIAEXAMPLEEXAMPLE00\"\nset -gx AWS_SECRET_ACCESS_KEY \"sk\"\n\
             set -gx AWS_SESSION_TOKEN \"st\"\nset -gx AWS_CREDENTIAL_EXPIRATION \"2026-11-22T15:33:40+00:00\"\n"
        );
        assert_eq!(
            written(Format::Powershell),
            "$Env:AWS_ACCESS_KEY_ID=\"ASIAEXAMPLEEXAMPLE00\"\n$Env:AWS_SECRET_ACCESS_KEY=\"sk\"\n\
             $Env:AWS_SESSION_TOKEN=\"st\"\n$Env:AWS_CREDENTIAL_EXPIRATION=\"2026-11-22T15:33:40+00:00\"\n"
        );
    }

    #[test]
    fn a_value_that_means_something_to_a_shell_is_never_printed() {
        for hostile in ["", "$(id)", "a;b", "a b", "a\nb", "a\"b", "`id`", "a'b", "é", "a\\b", "%PATH%"] {
            let mut token = document();
            token.session_token = Secret::new(hostile.to_owned());
            let mut secret = document();
            secret.secret_access_key = Secret::new(hostile.to_owned());
            let mut key = document();
            key.access_key_id = hostile.to_owned();
            for document in [token, secret, key] {
                for kind in [Format::Env, Format::EnvNoExport, Format::Fish, Format::Powershell] {
                    let failure = format(kind, &document).unwrap_err();
                    assert_eq!(failure.exit(), Exit::Internal, "{hostile:?}");
                }
            }
        }
    }
}
