//! Where the session bus is.
//!
//! Owns: the way from an environment to an address. Invariant: only a bus that is there already is named: libdbus starts
//! one where it finds none, and nobody looks at that one.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;

use crate::env::Env;

/// The address of the session bus, if there is one.
pub(super) fn address(env: &Env) -> Option<String> {
    match env.get_os("DBUS_SESSION_BUS_ADDRESS") {
        // Those two start a program.
        Some(address)
            if [&b"autolaunch:"[..], b"unixexec:"].iter().any(|kind| address.as_bytes().starts_with(kind)) =>
        {
            None
        }
        Some(address) => address.to_str().map(str::to_owned),
        None => env.get_os("XDG_RUNTIME_DIR").map(|directory| Path::new(directory).join("bus")).and_then(of_socket),
    }
}

fn of_socket(path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    let file = rustix::fs::stat(path).ok()?;
    let ours = file.st_uid == rustix::process::getuid().as_raw();
    if !ours || FileType::from_raw_mode(file.st_mode) != FileType::Socket {
        return None;
    }
    let mut address = "unix:path=".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_/.".contains(byte) {
            address.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(address, "%{byte:02x}");
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_bus_that_would_have_to_be_started_is_none() {
        for address in ["autolaunch:", "autolaunch:scope=*user", "unixexec:path=/usr/bin/dbus-launch"] {
            assert_eq!(super::address(&Env::from_iter([("DBUS_SESSION_BUS_ADDRESS", address)])), None, "{address}");
        }
        assert_eq!(address(&Env::default()), None);
        assert_eq!(address(&Env::from_iter([("XDG_RUNTIME_DIR", "/nowhere")])), None);
    }

    #[test]
    fn the_usual_place_is_named_with_every_character_that_means_something_escaped() {
        let scratch = Scratch::new();
        let directory = scratch.path().join("a b;c=d");
        std::fs::create_dir(&directory).unwrap();
        let env = Env::from_iter([("XDG_RUNTIME_DIR", directory.clone())]);
        std::fs::write(directory.join("bus"), "").unwrap();
        assert_eq!(address(&env), None, "a file is no bus");
        std::fs::remove_file(directory.join("bus")).unwrap();
        let _listener = UnixListener::bind(directory.join("bus")).unwrap();
        let named = address(&env).unwrap();
        assert!(named.ends_with("/a%20b%3bc%3dd/bus") && named.starts_with("unix:path=/"), "{named}");
    }
}
