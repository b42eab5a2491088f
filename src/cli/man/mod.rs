//! `man DIR`: the manual pages, for who makes packages.
//!
//! Owns: the pages of the commands, made of the same words as `--help`, and two that are written by hand: the shim's and
//! the one of `config.toml`. Invariant: the same version makes the same pages, wherever and whenever.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::failure::Failure;

/// Write the manual pages into a directory
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// The directory; it is made where there is none
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
}

/// Runs the command.
pub(super) fn run(options: &Options, command: Command) -> Result<(), Failure> {
    write(&options.directory, command).map_err(Failure::Output)
}

fn write(directory: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_page_of(&command, directory)?;
    let version = env!("CARGO_PKG_VERSION");
    for (name, page) in PAGES {
        std::fs::write(directory.join(name), page.replace("@VERSION@", version))?;
    }
    Ok(())
}

fn write_page_of(command: &Command, directory: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_page_of(command, directory)?;
    }
    let page = clap_mangen::Man::new(command.clone())
        .source(concat!("sso-agent ", env!("CARGO_PKG_VERSION")))
        .manual("sso-agent manual");
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(directory.join(page.get_filename()), text)
}

const PAGES: [(&str, &str); 2] = [
    ("sso-credential-process.1", include_str!("sso-credential-process.1")),
    ("sso-agent-config.5", include_str!("sso-agent-config.5")),
];
