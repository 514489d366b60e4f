//! Reads the configuration again while the service runs: on SIGHUP, and when its file, or a file it
//! names, has changed.
//!
//! What can change at run time is put in force; what cannot is named, in the log and as a problem,
//! for as long as it differs from what runs. A configuration that is not good changes nothing and is
//! a problem until it is. Knows which keys there are, and of the service only [`Target`].

mod keys;

pub use keys::{Effect, Entry, changed, names, without_restart};

use crate::config::{Config, Loaded, Sources, TlsFiles};
use crate::coordination::Looker;
use crate::logging;
use crossbeam::channel::never;
use signal_hook::consts::SIGHUP;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Between two looks at the files and for the signal.
const LOOK: Duration = Duration::from_secs(1);

/// What can be told to change.
pub trait Target: Send + 'static {
    /// Puts in force what [`Effect`] says of the changed keys; files whose
    /// content changed under the same name count as changed.
    ///
    /// # Errors
    /// Why something could not be, in words; some of the rest may be in force.
    fn apply(&self, config: &Config, effects: &[Effect]) -> Result<(), String>;

    /// Shows what is wrong with the configuration as it is now, or that nothing is.
    fn show(&self, problem: Option<Problem>);
}

/// What is wrong with the configuration as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It has to be corrected.
    NotInForce(String),
    /// It is good, and the service has to be restarted for a part of it.
    Restart(String),
}

impl Problem {
    /// In words.
    pub fn message(&self) -> &str {
        match self {
            Self::NotInForce(message) | Self::Restart(message) => message,
        }
    }
}

/// The thread that looks. Stops when dropped.
pub struct Reloader {
    _looker: Looker,
}

/// What identifies one version of a file; none: it cannot be seen.
type Version = Option<(u64, u64, i64, i64)>;

struct Looks<T> {
    sources: Sources,
    target: T,
    asked: Arc<AtomicBool>,
    /// What the service was started with: keys that need a restart are compared with it.
    started: Config,
    /// What is in force otherwise.
    current: Config,
    /// The last good one; other than `current` while it could not be put in force.
    read: Config,
    /// What `read` could not be put in force for: done again with the next configuration, whatever it says.
    owed: Vec<Effect>,
    seen: BTreeMap<PathBuf, Version>,
    /// Files that changed while the configuration was not good.
    missed: Vec<PathBuf>,
    told: Option<Problem>,
}

impl Reloader {
    /// Starts to look for changes of `config`, which was read from `sources`.
    ///
    /// # Errors
    /// The machine grants no thread or signal.
    pub fn start(sources: Sources, config: &Config, target: impl Target) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&asked))?;
        let mut looks = Looks::new(sources, config, target, asked);
        let looker = Looker::start("reload", never(), move || {
            looks.look();
            LOOK
        })?;
        Ok(Self { _looker: looker })
    }
}

impl<T: Target> Looks<T> {
    fn new(sources: Sources, config: &Config, target: T, asked: Arc<AtomicBool>) -> Self {
        let seen = versions(&sources, config);
        let (started, current, read) = (config.clone(), config.clone(), config.clone());
        let (missed, owed) = (Vec::new(), Vec::new());
        Self { sources, target, asked, started, current, read, owed, seen, missed, told: None }
    }

    fn look(&mut self) {
        let asked = self.asked.swap(false, Relaxed);
        let seen = versions(&self.sources, &self.read);
        if asked || seen != self.seen {
            let other = |(path, version): &(&PathBuf, &Version)| self.seen.get(*path) != Some(*version);
            let changed: Vec<PathBuf> = seen.iter().filter(other).map(|(path, _)| path.clone()).collect();
            self.seen = seen;
            self.missed.extend(changed);
            self.reload(asked);
        }
    }

    /// Reads everything again.
    fn reload(&mut self, asked: bool) {
        let problem = match Config::load(&self.sources) {
            Err(problems) => Some(Problem::NotInForce(format!(
                "the new configuration is not in force: {}; correct it, the last good one still holds",
                problems.in_one_line()
            ))),
            Ok(Loaded { config, .. }) => self.take(config, asked),
        };
        if problem != self.told {
            match &problem {
                Some(problem) => log::warn!("{}", problem.message()),
                None => log::info!("the configuration is in force as it is"),
            }
        }
        self.target.show(problem.clone());
        self.told = problem;
    }

    /// Puts a good configuration in force; what is left to say about it.
    fn take(&mut self, wanted: Config, asked: bool) -> Option<Problem> {
        let fixed = names(&changed(&self.started, &wanted), Effect::Restart);
        let config = without_restart(&self.current, wanted);
        let changed = changed(&self.current, &config);
        let files = std::mem::take(&mut self.missed);
        let mut effects: Vec<Effect> = changed.iter().map(|entry| entry.effect).collect();
        let touches = |tls: &TlsFiles| paths(tls).any(|path| files.contains(path));
        if touches(&config.storage_tls) || (asked && self.has_certificates(&config.storage_tls)) {
            effects.push(Effect::Clusters);
        }
        if touches(&config.server_tls) || (asked && self.has_certificates(&config.server_tls)) {
            effects.push(Effect::StatusService);
        }
        for effect in std::mem::take(&mut self.owed) {
            if !effects.contains(&effect) {
                effects.push(effect);
            }
        }
        logging::set_level(config.v);
        let applied = self.target.apply(&config, &effects);
        // A file that changed since it was looked at is read again at the next look.
        let mut seen = versions(&self.sources, &config);
        for (path, version) in &mut seen {
            *version = self.seen.get(path).copied().unwrap_or(*version);
        }
        self.seen = seen;
        self.read = config.clone();
        if let Err(error) = applied {
            self.owed = effects;
            let message = format!("a part of the new configuration is not in force: {error}");
            return Some(Problem::NotInForce(message));
        }
        for effect in [Effect::AtOnce, Effect::Inventory, Effect::Clusters, Effect::StatusService] {
            let names = names(&changed, effect);
            if !names.is_empty() {
                log::info!("configuration: {} changed; {}", names.join(", "), effect.words());
            }
        }
        self.current = config;
        let restart = format!(
            "{} changed in the configuration: restart the service to put that in force",
            fixed.join(", ")
        );
        (!fixed.is_empty()).then_some(Problem::Restart(restart))
    }

    fn has_certificates(&self, tls: &TlsFiles) -> bool {
        *tls != TlsFiles::default()
    }
}

impl Effect {
    fn words(self) -> &'static str {
        match self {
            Self::AtOnce => "in force",
            Self::Inventory => "in force with the next pull of the inventory",
            Self::Clusters => "every cluster begins anew with it",
            Self::StatusService => "in force for new connections",
            Self::Restart => "restart the service to put it in force",
        }
    }
}

fn paths(tls: &TlsFiles) -> impl Iterator<Item = &PathBuf> {
    [&tls.ca, &tls.cert, &tls.key].into_iter().flatten()
}

/// The files a configuration comes from, as they are now.
fn versions(sources: &Sources, config: &Config) -> BTreeMap<PathBuf, Version> {
    let version = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    let tls = paths(&config.storage_tls).chain(paths(&config.server_tls));
    let files = sources.file.iter().chain(&config.secret_files).chain(tls);
    files.map(|path| (path.clone(), version(path))).collect()
}

#[cfg(test)]
mod tests;
