//! Keeping what was inherited from a child.
//!
//! Owns: the mark "not for the next program" on every descriptor but the standard three. Refuses to know what they are.

use std::io;
use std::os::fd::RawFd;

/// Whatever whoever started us has left open is not handed on to a program that is started from now on.
///
/// # Errors
/// The open descriptors cannot be listed.
pub(crate) fn keep_from_children() -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/dev/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        inherited.extend(number.filter(|number| *number > 2));
    }
    for number in inherited {
        keep(number);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "a descriptor that nobody here knows has no owner to borrow it from")]
fn keep(number: RawFd) {
    // SAFETY: this sets one flag and touches no memory. A number that is not open any more (that of the listing) is
    // refused, and whoever owns the descriptor goes on using it.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn a_child_gets_the_standard_streams_only() {
        let file = std::fs::File::open("/dev/null").unwrap();
        // As a careless program leaves it.
        rustix::io::fcntl_setfd(&file, FdFlags::empty()).unwrap();
        keep_from_children().unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&file).unwrap(), FdFlags::CLOEXEC);
        let output = Command::new("/bin/sh").args(["-c", "ls /dev/fd/"]).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let open: Vec<&str> = listed.split_whitespace().collect();
        // The fourth is what the listing itself is read from.
        assert_eq!(open, ["0", "1", "2", "3"]);
    }
}
