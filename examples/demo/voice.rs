//! How the demo speaks: headings, words, commands, and what those print. Plain text when nobody watches.

use std::io::{self, IsTerminal, Write};

use sso_agent::env::Env;

/// Speaks on standard output.
pub(crate) struct Voice {
    colour: bool,
}

impl Voice {
    /// In colour on a terminal that wants it.
    pub(crate) fn of_process(env: &Env) -> Self {
        let plain = env.get_os("NO_COLOR").is_some() || env.get("TERM") == Some("dumb");
        Self { colour: io::stdout().is_terminal() && !plain }
    }

    /// What comes next.
    pub(crate) fn heading(&self, text: &str) -> io::Result<()> {
        self.put(&format!("\n{}\n", self.painted(text, "1;36")))
    }

    /// Words for the reader.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| self.put(&format!("{}\n", format!("   {line}").trim_end())))
    }

    /// A command as it could be typed.
    pub(crate) fn command(&self, text: &str) -> io::Result<()> {
        self.put(&format!("   {}\n", self.painted(&format!("$ {text}"), "1")))
    }

    /// What a command or a file says.
    pub(crate) fn quote(&self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| {
            let line = format!("   {} {line}", self.painted("|", "2"));
            self.put(&format!("{}\n", line.trim_end()))
        })
    }

    /// A line to be copied.
    pub(crate) fn copy(&self, text: &str) -> io::Result<()> {
        self.put(&format!("{}\n", self.painted(text, "32")))
    }

    fn painted(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn put(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// Said when everything is gone. Whoever has closed the output does not miss it.
pub(crate) fn farewell() {
    let _ = writeln!(io::stdout(), "\nThe agent has stopped and the temporary home is gone.");
}
