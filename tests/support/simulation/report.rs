//! What a simulation has seen: counts for people, and the last events before something went wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::moment::{At, shown};

/// What happened in a simulation.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How long it was, in days of a user.
    pub days: u64,
    /// Events the agent was handed.
    pub events: u64,
    /// Requests of callers.
    pub requests: u64,
    /// Of them, those that were answered with what they asked for.
    pub served: u64,
    /// Calls to the service, by operation.
    pub calls: BTreeMap<&'static str, u64>,
    /// Faults of the network and the service, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What else was done to the agent, by kind.
    pub blows: BTreeMap<&'static str, u64>,
    /// Sign-ins, by how the session before had ended.
    pub sign_ins: BTreeMap<&'static str, u64>,
    /// What the summary names but does not forbid.
    pub noted: BTreeMap<&'static str, u64>,
    /// The most there was of something in an hour, or in a row.
    pub most: BTreeMap<&'static str, u64>,
    /// Depends on everything that happened.
    pub digest: u64,
}

impl Report {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.days += other.days;
        self.events += other.events;
        self.requests += other.requests;
        self.served += other.served;
        self.digest ^= other.digest;
        let sums = [
            (&mut self.calls, &other.calls),
            (&mut self.faults, &other.faults),
            (&mut self.blows, &other.blows),
            (&mut self.sign_ins, &other.sign_ins),
            (&mut self.noted, &other.noted),
        ];
        for (all, some) in sums {
            for (kind, count) in some {
                *all.entry(*kind).or_default() += *count;
            }
        }
        for (kind, count) in &other.most {
            self.at_most(kind, *count);
        }
    }

    /// There was so much of it.
    pub fn at_most(&mut self, kind: &'static str, count: u64) {
        let known = self.most.entry(kind).or_default();
        *known = count.max(*known);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let years = self.days / 365;
        writeln!(formatter, "user-years    {years} ({} days)", self.days)?;
        writeln!(formatter, "events        {}", self.events)?;
        writeln!(formatter, "requests      {} ({} served)", self.requests, self.served)?;
        let tables = [
            ("calls", &self.calls),
            ("faults", &self.faults),
            ("blows", &self.blows),
            ("sign-ins", &self.sign_ins),
            ("noted", &self.noted),
            ("at most", &self.most),
        ];
        for (name, table) in tables {
            writeln!(formatter, "{name:<13} {}", table.values().sum::<u64>())?;
            for (kind, count) in table {
                writeln!(formatter, "  {count:>11}  {kind}")?;
            }
        }
        Ok(())
    }
}

/// A rule was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What it can be repeated with.
    pub seed: u64,
    /// When it happened.
    pub at: At,
    /// Which rule, and how.
    pub what: String,
    /// What happened before.
    pub log: Log,
    /// What was known then.
    pub books: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With `#` everything that was kept.
        self.log.show(if formatter.alternate() { KEPT } else { SHOWN }, formatter)?;
        writeln!(formatter, "{}", self.books)?;
        write!(formatter, "VIOLATION at {} with seed {}: {}", shown(self.at), self.seed, self.what)
    }
}

/// The last events.
#[derive(Debug, Clone, Default)]
pub struct Log {
    lines: VecDeque<(At, String)>,
    digest: u64,
}

impl Log {
    /// One more.
    pub fn note(&mut self, at: At, line: String) {
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.digest = self.digest.wrapping_add(at);
        if self.lines.len() >= KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((at, line));
    }

    fn show(&self, lines: usize, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.lines.len().saturating_sub(lines);
        self.lines.iter().skip(first).try_for_each(|(at, line)| writeln!(formatter, "{}  {line}", shown(*at)))
    }

    /// Depends on everything that was noted.
    pub const fn digest(&self) -> u64 {
        self.digest
    }
}

const KEPT: usize = 400;
const SHOWN: usize = 50;
