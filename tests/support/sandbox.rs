//! A machine of its own for a test: a temporary home, the real binaries, an environment that holds nothing else.
//!
//! Readiness is the product's own (`READY=1` on `NOTIFY_SOCKET`), and waiting is the product's own (long polls).

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

/// A home directory and an environment, gone when dropped.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    variables: Vec<(String, String)>,
    user: Option<u32>,
}

impl Sandbox {
    /// An empty home.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// An empty home in memory, where the system has such a place: waiting for the disk takes no time there.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(place: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sso-agent-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = place.join(name);
        for directory in ["home/.aws", "run", "state"] {
            std::fs::create_dir_all(root.join(directory)).expect("a temporary directory can be made");
        }
        for private in ["run", "state"] {
            std::fs::set_permissions(root.join(private), std::fs::Permissions::from_mode(0o700)).expect("chmod");
        }
        Self { root, variables: Vec::new(), user: None }
    }

    /// A home with one session `corp` at this service, and the profile `dev` of it.
    pub fn with_session(service: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write_config(CORP);
        sandbox.at(service)
    }

    /// Leads both services to this address.
    pub fn at(mut self, service: &str) -> Self {
        self.set("AWS_ENDPOINT_URL_SSO_OIDC", service);
        self.set("AWS_ENDPOINT_URL_SSO", service);
        self
    }

    /// Gives everything to this user, as whom everything runs from now on; only root can.
    pub fn of_user(mut self, user: u32) -> Self {
        let mut left = vec![self.root.clone()];
        while let Some(path) = left.pop() {
            std::os::unix::fs::chown(&path, Some(user), Some(user)).expect("root may");
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).expect("it is below the root");
                left.extend(entries.map(|entry| entry.expect("it can be listed").path()));
            }
        }
        self.user = Some(user);
        self
    }

    /// Sets a variable of everything that is started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `HOME`.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The agent's state directory.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("run/sso-agent/agent.sock")
    }

    /// `~/.aws/config`.
    pub fn write_config(&self, text: &str) {
        self.write("home/.aws/config", text);
    }

    /// A file below the root, with its directories.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("it is below the root")).expect("a directory can be made");
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// The environment of this machine, with nothing of the real one in it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().expect("temporary paths are text").to_owned();
        let mut environment = vec![
            ("HOME".to_owned(), text(self.home())),
            ("XDG_RUNTIME_DIR".to_owned(), text(self.root.join("run"))),
            ("SSO_AGENT_STATE_DIR".to_owned(), text(self.state())),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("TZ".to_owned(), "UTC".to_owned()),
            ("USER".to_owned(), "user".to_owned()),
            ("SSO_AGENT_LOG".to_owned(), "trace".to_owned()),
            // Tests start what they want; those of on-demand start take this away.
            ("SSO_AGENT_AUTOSTART".to_owned(), "0".to_owned()),
        ];
        for (name, value) in &self.variables {
            environment.retain(|(known, _)| known != name);
            environment.push((name.clone(), value.clone()));
        }
        environment
    }

    /// A program in this environment, with nothing on its standard input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment()).current_dir(&self.root).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Our command line, to its end.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(AGENT).args(arguments))
    }

    /// The shim, to its end.
    pub fn shim(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(SHIM).args(arguments))
    }

    /// Starts the agent and returns when it is ready.
    pub fn start_agent(&self) -> Agent<'_> {
        self.start_agent_with(&[])
    }

    /// Starts the agent with further arguments and returns when it is ready.
    pub fn start_agent_with(&self, arguments: &[&str]) -> Agent<'_> {
        self.start_agent_by(&mut self.command(AGENT), arguments)
    }

    /// Starts the agent by a command that ends with its program, and returns when it is ready.
    pub fn start_agent_by(&self, command: &mut Command, arguments: &[&str]) -> Agent<'_> {
        let notify = self.root.join("notify");
        // Of an agent before this one.
        let _ = std::fs::remove_file(&notify);
        let manager = UnixDatagram::bind(&notify).expect("a datagram socket can be bound");
        std::os::unix::fs::chown(&notify, self.user, self.user).expect("root may");
        manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        let agent = self.launch(command.arg("run").args(arguments).env("NOTIFY_SOCKET", &notify));
        let mut message = [0; 256];
        let length = loop {
            match manager.recv(&mut message) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.unwrap_or_else(|error| panic!("not ready: {error}\n{}", self.log())),
            }
        };
        assert_eq!(&message[..length], b"READY=1");
        agent
    }

    /// Starts the agent and does not wait until it is ready.
    pub fn launch_agent(&self) -> Agent<'_> {
        self.launch(self.command(AGENT).arg("run"))
    }

    fn launch(&self, command: &mut Command) -> Agent<'_> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be written");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the agent can be started");
        Agent { sandbox: self, child }
    }

    /// The agent that holds the state directory, whoever has started it.
    pub fn in_background(&self) -> Option<rustix::process::Pid> {
        let file = std::fs::File::open(self.state().join("lock")).ok()?;
        // Free means that the file tells of one that has ended.
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).err()?;
        let holder = sso_agent::holder::read_holder(&self.state()).ok()??;
        rustix::process::Pid::from_raw(holder.pid.try_into().ok()?)
    }

    /// What all agents of this sandbox have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("agent.log")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let background = std::fs::read_to_string(self.state().join("agent.log")).unwrap_or_default();
            eprintln!("--- the agent's log ---\n{}{background}", self.log());
        }
        if let Some(pid) = self.in_background() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A running agent, killed when dropped.
#[derive(Debug)]
pub struct Agent<'a> {
    sandbox: &'a Sandbox,
    child: Child,
}

impl Agent<'_> {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets time pass while it runs; false if it ended by itself meanwhile.
    pub fn runs_for(&self, time: Duration) -> bool {
        let pidfd = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::PidfdFlags::empty(),
        )
        .expect("it is ours");
        let time = rustix::event::Timespec::try_from(time).expect("it is short");
        let mut end = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, Some(&time))).expect("waiting works") == 0
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is ours");
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// Ends it with SIGTERM, and says how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait_here()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        self.wait_here()
    }

    /// An agent that does not end is killed, so that a test fails instead of standing still.
    fn wait_here(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if end.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let status = self.child.wait().expect("it is ours");
        drop(ended);
        watchdog.join().expect("it does not panic");
        status
    }

    /// A request to the socket: status and body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        request(&self.sandbox.socket(), method, path, body)
    }

    /// `GET`, which must succeed.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// `/v1/status` when it next satisfies this; waits by long polls.
    pub fn wait_for_status(&self, what: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
        let mut status = self.get("/v1/status");
        let mut looks = 0;
        while !satisfied(&status) {
            looks += 1;
            assert!(looks < 1000, "never {what}: {status:#}");
            let path = format!("/v1/status?wait=30&after={}", status["revision"]);
            status = self.get(&path);
        }
        status
    }

    /// Signs in session `corp` by device code, approved at once.
    pub fn sign_in(&self, service: &super::fake::FakeIdentityCenter) {
        let (status, body) = self.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","started_by":"cli"}"#);
        assert_eq!(status, 202, "{body}");
        let code = body["user_code"].as_str().expect("a pending sign-in has a code");
        assert!(service.approve(code), "the service knows {code}");
        let (status, body) = self.request("GET", "/v1/sessions/corp/login?wait=30", "");
        assert_eq!((status, body["state"].as_str()), (200, Some("signed_in")), "{body}");
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Runs a program to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self::from(output)
    }

    /// Its standard output, if it succeeded.
    pub fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Its standard output as JSON, if it succeeded.
    pub fn json(self) -> Value {
        let text = self.expect_success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("what we print is UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A plain HTTP request over the socket, as any client would make it.
pub fn request(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let text = exchange(socket, method, path, body).expect("the agent answers");
    let (header, body) = text.split_once("\r\n\r\n").expect("an answer has a header");
    let status = header.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    let body = match body {
        "" => Value::Null,
        text if header.contains("openmetrics") => Value::from(text),
        body => serde_json::from_str(body).expect("other bodies are JSON"),
    };
    (status, body)
}

/// The same, to an agent that may not live to answer it.
pub fn exchange(socket: &Path, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    use std::io::Write;
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The session `corp` and the profile `dev` of it.
pub const CORP: &str = "[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_registration_scopes = sso:account:access

[profile dev]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = ReadOnly
region = eu-west-1
";

/// The agent's binary.
pub const AGENT: &str = env!("CARGO_BIN_EXE_sso-agent");
/// The shim's binary.
pub const SHIM: &str = env!("CARGO_BIN_EXE_sso-credential-process");
