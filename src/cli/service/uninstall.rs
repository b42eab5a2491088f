//! `service uninstall`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::recorded::Recorded;
use crate::untrusted::shown;
use crate::whole_file;

use super::super::context::Context;
use super::super::failure::Failure;
use super::Trouble;
use super::control::{Kind, Line, Manager, typed};
use super::install::io_at;
use super::place::Place;
use super::seal::{Standing, standing};

/// Stop the service and remove what `install` wrote; the sign-ins stay on disk
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Print what would be removed and the commands, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also remove units that were edited or written by somebody else
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    removed: Vec<PathBuf>,
    kept: Vec<PathBuf>,
    commands: Vec<Line>,
    dry_run: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, socket: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    let kind = Kind::HERE;
    let place = Place::find(context.env, socket)?;
    let packaged = kind.packaged(&place, context.env).is_some();
    let (mut removed, mut kept, mut units) = (Vec::new(), Vec::new(), Vec::new());
    let wanted = kind.wanted(&place, context.env)?;
    for wanted in &wanted {
        let name = wanted.path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| packaged || wanted.path.symlink_metadata().is_ok()) {
            units.push(name);
        }
    }
    for wanted in &wanted {
        match standing(&wanted.path, &wanted.content).map_err(io_at("read", &wanted.path))? {
            Standing::Missing => {}
            Standing::Edited if !options.force => kept.push(wanted.path.clone()),
            Standing::Current | Standing::Outdated | Standing::Edited => removed.push(wanted.path.clone()),
        }
    }
    let record = Recorded::path(&place.state_dir);
    if record.exists() {
        removed.push(record);
    }
    let mut commands = Vec::new();
    if !units.is_empty() {
        commands.push(kind.disable(&units));
        commands.extend(kind.reload());
    }
    if !options.dry_run {
        carry_out(kind, &removed, &commands, context)?;
    }
    if options.json {
        return context.print_json(&Printed { removed, kept, commands, dry_run: options.dry_run });
    }
    tell(options, &removed, &kept, &commands, context)?;
    if !options.dry_run {
        let state = place.state_dir.to_string_lossy();
        context.say(&format!("the sign-ins stay in {}; sso-agent logout --all ends them first", shown(&state)));
    }
    Ok(())
}

fn carry_out(kind: Kind, removed: &[PathBuf], commands: &[Line], context: &mut Context<'_>) -> Result<(), Failure> {
    // Where no manager answers, nothing of it runs, and what was written is removed all the same.
    let manager = match Manager::find(kind, context.env) {
        Ok(manager) => Some(manager),
        Err(trouble @ Trouble::NoManager { .. }) => {
            context.say(&format!("warning: {trouble}"));
            None
        }
        Err(trouble) => return Err(trouble.into()),
    };
    let (first, rest) = commands.split_at(commands.len().min(1));
    if let Some(manager) = &manager {
        for line in first {
            // launchd refuses to end what it does not know; that is as it should be.
            let known = kind == Kind::Systemd || manager.state()?.listening;
            if known {
                manager.run(line)?;
            }
        }
    }
    for path in removed {
        whole_file::remove(path).map_err(io_at("remove", path))?;
    }
    if let Some(manager) = &manager {
        for line in rest {
            manager.run(line)?;
        }
    }
    Ok(())
}

fn tell(
    options: &Options,
    removed: &[PathBuf],
    kept: &[PathBuf],
    commands: &[Line],
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    for path in removed {
        let path = path.to_string_lossy();
        if options.dry_run {
            context.print(format!("remove {}\n", shown(&path)))?;
        } else {
            context.say(&format!("removed: {}", shown(&path)));
        }
    }
    for path in kept {
        let path = path.to_string_lossy();
        context.say(&format!("kept, because it was edited: {} (--force removes it)", shown(&path)));
    }
    if options.dry_run {
        for line in commands {
            context.print(format!("$ {}\n", typed(line)))?;
        }
        context.say("nothing was changed");
    } else if commands.is_empty() && removed.is_empty() {
        context.say("the service was not installed");
    }
    Ok(())
}
