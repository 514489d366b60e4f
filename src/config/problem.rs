//! What is wrong with a configuration: all of it at once, one line each, never a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag,
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file.
    File(PathBuf, usize),
    /// A line of a configuration given as text.
    Text(usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Text(line) => write!(f, "line {line}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key; empty if it concerns the configuration as a whole.
    pub key: String,
    /// What would be right.
    pub reason: String,
    /// What was given, shortened; none if it may be a secret or nothing was given.
    pub given: Option<String>,
    /// Where it was given; none for a default.
    pub origin: Option<Origin>,
}

impl Problem {
    /// A problem of the whole configuration.
    pub fn whole(reason: impl Into<String>) -> Self {
        Self { key: String::new(), reason: reason.into(), given: None, origin: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)?;
        match (&self.given, &self.origin) {
            (Some(given), Some(origin)) => write!(f, "; given {given} ({origin})"),
            (None, Some(origin)) => write!(f, " ({origin})"),
            (Some(given), None) => write!(f, "; it is {given}"),
            (None, None) => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the sources and then of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// All of them in one sentence; the page splits it where this joins it.
    pub fn in_one_line(&self) -> String {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        all.join("; also ").replace('\n', "; ")
    }
}

/// A value as a message may show it: on one line, at most 80 characters, and not at all if it may
/// hold a password (`user:password@host`) or is a key where the path of its file should stand.
pub fn shown(text: &str) -> Option<String> {
    const LONGEST: usize = 80;
    if text.contains('@') || text.contains("-----BEGIN") {
        return None;
    }
    let mut start: String = text.chars().take(LONGEST).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    Some(printable(&start))
}

/// The text on one line: control characters, which would disturb a terminal or forge a log line,
/// are escaped.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}
