//! Which profiles AWS's own tools are to be served by us with, and what would keep them from asking us.
//!
//! Owns: the keys that come before `credential_process` in one tool or another. Refuses to know whether the program is
//! there. Invariant: says places and names of keys, and never a value of one.

use super::catalog::{Place, Sources, decode};
use super::sections::{Files, Section, Sections};
use super::shim;
use crate::shell_words::split;

/// What there is to know of the profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The profiles whose `credential_process` is our shim.
    pub served: Vec<Served>,
    /// Where the profile that counts when none is named has keys of its own.
    pub default_keys: Option<Place>,
}

/// A profile whose `credential_process` is our shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub profile: String,
    /// Where its `credential_process` is written.
    pub place: Place,
    /// The program, as it is written.
    pub program: String,
    /// Keys that some tools read first, and where they are written.
    pub before_us: Vec<(&'static str, Place)>,
}

/// Looks through both files.
#[must_use]
pub fn survey(sources: &Sources) -> Survey {
    let files = Files::of(sources);
    let (config, _) = decode(sources.config.as_ref());
    let (credentials, _) = decode(sources.credentials.as_ref());
    // What cannot be read is the catalog's affair.
    let sections = Sections::read(&config, &credentials, &files, &mut Vec::new());
    let served = sections.profiles.iter().filter_map(|(name, section)| served(name, section, &files)).collect();
    let default = sections.profiles.get("default").filter(|section| section.get("credential_process").is_none());
    let default_keys = default.and_then(|section| section.get(STATIC)).map(|key| files.place(key.at));
    Survey { served, default_keys }
}

fn served(name: &str, section: &Section<'_>, files: &Files) -> Option<Served> {
    let process = section.get("credential_process")?;
    // Whether its arguments make sense is the catalog's affair.
    let _ = shim::parse(process.text)?;
    let program = split(process.text)?.into_iter().next()?;
    let before_us = BEFORE_US.iter().filter_map(|key| Some((*key, files.place(section.get(key)?.at)))).collect();
    Some(Served { profile: name.to_owned(), place: files.place(process.at), program, before_us })
}

const STATIC: &str = "aws_access_key_id";
/// Not the `sso_*` keys, about which the catalog itself warns.
const BEFORE_US: [&str; 4] = [STATIC, "web_identity_token_file", "credential_source", "login_session"];

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::aws_config::SourceFile;

    fn of(config: &str, credentials: &str) -> Survey {
        let file = |path: &str, text: &str| Some(SourceFile { path: PathBuf::from(path), bytes: text.into() });
        survey(&Sources { config: file("/c", config), credentials: file("/k", credentials) })
    }

    #[test]
    fn what_comes_before_us_is_named_with_its_place_and_without_its_value() {
        let shim = "credential_process = /usr/bin/sso-credential-process --profile x\n";
        let config =
            format!("[profile a]\n{shim}[profile b]\n{shim}credential_source = Environment\n[profile o]\nregion = x\n");
        let found = of(&config, "[a]\naws_access_key_id = AKIAEXAMPLEEXAMPLE00\naws_secret_access_key = hidden\n");
        let told: Vec<String> = found
            .served
            .iter()
            .map(|served| {
                let first: Vec<String> =
                    served.before_us.iter().map(|(key, place)| format!("{key} at {place}")).collect();
                format!("{} {} {} {first:?}", served.profile, served.place, served.program)
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"a /c:2 /usr/bin/sso-credential-process ["aws_access_key_id at /k:2"]"#,
                r#"b /c:4 /usr/bin/sso-credential-process ["credential_source at /c:5"]"#
            ]
        );
        assert!(!format!("{found:?}").contains("hidden") && !format!("{found:?}").contains("AKIA"));
        assert_eq!(found.default_keys, None);
    }

    #[test]
    fn keys_of_the_default_profile_are_found_in_either_file() {
        for (config, credentials, place) in
            [("[default]\naws_access_key_id = A\n", "", "/c:2"), ("", "[default]\n\naws_access_key_id = A\n", "/k:3")]
        {
            assert_eq!(of(config, credentials).default_keys.unwrap().to_string(), place);
        }
        let served = "[default]\ncredential_process = sso-credential-process --profile x\naws_access_key_id = A\n";
        assert_eq!(of(served, "").default_keys, None, "said of the profile itself");
    }
}
