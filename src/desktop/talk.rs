//! The thread that talks to org.freedesktop.Notifications.
//!
//! Owns: the connection, which lives as long as there is a button on the screen, and what is on the screen. Invariants:
//! text never becomes markup; a press counts only if it comes from whoever shows the button; without a button to be
//! pressed the thread sleeps until there is a job.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use dbus::Message;
use dbus::arg::{AppendAll, PropMap, ReadAll, RefArg, Variant};
use dbus::channel::Channel;

use super::{Button, Job, Notification, Pressed, bus};
use crate::env::Env;
use crate::untrusted::shown;

/// Does the jobs, one after the other, until there are no more.
pub(super) fn live(env: &Env, pressed: &Pressed, jobs: &Receiver<Job>) {
    let mut screen = Screen { pressed, server: String::new(), shown: BTreeMap::new() };
    let mut channel: Option<Channel> = None;
    let mut told = false;
    loop {
        let job = if channel.is_some() {
            match jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match jobs.recv() {
                Ok(job) => Some(job),
                Err(_) => return,
            }
        };
        let outcome = match job {
            Some(Job::Withdraw(about)) if !screen.shown.contains_key(&about) => Ok(channel.take()),
            Some(job) => connected(channel.take(), env).and_then(|open| screen.do_job(job, &open).map(|()| Some(open))),
            // libdbus waits for the bus alone, so jobs are looked for now and then: as long as there is a button.
            None => Ok(channel.take().filter(|open| open.read_write(Some(LOOK_FOR_JOBS)).is_ok())),
        };
        match outcome {
            Ok(open) => {
                told = false;
                channel = open.filter(|open| screen.listen(open));
            }
            Err(trouble) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("notifications are not shown: {trouble}");
                }
            }
        }
    }
}

fn connected(channel: Option<Channel>, env: &Env) -> Result<Channel, Trouble> {
    if let Some(channel) = channel.filter(Channel::is_connected) {
        return Ok(channel);
    }
    let address = bus::address(env).ok_or(Trouble::NoBus)?;
    let channel = Channel::open_private(&address).map_err(Trouble::Bus)?;
    // By hand: `register` would wait for the answer with a lock that everybody needs who comes to any bus, and the
    // keyring is on one.
    let _: (_, (String,)) = call(&channel, BUS, BUS_PATH, "Hello", ())?;
    let rule = format!("type='signal',sender='{NAME}',interface='{NAME}'");
    let _: (_, ()) = call(&channel, BUS, BUS_PATH, "AddMatch", (rule,))?;
    Ok(channel)
}

/// Why nothing is shown.
enum Trouble {
    NoBus,
    Bus(dbus::Error),
}

/// What whoever answers on the bus shows for us.
struct Screen<'a> {
    pressed: &'a Pressed,
    /// Who shows it: a name that nobody else on the bus ever has.
    server: String,
    shown: BTreeMap<String, Shown>,
}

struct Shown {
    id: u32,
    button: Option<Button>,
}

impl Screen<'_> {
    fn do_job(&mut self, job: Job, channel: &Channel) -> Result<(), Trouble> {
        match job {
            Job::Show(notification) => self.show(notification, channel),
            Job::Withdraw(about) => self.withdraw(&about, channel),
        }
    }

    fn show(&mut self, notification: Notification, channel: &Channel) -> Result<(), Trouble> {
        let Notification { about, title, body, stays, button } = notification;
        let capabilities = self.meet(channel)?;
        let can = |what: &str| capabilities.iter().any(|capability| capability == what);
        let button = button.filter(|_| can("actions"));
        let (title, body) = (shown(&title).to_string(), shown(&body).to_string());
        let (title, body) = match (can("body"), can("body-markup")) {
            (true, true) => (title, without_markup(&body)),
            (true, false) => (title, body),
            (false, _) => (format!("{title}: {body}"), String::new()),
        };
        let label = button.as_ref().map(|button| shown(&button.label).to_string());
        let actions: Vec<&str> = label.as_deref().map_or_else(Vec::new, |label| vec![PRESS, label]);
        let urgency = PropMap::from([("urgency".to_owned(), Variant(Box::new(NORMAL) as Box<dyn RefArg>))]);
        let replaced = self.shown.remove(&about).map_or(0, |before| before.id);
        let timeout = if stays { NEVER } else { AS_USUAL };
        let notify = (APP, replaced, ICON, title, body, actions, urgency, timeout);
        let (_, (id,)): (_, (u32,)) = call(channel, NAME, PATH, "Notify", notify)?;
        self.shown.insert(about, Shown { id, button });
        Ok(())
    }

    /// Who answers, and what it can show.
    fn meet(&mut self, channel: &Channel) -> Result<Vec<String>, Trouble> {
        let (server, (capabilities,)) = call(channel, NAME, PATH, "GetCapabilities", ())?;
        if server != self.server {
            // What the one before has shown went with it, and its numbers mean something else now.
            self.shown.clear();
            self.server = server;
        }
        // What the user did before the answer came before it.
        self.listen(channel);
        Ok(capabilities)
    }

    fn withdraw(&mut self, about: &str, channel: &Channel) -> Result<(), Trouble> {
        self.meet(channel)?;
        let Some(Shown { id, .. }) = self.shown.remove(about) else { return Ok(()) };
        match call::<_, ()>(channel, NAME, PATH, "CloseNotification", (id,)) {
            // The user was faster.
            Err(Trouble::Bus(error)) if channel.is_connected() => {
                tracing::debug!("a notification was not withdrawn: {}", shown(&error.to_string()));
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Hears what has come. Whether there is still something that can be pressed.
    fn listen(&mut self, channel: &Channel) -> bool {
        while let Some(message) = channel.pop_message() {
            self.hear(&message);
        }
        channel.is_connected() && self.shown.values().any(|shown| shown.button.is_some())
    }

    fn hear(&mut self, message: &Message) {
        let from_server = message.sender().is_some_and(|sender| *sender == *self.server);
        if !from_server || message.interface().as_deref() != Some(NAME) {
            return;
        }
        let about = |id: u32| self.shown.iter().find(|(_, shown)| shown.id == id).map(|(about, _)| about.clone());
        match message.member().as_deref() {
            Some("ActionInvoked") => {
                let Ok((id, PRESS)) = message.read2::<u32, &str>() else { return };
                let shown = about(id).and_then(|about| self.shown.get(&about));
                if let Some(button) = shown.and_then(|shown| shown.button.as_ref()) {
                    (self.pressed)(button);
                }
            }
            Some("NotificationClosed") => {
                let Ok((id, _)) = message.read2::<u32, u32>() else { return };
                if let Some(about) = about(id) {
                    self.shown.remove(&about);
                }
            }
            _ => {}
        }
    }
}

/// Asks, and says who answered.
fn call<A: AppendAll, R: ReadAll>(
    channel: &Channel,
    name: &str,
    path: &str,
    method: &str,
    arguments: A,
) -> Result<(String, R), Trouble> {
    let mut message = Message::new_method_call(name, path, name, method)
        .map_err(|error| Trouble::Bus(dbus::Error::new_failed(&error)))?;
    message.append_all(arguments);
    let reply = channel.send_with_reply_and_block(message, CALL).map_err(Trouble::Bus)?;
    let answer = R::read(&mut reply.iter_init()).map_err(|error| Trouble::Bus(error.into()))?;
    Ok((reply.sender().map(|sender| sender.to_string()).unwrap_or_default(), answer))
}

/// For servers that read a little HTML.
fn without_markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBus => formatter.write_str("there is no session bus (D-Bus)"),
            Self::Bus(error) => write!(formatter, "{}", shown(&error.to_string())),
        }
    }
}

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const APP: &str = "sso-agent";
const ICON: &str = "dialog-password";
/// The key of the button. Not `default`: a click anywhere else only means that it was seen.
const PRESS: &str = "open";
const NORMAL: u8 = 1;
const NEVER: i32 = 0;
const AS_USUAL: i32 = -1;
/// What a desktop takes that is only slow.
const CALL: Duration = Duration::from_secs(3);
const LOOK_FOR_JOBS: Duration = Duration::from_secs(1);
