//! A desktop that shows notifications, on a bus of the test's own: it remembers what it was given.
//!
//! Whoever waits for a notification waits for the bus's word, and what the user does is a call to the desktop itself.

use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use dbus::Message;
use dbus::arg::PropMap;
use dbus::blocking::Connection;
use dbus::channel::{MatchingReceiver, Sender};
use dbus::message::MatchRule;

/// The desktop; gone with its bus.
#[derive(Clone)]
pub struct Screen {
    bus: String,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

/// What happened on the screen, in order.
#[derive(Debug, Clone, Default)]
struct Seen {
    last_id: u32,
    shown: Vec<Shown>,
    closed: Vec<u32>,
}

/// One notification as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The number it was given.
    pub id: u32,
    /// The one it takes the place of, or zero.
    pub replaces: u32,
    /// Who shows it.
    pub app: String,
    /// The title.
    pub title: String,
    /// The text.
    pub body: String,
    /// The buttons: keys and labels.
    pub actions: Vec<String>,
    /// In milliseconds; zero is never.
    pub timeout: i32,
}

impl Screen {
    /// Begins to show what it is given on this bus. `capabilities` is what it says it can do.
    pub fn start(bus: &str, capabilities: &[&str]) -> Self {
        let screen = Self { bus: bus.to_owned(), seen: Arc::default() };
        let (ready, wait) = channel();
        let (served, seen) = (screen.bus.clone(), Arc::clone(&screen.seen));
        let capabilities: Vec<String> = capabilities.iter().map(|capability| (*capability).to_owned()).collect();
        std::thread::spawn(move || {
            let connection = Connection::new_address(&served).expect("the bus answers");
            connection.request_name(NAME, true, true, true).expect("the bus gives names");
            let answer = move |call: Message, bus: &Connection| {
                for message in answers(&call, &capabilities, &seen) {
                    bus.send(message).expect("the bus takes messages");
                }
                true
            };
            connection.start_receive(MatchRule::new_method_call(), Box::new(answer));
            ready.send(()).expect("the test waits");
            // The bus ends with the test, and this with the bus.
            while connection.process(PATIENCE).is_ok() {}
        });
        wait.recv().expect("it does not panic");
        screen
    }

    /// What was shown, when there were so many.
    pub fn wait_for(&self, count: usize) -> Vec<Shown> {
        self.wait_until("shown", |seen| seen.shown.len() >= count).shown
    }

    /// What was shown so far.
    pub fn shown(&self) -> Vec<Shown> {
        self.seen.0.lock().expect("nobody panics with it").shown.clone()
    }

    /// Returns when this one was taken away.
    pub fn wait_until_closed(&self, id: u32) {
        self.wait_until("closed", |seen| seen.closed.contains(&id));
    }

    /// The user presses the button of this key.
    pub fn press(&self, id: u32, key: &str) {
        self.act("Press", (id, key));
    }

    /// The user closes this one.
    pub fn dismiss(&self, id: u32) {
        self.act("Dismiss", (id,));
    }

    fn act<A: dbus::arg::AppendAll>(&self, method: &str, arguments: A) {
        let user = Connection::new_address(&self.bus).expect("the bus answers");
        let () = user.with_proxy(NAME, PATH, PATIENCE).method_call(NAME, method, arguments).expect("it obeys");
    }

    fn wait_until(&self, what: &str, happened: impl Fn(&Seen) -> bool) -> Seen {
        let (seen, changed) = &*self.seen;
        let seen = seen.lock().expect("nobody panics with it");
        let (seen, result) =
            changed.wait_timeout_while(seen, PATIENCE, |seen| !happened(seen)).expect("nobody panics with it");
        assert!(!result.timed_out(), "never {what}: {seen:?}");
        seen.clone()
    }
}

fn answers(call: &Message, capabilities: &[String], seen: &(Mutex<Seen>, Condvar)) -> Vec<Message> {
    let (seen, changed) = seen;
    let mut seen = seen.lock().expect("nobody panics with it");
    let reply = call.method_return();
    let signal = |name: &str| Message::new_signal(PATH, NAME, name).expect("it is a name");
    let messages = match call.member().as_deref() {
        Some("GetCapabilities") => vec![reply.append1(capabilities)],
        Some("Notify") => {
            let mut arguments = call.iter_init();
            let mut next = || arguments.read::<String>().expect("as specified");
            let app = next();
            let replaces: u32 = arguments.read().expect("as specified");
            let mut next = || arguments.read::<String>().expect("as specified");
            let (_icon, title, body) = (next(), next(), next());
            let actions: Vec<String> = arguments.read().expect("as specified");
            let _hints: PropMap = arguments.read().expect("as specified");
            let timeout: i32 = arguments.read().expect("as specified");
            if replaces == 0 {
                seen.last_id += 1;
            }
            let id = if replaces == 0 { seen.last_id } else { replaces };
            seen.shown.push(Shown { id, replaces, app, title, body, actions, timeout });
            vec![reply.append1(id)]
        }
        Some("CloseNotification") => {
            let id: u32 = call.read1().expect("as specified");
            seen.closed.push(id);
            vec![reply, signal("NotificationClosed").append2(id, 3_u32)]
        }
        Some("Press") => {
            let (id, key): (u32, String) = call.read2().expect("the test sends it");
            vec![signal("ActionInvoked").append2(id, key), reply]
        }
        Some("Dismiss") => {
            let id: u32 = call.read1().expect("the test sends it");
            vec![signal("NotificationClosed").append2(id, 2_u32), reply]
        }
        _ => vec![reply],
    };
    changed.notify_all();
    messages
}

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
const PATIENCE: Duration = Duration::from_secs(30);
