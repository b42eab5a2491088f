//! What the settings say about further doors and about rules at all of them, with every name resolved.
//!
//! Owns: from names to targets, and the warnings about names that lead nowhere. Refuses to know how a door is opened and
//! how a rule is enforced. Invariants: what names no target opens nothing and allows nothing; a rule for a target holds
//! however that target is asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::api::TargetQuery;
use crate::aws_config::{Catalog, Place, Warning};
use crate::ids::{DoorName, TargetId};
use crate::settings::Settings;
use crate::untrusted::shown;

/// All doors but the main socket, and the rules at every door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doors {
    /// By target, how it may be handed out.
    pub policies: BTreeMap<TargetId, Arc<Policy>>,
    /// The restricted sockets.
    pub serve: BTreeMap<DoorName, Arc<Serve>>,
    /// Where the container credentials protocol is spoken.
    pub container: Vec<SocketAddr>,
    /// Where the instance metadata protocol is spoken.
    pub imds: Option<Imds>,
    /// Where `[container]` is written, for messages.
    pub container_place: Option<Place>,
}

/// `[target."NAME"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A person is asked first.
    pub confirm: bool,
    /// How long a yes counts for the same program.
    pub remember: Duration,
    /// The only programs that get it; all, where there is no list.
    pub allow: Option<Vec<PathBuf>>,
    /// The name in the settings, for messages.
    pub name: String,
}

/// `[serve.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Where it listens.
    pub socket: PathBuf,
    /// What it hands out.
    pub targets: Vec<TargetId>,
    /// How long it is open.
    pub lifetime: Option<Duration>,
    /// Whether root is served too.
    pub allow_root: bool,
    /// Where it is written, for messages.
    pub place: Place,
}

/// `[imds]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imds {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it hands out.
    pub target: TargetId,
    /// The same in the words of the settings.
    pub query: TargetQuery,
    /// Where it is written, for messages.
    pub place: Place,
}

impl Doors {
    /// What the configuration says; `home` stands for `~`. What cannot be done is left out, with a warning added to the
    /// catalog's own.
    #[must_use]
    pub fn of(catalog: &mut Catalog, settings: &Settings, home: Option<&Path>) -> Self {
        let mut names = Names { catalog, settings, warnings: Vec::new() };
        let doors = Self {
            policies: names.policies(),
            serve: names.serve(home),
            container: settings.container.listen.iter().chain(&settings.container.exposed).copied().collect(),
            imds: names.imds(),
            container_place: Some(names.place(settings.container.line)).filter(|place| place.line > 0),
        };
        let warnings = names.warnings;
        catalog.warnings.extend(warnings);
        doors
    }
}

struct Names<'c> {
    catalog: &'c Catalog,
    settings: &'c Settings,
    warnings: Vec<Warning>,
}

impl Names<'_> {
    fn policies(&mut self) -> BTreeMap<TargetId, Arc<Policy>> {
        let mut policies: BTreeMap<TargetId, Arc<Policy>> = BTreeMap::new();
        for (name, target) in &self.settings.targets {
            let Some(id) = self.target(&target.target, target.line) else { continue };
            let mut policy = Policy {
                confirm: target.confirm,
                remember: target.remember,
                allow: target.allow.clone(),
                name: name.clone(),
            };
            // Two names of one target: both rules hold.
            if let Some(other) = policies.get(&id) {
                policy.confirm |= other.confirm;
                policy.remember = policy.remember.min(other.remember);
                policy.allow = match (policy.allow, &other.allow) {
                    (Some(these), Some(those)) => Some(these.into_iter().filter(|path| those.contains(path)).collect()),
                    (these, those) => these.or_else(|| those.clone()),
                };
                policy.name = format!("{}, {}", other.name, policy.name);
            }
            policies.insert(id, Arc::new(policy));
        }
        policies
    }

    fn serve(&mut self, home: Option<&Path>) -> BTreeMap<DoorName, Arc<Serve>> {
        let mut doors: BTreeMap<DoorName, Arc<Serve>> = BTreeMap::new();
        for (name, serve) in &self.settings.serve {
            let socket = match (serve.socket.strip_prefix("~"), home) {
                (Ok(below), Some(home)) => home.join(below),
                (Ok(_), None) => {
                    self.warn(serve.line, "socket: there is no home directory to put it below".to_owned());
                    continue;
                }
                (Err(_), _) => serve.socket.clone(),
            };
            if let Some((other, _)) = doors.iter().find(|(_, other)| other.socket == socket) {
                let message = format!("socket: serve.{other} has it already");
                self.warn(serve.line, message);
                continue;
            }
            let targets: Vec<_> = serve.targets.iter().filter_map(|target| self.target(target, serve.line)).collect();
            if targets.is_empty() {
                continue;
            }
            let place = self.place(serve.line);
            let (lifetime, allow_root) = (serve.lifetime, serve.allow_root);
            doors.insert(name.clone(), Arc::new(Serve { socket, targets, lifetime, allow_root, place }));
        }
        doors
    }

    fn imds(&mut self) -> Option<Imds> {
        let imds = self.settings.imds.as_ref()?;
        let target = self.target(&imds.target, imds.line)?;
        Some(Imds { address: imds.address, target, query: imds.target.clone(), place: self.place(imds.line) })
    }

    fn target(&mut self, query: &TargetQuery, line: usize) -> Option<TargetId> {
        match self.catalog.resolve(query) {
            Ok(target) => Some(target.into_owned()),
            Err(error) => {
                self.warn(line, format!("target {}: {error}", shown(&query.to_string())));
                None
            }
        }
    }

    fn warn(&mut self, line: usize, message: String) {
        let place = self.place(line);
        self.warnings.push(Warning { place, message });
    }

    fn place(&self, line: usize) -> Place {
        Place { file: self.settings.file.clone(), line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws_config::{SourceFile, Sources};
    use crate::env::Env;

    const AWS: &str = "[sso-session corp]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-west-1\n\
        [profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n";

    fn doors(settings: &str) -> (Doors, Vec<String>) {
        let settings = Settings { file: "/c".into(), ..Settings::parse(settings).unwrap() };
        let config = Some(SourceFile { path: "/aws".into(), bytes: AWS.into() });
        let mut catalog = Catalog::read(&Sources { config, credentials: None }, &Env::default(), &settings);
        let doors = Doors::of(&mut catalog, &settings, Some(Path::new("/home/u")));
        (doors, catalog.warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_target_is_the_same_by_either_of_its_names_and_both_rules_hold() {
        let (doors, warnings) = doors(
            "[target.dev]\nallow = [\"/a\", \"/b\"]\n[target.\"corp/111122223333/Dev\"]\nconfirm = true\n\
             remember = \"1m\"\nallow = [\"/b\", \"/c\"]\n",
        );
        assert_eq!(warnings, [""; 0]);
        let policy = doors.policies.values().next().unwrap();
        assert_eq!((doors.policies.len(), policy.confirm, policy.remember), (1, true, Duration::from_secs(60)));
        assert_eq!(policy.allow.as_deref(), Some(&[PathBuf::from("/b")][..]));
    }

    #[test]
    fn a_name_that_leads_nowhere_opens_nothing_and_is_told_with_its_line() {
        let (doors, warnings) = doors(
            "[serve.box]\nsocket = \"~/b\"\ntargets = [\"nobody\"]\n[serve.c]\nsocket = \"~/c\"\n\
             targets = [\"dev\", \"nobody\"]\n[imds]\nlisten = \"127.0.0.1:1\"\ntarget = \"nobody\"\n",
        );
        assert_eq!(doors.serve.keys().map(DoorName::as_str).collect::<Vec<_>>(), ["c"]);
        let served = doors.serve.values().next().unwrap();
        assert_eq!((served.socket.as_path(), served.targets.len()), (Path::new("/home/u/c"), 1));
        assert!(doors.imds.is_none());
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].starts_with("/c:1: target nobody: "), "{warnings:?}");
        assert!(warnings[1].starts_with("/c:4: ") && warnings[2].starts_with("/c:7: "), "{warnings:?}");
    }

    #[test]
    fn two_doors_do_not_share_a_socket() {
        let (doors, warnings) = doors(
            "[serve.a]\nsocket = \"~/b\"\ntargets = [\"dev\"]\n[serve.b]\nsocket = \"/home/u/b\"\ntargets = [\"dev\"]\n",
        );
        assert_eq!((doors.serve.len(), warnings), (1, vec!["/c:4: socket: serve.a has it already".to_owned()]));
    }
}
