//! A Secret Service that does what gnome-keyring never does while a test looks.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use dbus::Message;
use dbus::Path;
use dbus::arg::{RefArg, Variant};
use dbus::blocking::Connection;
use dbus::channel::{MatchingReceiver, Sender};
use dbus::message::MatchRule;

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trick {
    /// It leaves the bus between two answers.
    Leaves,
    /// It takes an item and holds none afterwards.
    KeepsNothing,
    /// It gives an item out in an encryption that there is not.
    Garbles,
    /// It is locked until its prompt is asked for, and then the user types the password.
    OpensWhenAsked,
}

/// Plays the trick on this bus until it has left, or for as long as the test runs.
pub(super) fn start(bus: &str, trick: Trick) -> JoinHandle<()> {
    let (ready, wait) = channel();
    let bus = bus.to_owned();
    let thread = std::thread::spawn(move || {
        let connection = Connection::new_address(&bus).unwrap();
        connection.request_name("org.freedesktop.secrets", false, false, true).unwrap();
        let (left, has_left) = channel();
        let mut is_open = trick != Trick::OpensWhenAsked;
        let answer = move |call: Message, bus: &Connection| {
            let member = call.member().unwrap();
            let reply = call.method_return();
            let nothing = || Path::from("/");
            let reply = match &*member {
                "OpenSession" => {
                    reply.append2(Variant(Box::new(vec![2_u8]) as Box<dyn RefArg>), Path::from("/session"))
                }
                "SearchItems" if trick == Trick::Garbles => {
                    reply.append2(vec![Path::from("/item")], Vec::<Path<'_>>::new())
                }
                "GetSecret" => {
                    reply.append1((Path::from("/session"), vec![1_u8; 15], vec![2_u8; 16], "text/plain".to_owned()))
                }
                "SearchItems" => reply.append2(Vec::<Path<'_>>::new(), Vec::<Path<'_>>::new()),
                "ReadAlias" => reply.append1(Path::from("/collection")),
                "Get" => reply.append1(Variant(!is_open)),
                "CreateItem" => reply.append2(Path::from("/item"), nothing()),
                "Unlock" => reply.append2(Vec::<Path<'_>>::new(), Path::from("/prompt")),
                _ => reply,
            };
            bus.send(reply).unwrap();
            if &*member == "Prompt" {
                is_open = true;
                let completed = Message::new_signal("/prompt", "org.freedesktop.Secret.Prompt", "Completed").unwrap();
                bus.send(completed.append2(false, Variant(""))).unwrap();
            }
            if &*member == "SearchItems" && trick == Trick::Leaves {
                left.send(()).unwrap();
            }
            true
        };
        connection.start_receive(MatchRule::new_method_call(), Box::new(answer));
        ready.send(()).unwrap();
        // The bus ends with the test, and this with the bus.
        while has_left.try_recv().is_err() && connection.process(Duration::from_secs(30)).is_ok() {}
    });
    wait.recv().unwrap();
    thread
}
