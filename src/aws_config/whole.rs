//! What the files said when they could be read whole, for the time when somebody is in the middle of an edit.
//!
//! Owns: which of two readings counts. Refuses to know when files are read. Invariants: lines that cannot be read, and
//! could be or were not there before, take nothing away and change nothing that was known; what is new beside them
//! is taken; at the first reading they cost themselves, as everywhere.

use std::path::Path;

use super::catalog::{Catalog, Place, SourceFile, Sources, Warning};
use super::ini;
use super::sections::Header;
use crate::env::Env;
use crate::settings::Settings;
use crate::untrusted::shown;

/// The last readings of both files that were whole, or the first ones.
#[derive(Debug, Default)]
pub struct Whole {
    config: Option<Last>,
    credentials: Option<Last>,
}

/// A file as it was last read whole.
#[derive(Debug)]
struct Last {
    source: Option<SourceFile>,
    /// How many of its lines could not be read even so.
    unreadable: usize,
}

impl Whole {
    /// The catalog that counts after this reading.
    pub fn read(&mut self, sources: Sources, env: &Env, settings: &Settings) -> Catalog {
        let mut catalog = Catalog::read(&sources, env, settings);
        let lines = |source: &Option<SourceFile>, headers| match source {
            // What cannot be read is warned of: without a warning there is no need to look for it.
            Some(source) if is_warned_of(&catalog, &source.path) => unreadable_lines(source, headers),
            _ => Vec::new(),
        };
        let in_config = lines(&sources.config, Headers::OfConfig);
        let in_credentials = lines(&sources.credentials, Headers::OfCredentials);
        let config = newly_broken(self.config.as_ref(), sources.config.as_ref(), &in_config);
        let credentials = newly_broken(self.credentials.as_ref(), sources.credentials.as_ref(), &in_credentials);
        if config.is_some() || credentials.is_some() {
            let older = |last: &Option<Last>, now: &Option<SourceFile>, broken: bool| match last {
                Some(last) if broken => last.source.clone(),
                _ => now.clone(),
            };
            let older = Sources {
                config: older(&self.config, &sources.config, config.is_some()),
                credentials: older(&self.credentials, &sources.credentials, credentials.is_some()),
            };
            let older = Catalog::read(&older, env, settings);
            for place in config.iter().chain(&credentials) {
                catalog.keep_what_was(&older, place);
            }
        }
        if config.is_none() {
            self.config = Some(Last { source: sources.config, unreadable: in_config.len() });
        }
        if credentials.is_none() {
            self.credentials = Some(Last { source: sources.credentials, unreadable: in_credentials.len() });
        }
        catalog
    }
}

impl Catalog {
    /// Takes from an older catalog what was written in the file that is broken at this place.
    fn keep_what_was(&mut self, older: &Self, broken: &Place) {
        let diff = older.diff(self);
        let mut kept = Vec::new();
        for name in diff.sessions {
            if let Some(Ok(session)) = older.sessions.get(&name)
                && session.place.file == broken.file
            {
                kept.push(format!("session {}", shown(name.as_str())));
                self.sessions.insert(name, Ok(session.clone()));
            }
        }
        for name in diff.profiles {
            if let Some(Ok(profile)) = older.profiles.get(&name)
                && profile.place.file == broken.file
                && matches!(self.sessions.get(&profile.session), Some(Ok(_)))
            {
                kept.push(format!("profile {}", shown(name.as_str())));
                self.regions.extend(older.regions.get(&name).map(|region| (name.clone(), region.clone())));
                if let Err(place) = self.other_profiles.binary_search(&name) {
                    self.other_profiles.insert(place, name.clone());
                }
                self.profiles.insert(name, Ok(profile.clone()));
            }
        }
        if !kept.is_empty() {
            let more = kept.len().saturating_sub(MOST_NAMED);
            kept.truncate(MOST_NAMED);
            let kept = kept.join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("until this line can be read, what was read before counts for {kept}{more}");
            self.warnings.push(Warning { place: broken.clone(), message });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Headers {
    OfConfig,
    OfCredentials,
}

/// The first line that cannot be read, if there are more of them than at the last whole reading.
fn newly_broken(last: Option<&Last>, now: Option<&SourceFile>, unreadable: &[usize]) -> Option<Place> {
    let (last, now) = (last?, now?);
    let line = unreadable.first().filter(|_| unreadable.len() > last.unreadable)?;
    Some(Place { file: now.path.clone(), line: *line })
}

fn is_warned_of(catalog: &Catalog, file: &Path) -> bool {
    catalog.warnings.iter().any(|warning| warning.place.file == file)
}

/// The lines that cost something, because they cannot be read.
fn unreadable_lines(source: &SourceFile, headers: Headers) -> Vec<usize> {
    let (text, replaced) = ini::decode(&source.bytes);
    let document = ini::parse(&text);
    let complaints = replaced.iter().chain(&document.complaints).filter(|complaint| complaint.is_a_loss());
    let sections = document.sections.iter().filter(|section| {
        headers == Headers::OfConfig && matches!(Header::parse(section.header), Header::Unreadable(_))
    });
    let mut lines: Vec<usize> =
        complaints.map(|complaint| complaint.line).chain(sections.map(|section| section.line)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

const MOST_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n\
                          [profile dev]\nsso_session = corp\nsso_account_id = 111122223333\n\
                          sso_role_name = Developer\n";

    fn read(whole: &mut Whole, config: &str, credentials: &str) -> Catalog {
        let file = |path: &str, text: &str| Some(SourceFile { path: path.into(), bytes: text.into() });
        let sources = Sources { config: file("/config", config), credentials: file("/credentials", credentials) };
        whole.read(sources, &Env::default(), &Settings::default())
    }

    fn region(catalog: &Catalog) -> String {
        catalog.session_named("corp").map(|session| session.region.to_string()).unwrap_or_else(|error| error)
    }

    #[test]
    fn an_edit_that_cannot_be_read_takes_nothing_away() {
        for broken in [
            CONFIG.replace("[sso-session corp]", "[sso-session corp"),
            CONFIG.replace("sso_region = ", "sso_region "),
            CONFIG.replace("[profile dev]", "[profile dev"),
            CONFIG.replace("sso_session = corp", "sso_session corp"),
            CONFIG.replace("corp]", "c o r p]"),
            "\u{1}\u{2}\u{3}".to_owned(),
        ] {
            let mut whole = Whole::default();
            let before = read(&mut whole, CONFIG, "");
            let catalog = read(&mut whole, &broken, "");
            assert_eq!(before.diff(&catalog).sessions, [], "{broken}");
            assert_eq!(before.diff(&catalog).profiles, [], "{broken}");
            let warning = catalog.warnings.last().unwrap().to_string();
            assert!(warning.starts_with("/config:") && warning.contains("what was read before counts"), "{warning}");
            // Still broken, and still the last whole reading counts.
            assert_eq!(region(&read(&mut whole, &format!("{broken}\n# more\n"), "")), "eu-west-1", "{broken}");
            // Mended: what it says counts.
            let mended = CONFIG.replace("eu-west-1", "us-east-1");
            let catalog = read(&mut whole, &mended, "");
            assert_eq!((region(&catalog), catalog.warnings), ("us-east-1".to_owned(), Vec::new()));
        }
    }

    #[test]
    fn what_is_new_beside_a_broken_line_is_taken() {
        let mut whole = Whole::default();
        read(&mut whole, CONFIG, "");
        let more = "[profile more]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = More\n";
        let catalog = read(&mut whole, &format!("{CONFIG}{more}what is this\n"), "");
        assert!(catalog.target_of("dev").is_ok() && catalog.target_of("more").is_ok());
        assert_eq!(catalog.warnings.len(), 1, "nothing had to be kept: {:?}", catalog.warnings);
    }

    #[test]
    fn what_is_readable_is_taken_at_its_word() {
        let mut whole = Whole::default();
        read(&mut whole, CONFIG, "");
        let without = CONFIG.replace("sso_region = eu-west-1\n", "");
        assert!(read(&mut whole, &without, "").session_named("corp").is_err());
        assert_eq!(read(&mut whole, "", "").sessions.len(), 0);
    }

    #[test]
    fn a_line_that_was_broken_from_the_beginning_keeps_nothing_back() {
        let mut whole = Whole::default();
        let catalog = read(&mut whole, &format!("{CONFIG}what is this\n"), "");
        assert!(catalog.target_of("dev").is_ok());
        let changed = CONFIG.replace("eu-west-1", "us-east-1");
        assert_eq!(region(&read(&mut whole, &format!("{changed}what is this\n"), "")), "us-east-1");
        assert_eq!(region(&read(&mut whole, "what is this\n", "")), "unknown");
    }

    #[test]
    fn a_broken_credentials_file_keeps_what_it_said_and_nothing_else() {
        let mut whole = Whole::default();
        let cloud = "[cloud]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Cloud\n";
        read(&mut whole, CONFIG, cloud);
        let changed = CONFIG.replace("eu-west-1", "us-east-1");
        let catalog = read(&mut whole, &changed, "[cloud\n");
        assert_eq!(region(&catalog), "us-east-1");
        assert!(catalog.target_of("cloud").is_ok());
        // A profile without its session is no profile.
        assert!(read(&mut whole, "", "[cloud\n").target_of("cloud").is_err());
    }
}
