//! A real browser: Chromium without a window, driven by its own driver (WebDriver, which is JSON over HTTP on loopback).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::PATIENCE;
use crate::support::sandbox::Sandbox;

/// A browser with a new profile, gone when dropped.
pub(super) struct Chromium {
    driver: Child,
    /// Held, or the driver could not write to it any more.
    _output: BufReader<ChildStdout>,
    port: u16,
    session: String,
}

impl Chromium {
    pub(super) fn start(sandbox: &Sandbox) -> Self {
        let mut command = sandbox.command("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut driver = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start chromedriver: {error}; tests/all installs what the tests need")
        });
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "chromedriver ended");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim().trim_end_matches('.').parse().unwrap();
            }
        };
        let mut browser = Self { driver, _output: output, port, session: String::new() };
        let profile = sandbox.root().join("chromium");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let chromium = json!({ "binary": "/usr/bin/chromium", "args": arguments });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": chromium });
        let session = browser.ask("POST", "/session", json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        let timeouts = json!({ "implicit": u64::try_from(PATIENCE.as_millis()).unwrap() });
        browser.tell("POST", "/timeouts", timeouts);
        browser
    }

    /// Goes to a URL, and returns when what is there is loaded.
    pub(super) fn open(&self, url: &str) {
        self.tell("POST", "/url", json!({ "url": url }));
    }

    /// Presses what this selector leads to.
    pub(super) fn press(&self, selector: &str) {
        let element = self.find(selector);
        self.tell("POST", &format!("/element/{element}/click"), json!({}));
    }

    /// The text that a person reads there; waits until it is there.
    pub(super) fn text(&self, selector: &str) -> String {
        let element = self.find(selector);
        self.tell("GET", &format!("/element/{element}/text"), Value::Null).as_str().unwrap().to_owned()
    }

    /// How it is painted.
    pub(super) fn style(&self, selector: &str, property: &str) -> String {
        let element = self.find(selector);
        self.tell("GET", &format!("/element/{element}/css/{property}"), Value::Null).as_str().unwrap().to_owned()
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        self.tell("GET", "/url", Value::Null).as_str().unwrap().to_owned()
    }

    /// What the window is called.
    pub(super) fn title(&self) -> String {
        self.tell("GET", "/title", Value::Null).as_str().unwrap().to_owned()
    }

    /// Forgets all cookies of the page it shows.
    pub(super) fn forget_cookies(&self) {
        self.tell("DELETE", "/cookie", Value::Null);
    }

    /// Has the page believe that its user likes it `light` or `dark`.
    pub(super) fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.tell("POST", "/goog/cdp/execute", command);
    }

    /// Keeps a picture of the page below `target/tmp`, for whoever wants to look.
    pub(super) fn keep_picture(&self, name: &str) -> PathBuf {
        let picture = self.tell("GET", "/screenshot", Value::Null);
        let bytes = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-sign-in-{name}.png"));
        fs::write(&path, bytes).unwrap();
        path
    }

    fn find(&self, selector: &str) -> String {
        let found = self.tell("POST", "/element", json!({ "using": "css selector", "value": selector }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    fn tell(&self, method: &str, path: &str, body: Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_ask(method, path, &body).unwrap();
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer["value"].clone()
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while stream.read_line(&mut head)? > 2 {
            let (_, line) = head.trim_end().rsplit_once("\r\n").unwrap_or_default();
            if let Some(("content-length", value)) = line.to_ascii_lowercase().split_once(':') {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((status, serde_json::from_slice(&answer).unwrap()))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It takes its browser with it.
        if !self.session.is_empty() {
            drop(self.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null));
        }
        let _ = kill_process_group(Pid::from_child(&self.driver), Signal::KILL);
        let _ = self.driver.wait();
    }
}

/// No window, no sandbox (root has none), and nobody is spoken to but this machine.
const ARGUMENTS: [&str; 14] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=900,600",
    "--lang=en",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];
