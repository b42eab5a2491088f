//! The socket that launchd made for the agent.
//!
//! Owns: asking launchd for it by the name it has in the plist. Refuses to judge it. Type-checked by nobody but a Mac's
//! compiler, so it is as small as it can be.

use std::ffi::{CString, c_char, c_int};
use std::os::fd::{FromRawFd, OwnedFd};

use super::inherited::InheritedError;

/// The socket, or none if this process was not started by launchd, or not for a socket of that name.
#[expect(unsafe_code, reason = "launchd hands sockets over through a C function only")]
pub(super) fn socket(name: &str) -> Result<Option<OwnedFd>, InheritedError> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut numbers: *mut c_int = std::ptr::null_mut();
    let mut count: usize = 0;
    // SAFETY: a string that ends, and places for both results that live long enough.
    match unsafe { launch_activate_socket(name.as_ptr(), &raw mut numbers, &raw mut count) } {
        0 if numbers.is_null() => return Ok(None),
        0 => {}
        libc::ESRCH | libc::ENOENT | libc::EALREADY => return Ok(None),
        error => return Err(InheritedError::Io(std::io::Error::from_raw_os_error(error))),
    }
    let mut sockets = (0..count).map(|index| {
        // SAFETY: launchd returned an array of `count` descriptors, each open and from now on this process's own.
        unsafe { OwnedFd::from_raw_fd(*numbers.add(index)) }
    });
    // All are taken over, so that those not used are closed.
    let taken: Vec<OwnedFd> = sockets.by_ref().collect();
    // SAFETY: the array is to be freed by the caller, and nothing refers to it any more.
    unsafe { libc::free(numbers.cast()) };
    Ok(taken.into_iter().next())
}

#[expect(unsafe_code, reason = "see above")]
unsafe extern "C" {
    fn launch_activate_socket(name: *const c_char, numbers: *mut *mut c_int, count: *mut usize) -> c_int;
}
