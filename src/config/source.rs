//! Where values come from: file, environment, flags. Reads them; judges only whether they can be
//! read at all and whether each key is known.

use super::Environment;
use super::key::{Key, Kind, Program};
use super::problem::{Origin, Problem, shown};
use super::table::{CONTAINER_SERVER, SYNCHRONIZER};
use super::value::{self, Plain};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A configuration file is a few kilobytes; anything longer than this is some other file.
const LONGEST_FILE: u64 = 1024 * 1024;

/// What a configuration is made of. Precedence: flags, environment, file, defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The JSON file.
    pub file: Option<PathBuf>,
    /// The environment, as [`environment_of_process`] gives it.
    pub environment: Environment,
    /// Flags by key, in the order given; a later one wins.
    pub flags: Vec<(String, String)>,
}

/// The environment of this process. What is not UTF-8 is kept with replacement characters, so that
/// a key that has such a value is reported instead of overlooked.
pub fn environment_of_process() -> Environment {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// A value somebody gave.
#[derive(Clone, Debug)]
pub struct Given {
    /// Its key.
    pub key: &'static Key,
    /// The value; none if it is not of the key's kind, which is then among the problems.
    pub plain: Option<Plain>,
    /// Where it came from.
    pub origin: Origin,
    /// As a message may show it.
    pub shown: Option<String>,
}

/// What was read: values in rising precedence, and what was wrong on the way.
#[derive(Debug)]
pub struct Reading {
    /// Whose keys they are.
    pub program: &'static Program,
    /// Values, the later ones win.
    pub given: Vec<Given>,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// What is odd, but does no harm.
    pub warnings: Vec<String>,
}

impl Reading {
    /// Nothing read yet.
    pub fn new(program: &'static Program) -> Self {
        Self { program, given: Vec::new(), problems: Vec::new(), warnings: Vec::new() }
    }

    /// Whether the file as a whole could not be read.
    pub fn is_unreadable(&self) -> bool {
        self.problems.iter().any(|problem| problem.key.is_empty())
    }

    /// Reads a configuration file.
    pub fn file(&mut self, path: &Path) {
        match read_text(path, LONGEST_FILE) {
            Ok(text) => self.json(&text, |line| Origin::File(path.to_path_buf(), line)),
            Err(reason) => self
                .problems
                .push(Problem::whole(format!("cannot read configuration file {}: {reason}", path.display()))),
        }
    }

    /// Reads a configuration from JSON text.
    pub fn json(&mut self, text: &str, origin: impl Fn(usize) -> Origin) {
        let entries = match serde_json::from_str::<Entries<'_>>(text) {
            Ok(entries) => entries.0,
            Err(error) if error.is_data() => {
                let reason = format!("the configuration must be one JSON object ({})", origin(1));
                self.problems.push(Problem::whole(reason));
                return;
            }
            Err(error) => {
                let reason = format!("the configuration is not JSON: {error} ({})", origin(error.line()));
                self.problems.push(Problem::whole(reason));
                return;
            }
        };
        let mut lines: Vec<(String, usize)> = Vec::new();
        for (name, raw) in entries {
            let line = line_of(text, raw.get());
            let at = origin(line);
            if let Some((_, first)) = lines.iter().find(|(known, _)| *known == name) {
                let reason = format!("is given twice, first on line {first}; keep one");
                self.problems.push(Problem { key: name, reason, given: None, origin: Some(at) });
                continue;
            }
            lines.push((name.clone(), line));
            let Some(key) = self.known(&name, &at) else { continue };
            let plain = serde_json::from_str(raw.get())
                .map_err(|error| format!("is not JSON: {error}"))
                .and_then(|value| value::from_json(key.kind, &value));
            self.take(key, plain, at, raw.get());
        }
    }

    /// Reads the variables that carry the program's prefix.
    pub fn environment(&mut self, environment: &Environment) {
        let prefix = self.program.env_prefix;
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(prefix) else { continue };
            let origin = Origin::Variable(variable.clone());
            let Some(key) = self.known(&name.to_lowercase(), &origin) else { continue };
            let plain = match text.contains(char::REPLACEMENT_CHARACTER) {
                true => Err("must be valid UTF-8".to_owned()),
                false => value::from_text(key.kind, text),
            };
            self.take(key, plain, origin, text);
        }
    }

    /// Reads flags.
    pub fn flags(&mut self, flags: &[(String, String)]) {
        for (name, text) in flags {
            let Some(key) = self.known(name, &Origin::Flag) else { continue };
            self.take(key, value::from_flag(key.kind, text), Origin::Flag, text);
        }
    }

    /// The key of that name; an unknown one becomes a problem.
    fn known(&mut self, name: &str, origin: &Origin) -> Option<&'static Key> {
        let key = self.program.key(name);
        if key.is_none() {
            let other =
                [&SYNCHRONIZER, &CONTAINER_SERVER].into_iter().find(|program| program.key(name).is_some());
            let hint = match (other, self.program.nearest(name)) {
                (Some(other), _) => format!("it is one of the {}, which has a file of its own", other.name),
                (None, Some(key)) => format!("did you mean `{}`?", key.name),
                (None, None) => "see --help for the keys".to_owned(),
            };
            let reason = format!("is not a key of the {}; {hint}", self.program.name);
            // Not a name at all: shown as JSON would, or not, since it may be a misplaced address.
            let key = match shown(name) {
                Some(name) if name.is_empty() => "\"\"".to_owned(),
                Some(name) => name,
                None => "(a key with an @)".to_owned(),
            };
            self.problems.push(Problem { key, reason, given: None, origin: Some(origin.clone()) });
        }
        key
    }

    fn take(&mut self, key: &'static Key, plain: Result<Plain, String>, origin: Origin, text: &str) {
        if key.kind.is_ignored() {
            self.warnings.push(format!("{}: no longer acts and is ignored ({origin})", key.name));
            return;
        }
        let shown = if key.kind == Kind::Secret { None } else { shown(text) };
        let plain = plain.map_err(|reason| {
            let (key, given, origin) = (key.name.to_owned(), shown.clone(), Some(origin.clone()));
            self.problems.push(Problem { key, reason, given, origin });
        });
        self.given.push(Given { key, plain: plain.ok(), origin, shown });
    }
}

/// Reads a whole text file of at most `longest` bytes. The error says why not, in words.
pub fn read_text(path: &Path, longest: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(longest + 1).read_to_end(&mut bytes))
        .map_err(|error| in_words(&error, path))?;
    if bytes.len() as u64 > longest {
        return Err(format!("it is longer than {longest} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 text (byte {} is wrong)", error.utf8_error().valid_up_to()))
}

/// An error of the file system; for a relative path with the directory it is relative to.
pub fn in_words(error: &io::Error, path: &Path) -> String {
    match std::env::current_dir() {
        Ok(directory) if path.is_relative() => format!("{error} (looked in {})", directory.display()),
        _ => error.to_string(),
    }
}

/// The line on which `part`, a piece of `text`, begins.
fn line_of(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The members of a JSON object in their order, with repeated names, values still as text.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
