//! Memory that is kept out of swap as long as a secret lies in it.
//!
//! Owns: which pages are locked, counted by the secrets in them. Refuses to know what the secrets are. Invariants: a
//! page is locked as long as one secret that was made after [`begin`] lies in it; nothing is locked before, so a
//! program that never calls it pays one look at a flag for each; a page that cannot be locked is no error, for secrets
//! that serve are worth more than ones that are slightly better kept.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// From now on the memory of secrets is locked. Tries it with one page.
///
/// # Errors
/// The system does not let this process lock any memory: none will be.
pub fn begin() -> rustix::io::Result<()> {
    let counts = counts();
    let something = Box::new(0_u8);
    let pages = pages_of(std::ptr::from_ref(&*something).addr(), 1);
    call(Act::Lock, &pages)?;
    if !counts.contains_key(&pages.start) {
        call(Act::Unlock, &pages)?;
    }
    LOCKING.store(true, Ordering::Relaxed);
    Ok(())
}

/// A value that has secrets in itself, in locked memory. What its type keeps behind pointers is not covered.
pub struct Resident<T> {
    value: Box<T>,
    held: Held,
}

impl<T> Resident<T> {
    /// Moves the value there.
    pub fn new(value: T) -> Self {
        let value = Box::new(value);
        let held = Held::lock(std::ptr::from_ref(&*value).addr(), size_of::<T>());
        Self { value, held }
    }
}

impl<T> Deref for Resident<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Resident<T> {
    fn drop(&mut self) {
        self.held.release(std::ptr::from_ref(&*self.value).addr(), size_of::<T>());
    }
}

/// Whether the pages of an allocation are counted. To be released by its owner, who knows where it is.
#[derive(Debug, Default)]
pub(super) struct Held(bool);

impl Held {
    /// Locks the pages that so many bytes from this address on lie in.
    pub(super) fn lock(start: usize, length: usize) -> Self {
        if length == 0 || !LOCKING.load(Ordering::Relaxed) {
            return Self(false);
        }
        let mut counts = counts();
        for_runs(&pages_of(start, length), Act::Lock, |page| {
            let count = counts.entry(page).or_insert(0);
            *count += 1;
            *count == 1
        });
        Self(true)
    }

    /// Unlocks those of the same pages that nothing else lies in. Once; then there is nothing to release.
    pub(super) fn release(&mut self, start: usize, length: usize) {
        if !std::mem::take(&mut self.0) {
            return;
        }
        let mut counts = counts();
        for_runs(&pages_of(start, length), Act::Unlock, |page| match counts.get_mut(&page) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => counts.remove(&page).is_some(),
        });
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Lock,
    Unlock,
}

/// Does this to the pages that are `wanted`, as few calls as their neighbourhood allows. A page that the system refuses
/// to lock (the limit is 8 MiB in most places) is left as it is.
fn for_runs(pages: &Range<usize>, act: Act, mut wanted: impl FnMut(usize) -> bool) {
    let size = rustix::param::page_size();
    let mut run = pages.start..pages.start;
    for page in pages.clone().step_by(size) {
        if wanted(page) {
            run.end = page + size;
        } else {
            let _ = call(act, &run);
            run = page + size..page + size;
        }
    }
    let _ = call(act, &run);
}

#[expect(unsafe_code, reason = "the system calls take addresses; there is no safe wrapper")]
fn call(act: Act, pages: &Range<usize>) -> rustix::io::Result<()> {
    if pages.is_empty() {
        return Ok(());
    }
    let start = std::ptr::without_provenance_mut(pages.start);
    // SAFETY: neither call reads or writes memory or changes what it holds, wherever the address leads.
    unsafe {
        match act {
            Act::Lock => rustix::mm::mlock(start, pages.len()),
            Act::Unlock => rustix::mm::munlock(start, pages.len()),
        }
    }
}

/// From the beginning of the first to the end of the last.
fn pages_of(start: usize, length: usize) -> Range<usize> {
    let size = rustix::param::page_size();
    start / size * size..(start + length).next_multiple_of(size)
}

/// A panic while it was held has left a page locked for too long at most.
fn counts() -> MutexGuard<'static, BTreeMap<usize, u32>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

static LOCKING: AtomicBool = AtomicBool::new(false);
/// How many secrets lie in each page.
static COUNTS: Mutex<BTreeMap<usize, u32>> = Mutex::new(BTreeMap::new());

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    /// Large enough to have pages that nobody else uses.
    const LARGE: usize = 1024 * 1024;

    /// Whether the kernel says so of the page at this address.
    fn is_locked(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                if inside {
                    return flags.split_ascii_whitespace().any(|flag| flag == "lo");
                }
            } else if let Some((start, end)) = line.split(' ').next().and_then(|range| range.split_once('-')) {
                let hex = |text| usize::from_str_radix(text, 16);
                if let (Ok(start), Ok(end)) = (hex(start), hex(end)) {
                    inside = (start..end).contains(&address);
                }
            }
        }
        false
    }

    #[test]
    fn a_page_is_locked_as_long_as_one_secret_lies_in_it() {
        begin().unwrap();
        let memory = vec![0_u8; LARGE];
        let page = pages_of(memory.as_ptr().addr(), LARGE).start + 16 * rustix::param::page_size();
        assert!(!is_locked(page));
        let mut first = Held::lock(page + 10, 20);
        let mut second = Held::lock(page + 100, 20);
        assert!(is_locked(page) && !is_locked(page + rustix::param::page_size()));
        first.release(page + 10, 20);
        first.release(page + 10, 20);
        assert!(is_locked(page));
        second.release(page + 100, 20);
        assert!(!is_locked(page));
    }

    #[test]
    fn a_range_over_pages_of_which_some_are_locked_locks_and_unlocks_the_others() {
        begin().unwrap();
        let memory = vec![0_u8; LARGE];
        let size = rustix::param::page_size();
        let start = pages_of(memory.as_ptr().addr(), LARGE).start + 8 * size;
        let mut inner = Held::lock(start + size, size);
        let mut outer = Held::lock(start, 3 * size);
        let locked = || (0..4).map(|page| is_locked(start + page * size)).collect::<Vec<_>>();
        assert_eq!(locked(), [true, true, true, false]);
        outer.release(start, 3 * size);
        assert_eq!(locked(), [false, true, false, false]);
        inner.release(start + size, size);
        assert_eq!(locked(), [false; 4]);
    }

    #[test]
    fn the_memory_of_secrets_is_locked() {
        begin().unwrap();
        let secret = super::super::Secret::new("s".repeat(LARGE));
        let bytes = super::super::SecretBytes::new(vec![1; LARGE]);
        let copy = secret.clone();
        for start in [secret.expose().as_ptr(), bytes.expose().as_ptr(), copy.expose().as_ptr()] {
            assert!(is_locked(start.addr() + LARGE / 2));
        }
        let resident = Resident::new([7_u8; 32]);
        assert!(is_locked(resident.as_ptr().addr()));
    }
}
