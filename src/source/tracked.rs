//! Files that are read again when they have changed, and only then.
//!
//! Owns: what was read last. Refuses to know what is in it. Invariant: what came between a reading and the look after
//! it is seen by that look.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest::{Context, SHA256};

use super::{Gathered, Locations, Source, SourceError, Way, gather};
use crate::aws_config::Sources;
use crate::settings::Settings;

/// The files of this machine, and what they were when they were read last.
#[derive(Debug)]
pub struct Tracked {
    locations: Locations,
    seen: Mutex<Option<Seen>>,
}

/// How sure somebody is who looks that there is something to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The system told of a change: the content is compared.
    Told,
    /// Nobody told of anything: the content is compared only if the files look like others.
    Untold,
}

/// What a look at the files found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// They are not what was read last.
    pub changed: bool,
    /// Where the next change will show.
    pub way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    stamps: [Stamp; 3],
    digest: Vec<u8>,
}

/// What tells one file from another without opening it; the reason why it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    None(io::ErrorKind),
}

impl Tracked {
    /// These files, not read yet.
    #[must_use]
    pub const fn new(locations: Locations) -> Self {
        Self { locations, seen: Mutex::new(None) }
    }

    /// Whether the files have changed since they were read last, and where their next change will show.
    pub fn look(&self, doubt: Doubt) -> Look {
        // Before the files: what happens in between shows in the next look.
        let way = Way::to(self.paths());
        let stamps = self.stamps();
        let mut seen = self.seen();
        let alike = seen.as_ref().is_some_and(|seen| seen.stamps == stamps);
        let changed = if alike && doubt == Doubt::Untold {
            false
        } else {
            let digest = digest(&gather(&self.locations));
            let same = seen.as_ref().is_some_and(|seen| seen.digest == digest);
            if same {
                *seen = Some(Seen { stamps, digest });
            }
            !same
        };
        Look { changed, way }
    }

    fn paths(&self) -> [&Path; 3] {
        [&self.locations.aws_config, &self.locations.aws_credentials, &self.locations.settings]
    }

    fn stamps(&self) -> [Stamp; 3] {
        self.paths()
            .map(|path| path.metadata().map_or_else(|error| Stamp::None(error.kind()), |found| Stamp::of(&found)))
    }

    /// A panic while it was held can have left nothing half done.
    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Tracked {
    fn read(&self) -> Result<(Sources, Settings), SourceError> {
        let mut seen = self.seen();
        // Before the content: what is written in between looks like another file at the next look.
        let stamps = self.stamps();
        let gathered = gather(&self.locations);
        *seen = Some(Seen { stamps, digest: digest(&gathered) });
        gathered?.understood(&self.locations)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Of what was read, or of the reason why it was not.
fn digest(gathered: &Result<Gathered, SourceError>) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    let mut add = |tag: u8, bytes: &[u8]| {
        context.update(&[tag]);
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    match gathered {
        Ok(Gathered { aws_config, aws_credentials, settings }) => {
            for file in [aws_config, aws_credentials, settings] {
                match file {
                    Some(bytes) => add(1, bytes),
                    None => add(0, b""),
                }
            }
        }
        Err(error) => add(2, error.trouble().as_bytes()),
    }
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    fn tracked(scratch: &Scratch) -> Tracked {
        let path = |name: &str| scratch.path().join(name);
        Tracked::new(Locations {
            aws_config: path("config"),
            aws_credentials: path("credentials"),
            settings: path("config.toml"),
            settings_named: false,
        })
    }

    fn changed(tracked: &Tracked) -> [bool; 2] {
        [tracked.look(Doubt::Untold).changed, tracked.look(Doubt::Told).changed]
    }

    #[test]
    fn what_was_not_read_yet_has_changed() {
        let scratch = Scratch::new();
        assert_eq!(changed(&tracked(&scratch)), [true, true]);
    }

    #[test]
    fn a_change_is_seen_until_it_is_read() {
        let scratch = Scratch::new();
        let tracked = tracked(&scratch);
        for name in ["config", "credentials", "config.toml"] {
            tracked.read().unwrap();
            assert_eq!(changed(&tracked), [false, false], "{name}");
            fs::write(scratch.path().join(name), "# new\n").unwrap();
            assert_eq!(changed(&tracked), [true, true], "{name}");
            assert_eq!(changed(&tracked), [true, true], "{name}: nobody has read it");
        }
        fs::remove_file(scratch.path().join("config")).unwrap();
        assert_eq!(changed(&tracked), [true, true]);
    }

    #[test]
    fn the_same_content_in_another_file_is_no_change() {
        let scratch = Scratch::new();
        let (path, other) = (scratch.path().join("config"), scratch.path().join("other"));
        fs::write(&path, "[default]\n").unwrap();
        let tracked = tracked(&scratch);
        tracked.read().unwrap();
        fs::write(&other, "[default]\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(changed(&tracked), [false, false]);
    }

    #[test]
    fn trouble_is_a_change_and_its_end_is_one_too() {
        let scratch = Scratch::new();
        let path = scratch.path().join("config.toml");
        let tracked = tracked(&scratch);
        fs::write(&path, "keep_warm = \"1h\"\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        tracked.read().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(changed(&tracked), [true, true], "others can write it");
        tracked.read().unwrap_err();
        assert_eq!(changed(&tracked), [false, false], "that was read");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(changed(&tracked), [true, true]);
        tracked.read().unwrap();
        fs::write(&path, "nonsense\n").unwrap();
        tracked.read().unwrap_err();
        assert_eq!(changed(&tracked), [false, false]);
    }
}
