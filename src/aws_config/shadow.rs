//! What of the configuration files stands between a program and the credentials that its environment names.
//!
//! A program without a profile takes the default one, and what that leads to comes before an endpoint for containers.
//! Owns: which lines these are, and a file without them. Refuses to know what is done with it. Invariant: nothing but
//! lines of the default profile is left out, and only those that lead to credentials, so that its region, its endpoints
//! and every other profile stay as they are.

use std::collections::BTreeSet;

use super::Sources;
use super::ini::{self, Document};
use super::sections::{Files, Header, Sections};
use crate::ids::Region;

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `~/.aws/config`.
    Config,
    /// `~/.aws/credentials`.
    Credentials,
}

/// The region that a profile names.
#[must_use]
pub fn region(sources: &Sources, profile: &str) -> Option<Region> {
    let text = |file: &Option<super::SourceFile>| {
        file.as_ref().map_or_else(String::new, |file| ini::decode(&file.bytes).0.into_owned())
    };
    let (config, credentials) = (text(&sources.config), text(&sources.credentials));
    // What cannot be read has been complained about by whom it concerns.
    let sections = Sections::read(&config, &credentials, &Files::of(sources), &mut Vec::new());
    sections.profiles.get(profile)?.get("region")?.text.parse().ok()
}

/// Whether the file may have the secrets that the other profiles have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As they stand there: it is nowhere but in memory.
    Kept,
    /// Without the keys of any profile: it outlives who writes it.
    LeftOut,
}

/// The file without the lines by which the default profile leads to credentials; none where there are none.
#[must_use]
pub fn without_default_credentials(bytes: &[u8], kind: Kind, secrets: Secrets) -> Option<String> {
    let (text, _) = ini::decode(bytes);
    let Document { sections, .. } = ini::parse(&text);
    let ends = sections.iter().skip(1).map(|section| section.line).chain([usize::MAX]);
    let (mut left_out, mut needed) = (BTreeSet::new(), false);
    // What follows the last end of a line is none.
    let lines = text.lines().count();
    for (section, end) in sections.iter().zip(ends) {
        let default = is_default(section.header, kind);
        let unwanted = match secrets {
            _ if default => &LEADING_TO_CREDENTIALS[..],
            Secrets::LeftOut => &KEYS[..],
            Secrets::Kept => continue,
        };
        let nexts = section.properties.iter().skip(1).map(|property| property.line).chain([end]);
        for (property, next) in section.properties.iter().zip(nexts) {
            if unwanted.contains(&property.key.as_ref()) {
                needed |= default;
                // With what continues it.
                left_out.extend(property.line..next.min(lines + 1));
            }
        }
    }
    if !needed {
        return None;
    }
    let kept = text.split('\n').enumerate().filter(|(index, _)| !left_out.contains(&(index + 1)));
    Some(kept.map(|(_, line)| line).collect::<Vec<_>>().join("\n"))
}

/// Whether the default profile is written under this header. What stands under `[DEFAULT]` is every profile's to botocore.
fn is_default(header: &str, kind: Kind) -> bool {
    header == "DEFAULT"
        || matches!((Header::parse(header), kind), (Header::Default, _) | (Header::Profile("default"), Kind::Config))
}

/// Keys of a profile that are, or lead to, credentials in one SDK or another.
const LEADING_TO_CREDENTIALS: [&str; 15] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_security_token",
    "aws_session_token",
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "source_profile",
    "sso_account_id",
    "sso_region",
    "sso_role_name",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];

/// Those of them that are credentials.
const KEYS: [&str; 4] = ["aws_access_key_id", "aws_secret_access_key", "aws_security_token", "aws_session_token"];

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::*;

    const CONFIG: &str = "# mine
[default]
region = eu-west-1
sso_session = corp
SSO_ACCOUNT_ID=111122223333
sso_role_name = ReadOnly
output = json
s3 =
  max_concurrent_requests = 20

[profile other]
credential_process = /usr/bin/x
region = us-east-1

[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
";

    #[test]
    fn the_default_profile_leads_nowhere_and_is_otherwise_what_it_was() {
        let without = without_default_credentials(CONFIG.as_bytes(), Kind::Config, Secrets::Kept).unwrap();
        let expected =
            CONFIG.replace("sso_session = corp\nSSO_ACCOUNT_ID=111122223333\nsso_role_name = ReadOnly\n", "");
        assert_eq!(without, expected);
        assert_eq!(
            without_default_credentials(without.as_bytes(), Kind::Config, Secrets::Kept),
            None,
            "nothing is left to do"
        );
    }

    #[test]
    fn every_spelling_of_the_default_profile_is_known() {
        for header in
            ["[default]", "[profile default]", "[ default ]", "[profile \"default\"]", "[DEFAULT]", "  [default] # x"]
        {
            let text = format!("{header}\nrole_arn = a\n  continued\nsource_profile = b\n[profile c]\nrole_arn = d\n");
            let without = without_default_credentials(text.as_bytes(), Kind::Config, Secrets::Kept).unwrap();
            assert_eq!(without, format!("{header}\n[profile c]\nrole_arn = d\n"), "{header}");
        }
        let text = "[default]\naws_access_key_id = a\naws_secret_access_key = b\n[other]\naws_access_key_id = c";
        let without = without_default_credentials(text.as_bytes(), Kind::Credentials, Secrets::Kept).unwrap();
        assert_eq!(without, "[default]\n[other]\naws_access_key_id = c");
    }

    #[test]
    fn a_file_that_outlives_its_writer_has_no_keys_of_any_profile() {
        let text = "[default]\nrole_arn = a\n[mine]\naws_access_key_id = b\naws_secret_access_key = c\n\
                    aws_session_token =\n  d\nregion = e\nrole_arn = f\n";
        let without = |text: &str| without_default_credentials(text.as_bytes(), Kind::Credentials, Secrets::LeftOut);
        assert_eq!(without(text).unwrap(), "[default]\n[mine]\nregion = e\nrole_arn = f\n");
        assert_eq!(without("[mine]\naws_access_key_id = b\n"), None, "no other file is needed for that");
    }

    #[test]
    fn a_file_without_such_lines_needs_no_other() {
        for text in ["", "[default]\nregion = x\n", "[profile a]\ncredential_process = x\n", "nonsense", "[default"] {
            assert_eq!(without_default_credentials(text.as_bytes(), Kind::Config, Secrets::Kept), None, "{text}");
        }
    }

    #[test]
    fn a_region_is_the_profiles_own() {
        let file = SourceFile { path: "/config".into(), bytes: CONFIG.into() };
        let sources = Sources { config: Some(file), credentials: None };
        assert_eq!(region(&sources, "other").unwrap().as_str(), "us-east-1");
        assert_eq!(region(&sources, "default").unwrap().as_str(), "eu-west-1");
        assert_eq!(region(&sources, "nobody"), None);
    }
}
