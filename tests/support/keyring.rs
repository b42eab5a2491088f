//! A bus and a keyring of a test's own: a private dbus-daemon with the real gnome-keyring on it.
//!
//! Nothing here reaches the bus, the home or the keyring of whoever runs the tests: everything lies in a temporary
//! directory, and the programs are started with an environment that names nothing else. Waiting is for the bus's own
//! signals. What is started is ended by its process id.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbus::arg::{AppendAll, PropMap, ReadAll, RefArg, Variant};
use dbus::blocking::Connection;
use dbus::blocking::stdintf::org_freedesktop_dbus::Properties;
use dbus::message::MatchRule;
use rustix::process::{Pid, Signal};

/// A session bus with a keyring, gone when dropped.
pub struct Keyring {
    root: PathBuf,
    bus: Child,
    connection: Connection,
    daemon: Option<Child>,
    screen: Option<(Child, String)>,
}

impl Keyring {
    /// A bus without a keyring.
    pub fn absent() -> Self {
        let root = temporary_directory();
        let bus_path = root.join("bus");
        let config = CONFIG.replace("@BUS@", text(&bus_path)).replace("@SERVICES@", text(&root));
        std::fs::write(root.join("bus.conf"), config).expect("a file can be written");
        std::fs::write(root.join("prompter.service"), PROMPTER_SERVICE).expect("a file can be written");
        let mut bus = spawn(
            command(&root, "dbus-daemon")
                .args(["--nofork", "--print-address", "--config-file"])
                .arg(root.join("bus.conf"))
                .stdout(Stdio::piped()),
        );
        let mut address = String::new();
        let stdout = bus.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut address).expect("the bus says where it is");
        let connection = Connection::new_address(&address_of(&bus_path)).expect("the bus answers");
        Self { root, bus, connection, daemon: None, screen: None }
    }

    /// An open keyring with an empty default collection.
    pub fn unlocked() -> Self {
        let mut keyring = Self::absent();
        keyring.start(true);
        assert_eq!(keyring.is_locked(), Some(false));
        keyring
    }

    /// A keyring with an empty default collection that nobody has opened since it was started.
    pub fn locked() -> Self {
        let mut keyring = Self::unlocked();
        keyring.restart(false);
        assert_eq!(keyring.is_locked(), Some(true));
        keyring
    }

    /// As [`Keyring::locked`], but with an empty password, as people have who log in without one.
    pub fn locked_without_a_password() -> Self {
        let mut keyring = Self::unlocked();
        let session = keyring.plain_session();
        let secret = |password: &str| (session.clone(), Vec::<u8>::new(), password.as_bytes().to_vec(), "text/plain");
        let arguments = (dbus::Path::from(LOGIN), secret(PASSWORD), secret(""));
        let () = keyring.call(SERVICE, INTERNAL, "ChangeWithMasterPassword", arguments);
        keyring.restart(false);
        assert_eq!(keyring.is_locked(), Some(true));
        keyring
    }

    /// A keyring in which no collection was ever made.
    pub fn without_collection() -> Self {
        let mut keyring = Self::absent();
        keyring.start(false);
        assert_eq!(keyring.is_locked(), None);
        keyring
    }

    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub fn address(&self) -> String {
        address_of(&self.root.join("bus"))
    }

    /// Whether the default collection is locked; `None` where there is none.
    pub fn is_locked(&self) -> Option<bool> {
        let (path,): (dbus::Path<'static>,) =
            self.call(SERVICE, "org.freedesktop.Secret.Service", "ReadAlias", ("default",));
        let collection = self.connection.with_proxy(SECRETS, path.clone(), PATIENCE);
        (&*path != "/")
            .then(|| collection.get("org.freedesktop.Secret.Collection", "Locked").expect("a collection says that"))
    }

    /// Locks the default collection.
    pub fn lock(&self) {
        let (locked, _): (Vec<dbus::Path<'static>>, dbus::Path<'static>) =
            self.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", (vec![dbus::Path::from(LOGIN)],));
        assert_eq!(locked.len(), 1);
    }

    /// Unlocks the default collection with its password, as a login on the desktop does.
    pub fn unlock(&self) {
        let password = (self.plain_session(), Vec::<u8>::new(), PASSWORD.as_bytes().to_vec(), "text/plain");
        let () = self.call(SERVICE, INTERNAL, "UnlockWithMasterPassword", (dbus::Path::from(LOGIN), password));
        assert_eq!(self.is_locked(), Some(false));
    }

    /// Ends the keyring with SIGKILL.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("it is ours");
        daemon.wait().expect("it is ours");
        self.wait_for_name(SECRETS, false);
    }

    /// Stops it in its tracks: it stays on the bus and answers nobody.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends the keyring and starts it again, open or locked.
    pub fn restart(&mut self, unlocked: bool) {
        if self.daemon.is_some() {
            self.kill();
        }
        self.start(unlocked);
    }

    /// Gives it a display, so that a locked keyring can ask for its password.
    pub fn show(&mut self) {
        let mut screen = spawn(
            command(&self.root, "Xvfb")
                .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "640x480x24"])
                .stdout(Stdio::piped()),
        );
        let mut number = String::new();
        let stdout = screen.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut number).expect("the display says its number");
        let display = format!(":{}", number.trim());
        let variables: HashMap<&str, &str> = HashMap::from([("DISPLAY", display.as_str())]);
        let () = self
            .connection
            .with_proxy(BUS, "/org/freedesktop/DBus", PATIENCE)
            .method_call(BUS, "UpdateActivationEnvironment", (variables,))
            .expect("the bus takes variables");
        self.screen = Some((screen, display));
    }

    /// The user types the password into the window that asks for it.
    pub fn type_password(&self) {
        let (_, display) = self.screen.as_ref().expect("it has a display");
        let mut command = command(&self.root, "xdotool");
        command.env("DISPLAY", display);
        // Waits until the window is on the screen.
        command.args(["search", "--sync", "--onlyvisible", "--class", "gcr-prompter"]);
        command.args(["type", PASSWORD]);
        let typed = spawn(&mut command).wait().expect("it is ours");
        assert!(typed.success(), "{typed}");
        let mut command = self::command(&self.root, "xdotool");
        let typed = spawn(command.env("DISPLAY", display).args(["key", "Return"])).wait().expect("it is ours");
        assert!(typed.success(), "{typed}");
    }

    /// Returns when the keyring asks for its password.
    pub fn wait_for_prompt(&self) {
        self.wait_for_name(PROMPTER, true);
    }

    /// The user closes the window that asks for the password.
    pub fn dismiss_prompt(&self) {
        let (pid,): (u32,) = self
            .connection
            .with_proxy(BUS, "/org/freedesktop/DBus", PATIENCE)
            .method_call(BUS, "GetConnectionUnixProcessID", (PROMPTER,))
            .expect("there is a prompt");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("it is a process id");
        rustix::process::kill_process(pid, Signal::KILL).expect("our bus started it");
        self.wait_for_name(PROMPTER, false);
    }

    /// Whether it asks for its password, or has asked within the last seconds.
    pub fn has_prompter(&self) -> bool {
        self.has_name(PROMPTER)
    }

    /// Returns when the next program that connects to the bus has gone again: whoever asks silently asks and goes.
    pub fn wait_for_visitor(&self) {
        let (names, came) = std::sync::mpsc::channel();
        let rule = MatchRule::new_signal(BUS, "NameOwnerChanged");
        let callback = move |(name, before, _): (String, String, String), _: &Connection, _: &dbus::Message| {
            !(before.is_empty() && name.starts_with(':')) || names.send(name).is_ok()
        };
        let token = self.connection.add_match(rule, callback).expect("the bus answers");
        let visitor = loop {
            match came.try_recv() {
                Ok(name) => break name,
                Err(_) => assert!(self.connection.process(PATIENCE).expect("the bus answers"), "nobody came"),
            }
        };
        self.connection.remove_match(token).expect("the bus answers");
        self.wait_for_name(&visitor, false);
    }

    /// The agent's items.
    pub fn items(&self) -> Vec<dbus::Path<'static>> {
        let wanted: HashMap<&str, &str> = HashMap::from([("service", "sso-agent")]);
        let (unlocked, locked): (Vec<dbus::Path<'static>>, Vec<dbus::Path<'static>>) =
            self.call(SERVICE, "org.freedesktop.Secret.Service", "SearchItems", (wanted,));
        unlocked.into_iter().chain(locked).collect()
    }

    /// What distinguishes an item.
    pub fn attributes(&self, item: &dbus::Path<'static>) -> HashMap<String, String> {
        let item = self.connection.with_proxy(SECRETS, item.clone(), PATIENCE);
        item.get("org.freedesktop.Secret.Item", "Attributes").expect("an item says that")
    }

    /// Puts an item into the open default collection, beside what is there.
    pub fn put(&self, account: &str, content: &str) {
        self.put_into(LOGIN, account, content);
    }

    /// Puts an item into this open collection.
    pub fn put_into(&self, collection: &str, account: &str, content: &str) {
        let attributes: HashMap<String, String> =
            [("service", "sso-agent"), ("username", account)].map(|(name, value)| (name.into(), value.into())).into();
        let properties = PropMap::from([(
            "org.freedesktop.Secret.Item.Attributes".to_owned(),
            Variant(Box::new(attributes) as Box<dyn RefArg>),
        )]);
        let secret = (self.plain_session(), Vec::<u8>::new(), content.as_bytes().to_vec(), "text/plain");
        let (item, _): (dbus::Path<'static>, dbus::Path<'static>) =
            self.call(collection, "org.freedesktop.Secret.Collection", "CreateItem", (properties, secret, false));
        assert_ne!(&*item, "/", "the collection is open");
    }

    /// Takes the agent's only item out, as a user with a keyring editor may: its account and its content.
    pub fn take_item(&self) -> (String, String) {
        let items = self.items();
        let [item] = items.as_slice() else { panic!("there is one: {items:?}") };
        let account = self.attributes(item)["username"].clone();
        let ((_, _, content, _),): ((dbus::Path<'static>, Vec<u8>, Vec<u8>, String),) =
            self.call(item, "org.freedesktop.Secret.Item", "GetSecret", (self.plain_session(),));
        let (_,): (dbus::Path<'static>,) = self.call(item, "org.freedesktop.Secret.Item", "Delete", ());
        assert_eq!(self.items().len(), 0);
        (account, String::from_utf8(content).expect("keys are kept as text"))
    }

    /// A conversation in the clear, which the tests' own secrets need no more than.
    fn plain_session(&self) -> dbus::Path<'static> {
        let nothing = Variant(Box::new(String::new()) as Box<dyn RefArg>);
        let (_, session): (Variant<Box<dyn RefArg>>, dbus::Path<'static>) =
            self.call(SERVICE, "org.freedesktop.Secret.Service", "OpenSession", ("plain", nothing));
        session
    }

    fn signal(&self, signal: Signal) {
        let daemon = self.daemon.as_ref().expect("it runs");
        rustix::process::kill_process(Pid::from_child(daemon), signal).expect("it is ours");
    }

    fn start(&mut self, unlocked: bool) {
        let mut daemon = command(&self.root, "gnome-keyring-daemon");
        daemon.args(["--foreground", "--components=secrets"]).env("DBUS_SESSION_BUS_ADDRESS", self.address());
        if unlocked {
            daemon.arg("--unlock").stdin(Stdio::piped());
        }
        let log = std::fs::File::create(self.root.join("keyring.log")).expect("a file can be written");
        let mut daemon = spawn(daemon.stdout(Stdio::null()).stderr(log));
        if let Some(mut stdin) = daemon.stdin.take() {
            stdin.write_all(PASSWORD.as_bytes()).expect("it reads the password");
        }
        self.daemon = Some(daemon);
        self.wait_for_name(SECRETS, true);
    }

    fn call<A: AppendAll, R: ReadAll>(&self, path: &str, interface: &str, method: &str, arguments: A) -> R {
        self.connection
            .with_proxy(SECRETS, path, PATIENCE)
            .method_call(interface, method, arguments)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn has_name(&self, name: &str) -> bool {
        let (has,): (bool,) = self
            .connection
            .with_proxy(BUS, "/org/freedesktop/DBus", PATIENCE)
            .method_call(BUS, "NameHasOwner", (name,))
            .expect("the bus answers");
        has
    }

    /// Returns when a program offers this name on the bus, or no longer does.
    fn wait_for_name(&self, name: &str, there: bool) {
        let rule = MatchRule::new_signal(BUS, "NameOwnerChanged");
        let token = self.connection.add_match(rule, |(): (), _, _| true).expect("the bus answers");
        while self.has_name(name) != there {
            let something = self.connection.process(PATIENCE).expect("the bus answers");
            assert!(something, "never happened: {name} is there: {there}");
        }
        self.connection.remove_match(token).expect("the bus answers");
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        // The bus last: it ends what it has started.
        for child in [self.daemon.as_mut(), self.screen.as_mut().map(|(screen, _)| screen), Some(&mut self.bus)]
            .into_iter()
            .flatten()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A socket where a bus should be: it takes connections and never answers.
pub struct Wedge {
    root: PathBuf,
    listener: UnixListener,
}

impl Wedge {
    /// Listens.
    pub fn new() -> Self {
        let root = temporary_directory();
        let listener = UnixListener::bind(root.join("bus")).expect("a socket can be bound");
        Self { root, listener }
    }

    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub fn address(&self) -> String {
        address_of(&self.root.join("bus"))
    }

    /// Returns when somebody has connected and said something.
    pub fn wait_for_victim(&self) {
        let (mut stream, _) = self.listener.accept().expect("somebody connects");
        stream.read_exact(&mut [0; 1]).expect("it speaks first");
        // It goes on waiting for an answer: closed would be one.
        std::mem::forget(stream);
    }
}

impl Drop for Wedge {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A program with an environment that names nothing of the machine's own.
fn command(root: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("NO_AT_BRIDGE", "1"), ("GSETTINGS_BACKEND", "memory")])
        .envs(
            ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|name| (name, root)),
        )
        .current_dir(root)
        .stdin(Stdio::null());
    command
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| {
        panic!("cannot start {:?}: {error}; tests/all installs what the tests need", command.get_program())
    })
}

/// Its name is short, so that sockets fit into it.
fn temporary_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ssoa-keyring-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let root = std::env::temp_dir().join(name);
    // Of an earlier process of the same number that was killed.
    let _ = std::fs::remove_dir_all(&root);
    std::fs::DirBuilder::new().mode(0o700).create(&root).expect("a temporary directory can be made");
    root
}

fn address_of(bus: &Path) -> String {
    format!("unix:path={}", text(bus))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Only the prompter is started on demand: a keyring that was killed stays away until a test starts it again.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=@BUS@</listen>
  <auth>EXTERNAL</auth>
  <servicedir>@SERVICES@</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;
const PROMPTER_SERVICE: &str =
    "[D-BUS Service]\nName=org.gnome.keyring.SystemPrompter\nExec=/usr/libexec/gcr-prompter\n";
const BUS: &str = "org.freedesktop.DBus";
const SECRETS: &str = "org.freedesktop.secrets";
const PROMPTER: &str = "org.gnome.keyring.SystemPrompter";
const SERVICE: &str = "/org/freedesktop/secrets";
const INTERNAL: &str = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
const LOGIN: &str = "/org/freedesktop/secrets/collection/login";
const PASSWORD: &str = "a password of the test's own";
const PATIENCE: Duration = Duration::from_secs(30);
