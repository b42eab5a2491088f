//! What happens in a directory, as it happens.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::crash) enum Happened {
    /// It was made.
    Made,
    /// Something was written to it.
    Written,
    /// It took its place under its own name.
    Renamed,
}

/// Watches a directory from now on.
#[derive(Debug)]
pub(in crate::crash) struct Watch {
    inotify: OwnedFd,
    unread: VecDeque<Happened>,
}

impl Watch {
    pub(in crate::crash) fn on(directory: &Path) -> Self {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("the system has inotify");
        let wanted = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
        add_watch(&inotify, directory, wanted).expect("the directory is there");
        Self { inotify, unread: VecDeque::new() }
    }

    /// Returns when this has happened for the `nth` time from here on.
    pub(in crate::crash) fn wait_for(&mut self, wanted: Happened, nth: usize) {
        let mut left = nth;
        while left > 0 {
            match self.unread.pop_front() {
                Some(happened) if happened == wanted => left -= 1,
                Some(_) => {}
                None => self.read(),
            }
        }
    }

    fn read(&mut self) {
        let patience = Timespec::try_from(Duration::from_secs(30)).expect("it is short");
        let mut ready = [PollFd::new(&self.inotify, PollFlags::IN)];
        let events = rustix::io::retry_on_intr(|| poll(&mut ready, Some(&patience))).expect("waiting works");
        assert_ne!(events, 0, "nothing happens in the directory any more");
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::CREATE) => self.unread.push_back(Happened::Made),
                Ok(event) if event.events().contains(ReadFlags::MODIFY) => self.unread.push_back(Happened::Written),
                Ok(event) if event.events().contains(ReadFlags::MOVED_TO) => self.unread.push_back(Happened::Renamed),
                Ok(_) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => panic!("cannot read what happens: {error}"),
            }
        }
    }
}
