//! A real `systemd --user` for a sandbox, in namespaces of its own: what a user's login has, and nothing of this machine's.
//!
//! Needs root and cgroup2. Where either is missing that is said, and the tests that need it are left out.
//! Invariant: when this is dropped, every process in it is gone, and so is its control group.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::sandbox::{AGENT, Finished, SHIM, Sandbox};

/// The user whose manager it is, and who owns the sandbox.
pub const USER: u32 = 61_235;

/// A running service manager of [`USER`].
pub struct UserManager<'a> {
    sandbox: &'a Sandbox,
    keeper: Child,
    group: String,
}

impl<'a> UserManager<'a> {
    /// Starts it; `None` where this machine does not let us, which is said. The sandbox must be [`USER`]'s.
    pub fn start(sandbox: &'a Sandbox) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return left_out("only root can");
        }
        let group = format!("sso-agent-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let notify = sandbox.root().join("manager");
        let socket = UnixDatagram::bind(&notify).expect("a datagram socket can be bound");
        chown(&notify, Some(USER), Some(USER)).expect("root may");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
        let keeper = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--propagation=private", "--cgroup", "--kill-child"])
            .args(["sh", "-c", BOOT])
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("GROUP", &group), ("OWNER", &USER.to_string())])
            .env("HOME", sandbox.home())
            .env("XDG_RUNTIME_DIR", sandbox.root().join("run"))
            .env("NOTIFY_SOCKET", &notify)
            .env("LOG", sandbox.root().join("manager.log"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare can be started; tests/all installs what the tests need");
        let mut manager = Self { sandbox, keeper, group };
        if manager.is_ready(&socket) { Some(manager) } else { left_out(&manager.log()) }
    }

    /// Has the installed program install its service, and stops that again. With these lines in a drop-in for the service.
    pub fn install(&self, service_lines: &str) {
        for (built, name) in [(AGENT, "sso-agent"), (SHIM, "sso-credential-process")] {
            self.replace_binary(built, name);
        }
        let units = self.sandbox.home().join(".config/systemd/user");
        std::fs::create_dir_all(&units).expect("a directory can be made");
        // A bus would be started for whoever looks for one, and knows no user of this number.
        let no_bus = std::os::unix::fs::symlink("/dev/null", units.join("dbus.socket"));
        no_bus.expect("a link can be made");
        let log = self.sandbox.root().join("agent.log");
        let lines = format!("[Service]\nStandardError=append:{}\n{service_lines}\n", log.display());
        self.drop_in("sso-agent.service", &lines);
        self.cli(&["service", "install"]).expect_success();
        self.systemctl(&["stop", "sso-agent.service", "sso-agent.socket"]).expect_success();
    }

    /// Writes a drop-in of a unit and has it read.
    pub fn drop_in(&self, unit: &str, lines: &str) {
        let directory = self.sandbox.home().join(format!(".config/systemd/user/{unit}.d"));
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        std::fs::write(directory.join("test.conf"), lines).expect("a drop-in can be written");
        self.give_home();
        self.systemctl(&["daemon-reload"]).expect_success();
    }

    /// What root has written there is the user's.
    fn give_home(&self) {
        let mut chown = Command::new("chown");
        Finished::of(chown.args(["-R", &format!("{USER}:{USER}")]).arg(self.sandbox.home())).expect_success();
    }

    /// The installed binary of this name.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.sandbox.root().join("bin").join(name)
    }

    /// Puts a new file in the place of an installed binary, as a package manager does: nobody sees half of it.
    pub fn replace_binary(&self, built: &str, name: &str) {
        let path = self.binary(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory can be made");
        let new = path.with_extension("new");
        // Not by us: a child of another test would inherit it, and what is open for writing cannot be run.
        Finished::of(Command::new("cp").arg(built).arg(&new)).expect_success();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("chmod");
        std::fs::rename(&new, &path).expect("a file can be renamed");
    }

    /// A program in here, as the user, in the sandbox's environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(&[&format!("--setuid={USER}"), &format!("--setgid={USER}")]);
        command.arg(program).env_clear().envs(self.sandbox.environment()).current_dir(self.sandbox.root());
        command
    }

    /// Which file the agent's process runs; only root may look.
    pub fn inode_of_agent(&self) -> u64 {
        let program = format!("/proc/{}/exe", self.main_pid());
        let mut stat = self.enter(&[]);
        let inode = Finished::of(stat.args(["stat", "--dereference", "--format=%i", &program])).expect_success();
        inode.trim().parse().expect("it is a number")
    }

    fn enter(&self, options: &[&str]) -> Command {
        let of_keeper = |kind: &str, name: &str| format!("--{kind}=/proc/{}/ns/{name}", self.keeper.id());
        let mut command = Command::new("nsenter");
        command
            .args([of_keeper("mount", "mnt"), of_keeper("pid", "pid_for_children"), of_keeper("cgroup", "cgroup")])
            .args(options)
            .arg("--")
            .stdin(Stdio::null());
        command
    }

    /// `systemctl --user`.
    pub fn systemctl(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command("systemctl").args(["--user", "--no-pager"]).args(arguments))
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", &format!("--property={name}"), unit]).expect_success().trim().to_owned()
    }

    /// The agent's property when it next satisfies this. A manager has no long polls: it is asked again at once, and each
    /// question is a process, so that this is patient enough.
    pub fn wait_for_property(&self, name: &str, satisfied: impl Fn(&str) -> bool) -> String {
        let mut value = String::new();
        for _ in 0..1000 {
            value = self.property("sso-agent.service", name);
            if satisfied(&value) {
                return value;
            }
        }
        panic!("{name} stays {value:?}\n{}", self.log());
    }

    /// The agent's process, as it is numbered in here.
    pub fn main_pid(&self) -> u32 {
        self.property("sso-agent.service", "MainPID").parse().expect("it is a number")
    }

    /// The installed command line, to its end.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(self.binary("sso-agent")).args(arguments))
    }

    /// The installed shim, to its end.
    pub fn shim(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(self.binary("sso-credential-process")).args(arguments))
    }

    /// Starts a bus for the session, at `DBUS_SESSION_BUS_ADDRESS`, with an open keyring on it, as a login does.
    pub fn start_keyring(&self) {
        let mut login = self.command("sh");
        Finished::of(login.args(["-c", KEYRING])).expect_success();
    }

    /// What the manager says about the agent, for a test that has failed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.sandbox.root().join("manager.log")).unwrap_or_default()
    }

    /// Waits until the manager has started everything, or is gone.
    fn is_ready(&mut self, socket: &UnixDatagram) -> bool {
        let mut message = [0; 512];
        for _ in 0..300 {
            match socket.recv(&mut message) {
                Ok(length) if message[..length].starts_with(b"READY=1") => return true,
                // The script came to nothing.
                Err(_) if matches!(self.keeper.try_wait(), Ok(Some(_))) => return false,
                _ => {}
            }
        }
        panic!("systemd --user is not ready\n{}", self.log());
    }
}

impl Drop for UserManager<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the manager's log ---\n{}", self.log());
        }
        // The first process of the namespace reads this; with it everybody ends.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let swept = Command::new("unshare")
            .args(["--mount", "--propagation=private", "--cgroup", "sh", "-c", SWEEP])
            .env("GROUP", &self.group)
            .status();
        if !std::thread::panicking() {
            assert!(swept.is_ok_and(|status| status.success()), "the control group stays behind");
        }
    }
}

fn left_out<T>(why: &str) -> Option<T> {
    let mut stderr = std::io::stderr();
    // Not `eprintln`: the test runner hides that of tests that pass.
    writeln!(stderr, "left out: no systemd --user can be started here: {why}").ok()?;
    None
}

/// Makes what a login would have made, starts the manager, and waits for the end of its standard input.
const BOOT: &str = r#"
boot() {
    mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/systemd/system &&
        mount -t tmpfs tmpfs /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
        mkdir "/sys/fs/cgroup/$GROUP" && echo $$ >"/sys/fs/cgroup/$GROUP/cgroup.procs" &&
        chown -R "$OWNER:$OWNER" "/sys/fs/cgroup/$GROUP" &&
        { cat /etc/passwd && echo "user:x:$OWNER:$OWNER::$HOME:/bin/sh"; } >/run/passwd &&
        mount --bind /run/passwd /etc/passwd && [ -x /lib/systemd/systemd ]
}
if boot 2>"$LOG"; then
    setpriv --reuid "$OWNER" --regid "$OWNER" --clear-groups \
        env -u GROUP -u OWNER -u LOG /lib/systemd/systemd --user --log-target=console 2>>"$LOG" >&2 &
    unset NOTIFY_SOCKET
    exec cat >/dev/null
fi
"#;

/// Both go on in the background, and hold none of our descriptors.
const KEYRING: &str = r#"
exec >/dev/null 2>&1
dbus-daemon --session --fork --nopidfile --address="$DBUS_SESSION_BUS_ADDRESS" &&
    printf password | gnome-keyring-daemon --daemonize --unlock --components=secrets
"#;

/// A group with groups in it cannot be removed, so from below.
const SWEEP: &str = r#"
mount -t tmpfs tmpfs /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
    find "/sys/fs/cgroup/$GROUP" -depth -type d -exec rmdir {} +
"#;
