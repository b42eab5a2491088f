//! Telling the user something on the desktop.
//!
//! Owns: how a notification reaches the platform: org.freedesktop.Notifications on the session bus, `osascript` on macOS.
//! Refuses to know what is told and why. Invariants: nobody waits for the desktop, so one that hangs holds up nothing;
//! one that is not there is a line in the log and nothing else; what it shows is cleaned here, once more; only a click
//! of the user on a button of ours opens something.

#[cfg(not(target_os = "macos"))]
mod bus;
#[cfg(target_os = "macos")]
mod script;
#[cfg(not(target_os = "macos"))]
mod talk;

use std::fmt;
#[cfg(not(target_os = "macos"))]
use std::sync::{
    Mutex, OnceLock,
    mpsc::{SyncSender, sync_channel},
};

use crate::env::Env;
#[cfg(not(target_os = "macos"))]
use crate::panics;

/// Something for the user's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it is about: it takes the place of the one about the same that is still on the screen.
    pub about: String,
    /// A few words.
    pub title: String,
    /// A sentence or two.
    pub body: String,
    /// Whether it stays until the user has seen it.
    pub stays: bool,
    /// The one thing the user can do about it there, where the desktop has buttons.
    pub button: Option<Button>,
}

/// A button that opens a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What it says.
    pub label: String,
    /// The page.
    pub link: String,
    /// The session's own browser command, if it has one.
    pub browser: Option<Vec<String>>,
}

/// Whoever shows notifications. Neither of the two waits.
pub trait Desktop: Send + Sync {
    /// Shows this.
    fn show(&self, notification: Notification);
    /// Takes the notification about this off the screen, if it is there.
    fn withdraw(&self, about: String);
}

/// A machine without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headless;

impl Desktop for Headless {
    fn show(&self, _: Notification) {}
    fn withdraw(&self, _: String) {}
}

/// Called when the user presses the button; on a thread that may take its time.
pub type Pressed = Box<dyn Fn(&Button) + Send>;

/// The desktop of this user, as far as there is one.
pub struct SystemDesktop {
    #[cfg(not(target_os = "macos"))]
    env: Env,
    /// Taken by the thread when there is first something to show.
    #[cfg(not(target_os = "macos"))]
    pressed: Mutex<Option<Pressed>>,
    #[cfg(not(target_os = "macos"))]
    jobs: OnceLock<SyncSender<Job>>,
}

/// What the thread is told.
#[cfg(not(target_os = "macos"))]
#[derive(Debug)]
enum Job {
    Show(Notification),
    Withdraw(String),
}

impl SystemDesktop {
    /// The desktop that this environment leads to. Nothing is asked before there is something to show.
    #[must_use]
    #[cfg(not(target_os = "macos"))]
    pub fn new(env: &Env, pressed: Pressed) -> Self {
        Self { env: env.clone(), pressed: Mutex::new(Some(pressed)), jobs: OnceLock::new() }
    }

    /// The desktop of whoever is logged in.
    #[must_use]
    #[cfg(target_os = "macos")]
    pub fn new(_: &Env, _: Pressed) -> Self {
        Self {}
    }

    #[cfg(not(target_os = "macos"))]
    fn tell(&self, job: Job) {
        let jobs = self.jobs.get_or_init(|| {
            let (sender, jobs) = sync_channel(MOST_JOBS);
            let pressed = self.pressed.lock().ok().and_then(|mut pressed| pressed.take());
            let (env, pressed) = (self.env.clone(), pressed.unwrap_or_else(|| Box::new(|_| {})));
            panics::spawn_expendable(move || talk::live(&env, &pressed, &jobs));
            sender
        });
        if jobs.try_send(job).is_err() {
            tracing::warn!("the desktop does not answer: a notification is not shown");
        }
    }
}

#[cfg(not(target_os = "macos"))]
impl Desktop for SystemDesktop {
    fn show(&self, notification: Notification) {
        self.tell(Job::Show(notification));
    }

    fn withdraw(&self, about: String) {
        // Where nothing was ever shown, nothing is there to be taken away.
        if self.jobs.get().is_some() {
            self.tell(Job::Withdraw(about));
        }
    }
}

#[cfg(target_os = "macos")]
impl Desktop for SystemDesktop {
    fn show(&self, notification: Notification) {
        script::show(notification);
    }

    /// What the notification centre has shown stays there.
    fn withdraw(&self, _: String) {}
}

impl fmt::Debug for SystemDesktop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SystemDesktop")
    }
}

/// More than wait for a desktop that is only slow.
#[cfg(not(target_os = "macos"))]
const MOST_JOBS: usize = 16;
