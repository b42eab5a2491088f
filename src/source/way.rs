//! The way to a file, as the system would go it: which directories lie on it, so that a change on it is heard of.
//!
//! Owns: links and missing places. Refuses to know what is in a file. Invariant: whatever makes another file come out
//! at the end of the way (an edit, a rename, a link that leads elsewhere, a directory made anew, a file that comes
//! into being) is a change in one of the directories, under one of the names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Where changes to some files show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// The directories, by paths without links.
    pub directories: BTreeMap<PathBuf, Directory>,
    /// What is looked up in them; nothing else in them matters.
    pub names: BTreeSet<OsString>,
}

/// Which directory it is that has a path now: one made anew is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    device: u64,
    inode: u64,
}

impl Way {
    /// The way to these files, as it is now.
    pub fn to<'p>(files: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut way = Self::default();
        for file in files {
            way.follow(file);
        }
        way
    }

    fn follow(&mut self, path: &Path) {
        let Ok(path) = std::path::absolute(path) else { return };
        let mut here = PathBuf::from("/");
        let mut left = steps(&path);
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let entry = here.join(&name);
            let found = entry.symlink_metadata();
            match found {
                Ok(found) if found.is_symlink() => {
                    self.watch(&here, name, true);
                    links += 1;
                    let Ok(target) = entry.read_link() else { return };
                    if links > MOST_LINKS {
                        return;
                    }
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    for step in steps(&target).into_iter().rev() {
                        left.push_front(step);
                    }
                }
                Ok(found) if found.is_dir() && !left.is_empty() => {
                    self.watch(&here, name, false);
                    here = entry;
                }
                // `/dev/null` says nothing today and tomorrow, and everybody writes to it.
                Ok(found) if found.file_type().is_char_device() => return,
                // The file, or what is in its place; or nothing: what comes into being comes here.
                Ok(_) | Err(_) => return self.watch(&here, name, true),
            }
        }
    }

    /// A directory that holds the file, a link, or nothing where there should be something is always watched; one that
    /// holds only the next directory is where we could move that ourselves: nobody moves `/home`.
    fn watch(&mut self, directory: &Path, name: OsString, needed: bool) {
        // A directory that is moved or removed says so under its own name.
        self.names.extend(directory.file_name().map(OsStr::to_owned));
        self.names.insert(name);
        let Ok(metadata) = directory.metadata() else { return };
        if needed || is_ours_alone(directory, &metadata) {
            let identity = Directory { device: metadata.dev(), inode: metadata.ino() };
            self.directories.insert(directory.to_owned(), identity);
        }
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let step = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(step).collect()
}

fn is_ours_alone(directory: &Path, metadata: &Metadata) -> bool {
    let sticky = metadata.mode() & 0o1000 != 0;
    metadata.uid() == rustix::process::geteuid().as_raw() && !sticky && directory.parent().is_some()
}

/// As many as the system follows.
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::scratch::Scratch;

    fn way(path: &Path) -> Way {
        Way::to([path])
    }

    /// The watched directories below the scratch directory, as they are called there.
    fn watched(scratch: &Scratch, way: &Way) -> Vec<String> {
        let root = scratch.path().canonicalize().unwrap();
        let below = way.directories.keys().filter_map(|path| path.strip_prefix(&root).ok());
        below.map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_directory_of_ours_on_the_way_is_watched() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path().join("home/.aws")).unwrap();
        fs::write(scratch.path().join("home/.aws/config"), "").unwrap();
        let way = way(&scratch.path().join("home/.aws/config"));
        assert_eq!(watched(&scratch, &way), ["", "home", "home/.aws"]);
        for name in ["home", ".aws", "config"] {
            assert!(way.names.contains(OsStr::new(name)), "{name}");
        }
        assert!(!way.directories.contains_key(Path::new("/")), "nobody moves what is there");
    }

    #[test]
    fn links_lead_to_where_they_lead_and_are_watched_where_they_lie() {
        let scratch = Scratch::new();
        let at = |path: &str| scratch.path().join(path);
        fs::create_dir_all(at("home")).unwrap();
        fs::create_dir_all(at("dotfiles/v1/aws")).unwrap();
        fs::write(at("dotfiles/v1/aws/config"), "").unwrap();
        symlink("v1", at("dotfiles/now")).unwrap();
        symlink(at("dotfiles/now/aws"), at("home/.aws")).unwrap();
        symlink("../aws/../aws/config", at("dotfiles/v1/aws/link")).unwrap();
        let way = way(&at("home/.aws/link"));
        assert_eq!(watched(&scratch, &way), ["", "dotfiles", "dotfiles/v1", "dotfiles/v1/aws", "home"]);
        for name in [".aws", "now", "v1", "aws", "link", "config"] {
            assert!(way.names.contains(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn of_what_is_not_there_the_nearest_directory_that_is_there_is_watched() {
        let scratch = Scratch::new();
        let path = scratch.path().join("home/.aws/config");
        assert_eq!(watched(&scratch, &way(&path)), [""]);
        symlink("nowhere/at/all", scratch.path().join("home")).unwrap();
        let dangling = way(&path);
        assert_eq!(watched(&scratch, &dangling), [""]);
        assert!(dangling.names.contains(OsStr::new("nowhere")));
    }

    #[test]
    fn what_is_no_file_is_not_watched() {
        assert_eq!(way(Path::new("/dev/null")).directories.len(), 0);
    }

    #[test]
    fn a_directory_made_anew_is_another_way() {
        let scratch = Scratch::new();
        let directory = scratch.path().join(".aws");
        fs::create_dir(&directory).unwrap();
        let before = way(&directory.join("config"));
        assert_eq!(before, way(&directory.join("config")));
        fs::rename(&directory, scratch.path().join("old")).unwrap();
        fs::create_dir(&directory).unwrap();
        assert_ne!(before, way(&directory.join("config")));
    }

    #[test]
    fn links_that_go_round_in_circles_come_to_an_end() {
        let scratch = Scratch::new();
        symlink("b", scratch.path().join("a")).unwrap();
        symlink("a", scratch.path().join("b")).unwrap();
        assert_eq!(watched(&scratch, &way(&scratch.path().join("a/config"))), [""]);
    }
}
