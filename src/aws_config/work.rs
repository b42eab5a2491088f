//! How much has been done, for the tests that hold reading to work that grows with the file and no faster.
//!
//! Owns: the count. Refuses to know what is counted: whoever goes over something as long as the files may be says how
//! long it is. Costs nothing outside of tests and fuzzing.

/// So much was gone over: bytes of a text, items of a list.
#[inline]
pub(super) fn did(amount: usize) {
    #[cfg(any(test, feature = "fuzzing"))]
    counting::add(amount);
    #[cfg(not(any(test, feature = "fuzzing")))]
    let _ = amount;
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use counting::{of, weight};

#[cfg(any(test, feature = "fuzzing"))]
mod counting {
    use std::cell::Cell;

    /// What the function returns, and how much was done for it.
    pub(crate) fn of<T>(run: impl FnOnce() -> T) -> (T, usize) {
        DONE.set(0);
        let returned = run();
        (returned, DONE.get())
    }

    /// How large a catalog is, in bytes of its debug text: what is copied for every section weighs, too.
    pub(crate) fn weight(catalog: &super::super::Catalog) -> usize {
        format!("{catalog:?}").len()
    }

    pub(super) fn add(amount: usize) {
        DONE.set(DONE.get().saturating_add(amount));
    }

    thread_local! {
        static DONE: Cell<usize> = const { Cell::new(0) };
    }
}
