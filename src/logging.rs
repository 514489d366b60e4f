//! The log: to stderr, one line per record, its level changeable while the service runs.
//!
//! When stderr is the journal's (systemd says so in `JOURNAL_STREAM`), a line begins with its
//! priority, which the journal takes off and files it under; the journal has the time itself.
//!
//! `v` decides what this program logs; libraries are heard from `warn` on. `RUST_LOG` replaces both
//! and then holds for as long as the process lives.

use crate::config::printable;
use env_logger::Builder;
use log::{Level, LevelFilter};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Module paths of this crate begin so; lines show what follows.
const CRATE: &str = "bcs_bkcmdb_synchronizer";
/// What stderr is, as the kernel shows it.
const STDERR: &str = "/proc/self/fd/2";

/// Starts the log with the level of `v` (interface.md 2). A second call only sets the level.
pub fn start(v: i64) {
    let mut builder = Builder::new();
    match rust_log() {
        Some(filters) => builder.parse_filters(&filters),
        // Everything of ours passes here; the global level, which can change, decides.
        None => builder.filter_level(LevelFilter::Warn).filter_module(CRATE, LevelFilter::Trace),
    };
    let journal = is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref(), Path::new(STDERR));
    builder.format(move |buffer, record| {
        let target = record.target().trim_start_matches(CRATE).trim_start_matches(':');
        let message = printable(&record.args().to_string());
        if journal {
            return writeln!(buffer, "<{}>{target}: {message}", priority(record.level()));
        }
        writeln!(buffer, "{} {:5} {target}: {message}", buffer.timestamp_millis(), record.level())
    });
    // An error means that there is a logger already: a test, or an earlier call.
    let _ = builder.try_init();
    set_level(v);
}

/// A fault that comes again and again: only its beginning and its end are worth a line.
#[derive(Debug, Default)]
pub struct Trouble(AtomicBool);

impl Trouble {
    /// A fault was met; whether it is news.
    pub fn begins(&self) -> bool {
        !self.0.swap(true, Relaxed)
    }

    /// All went well; whether that is news.
    pub fn ends(&self) -> bool {
        self.0.load(Relaxed) && self.0.swap(false, Relaxed)
    }
}

/// Problems in words, which come in turn and again: each is worth a line the first time since all was
/// well.
#[derive(Debug, Default)]
pub struct Told(Vec<String>);

impl Told {
    /// Different problems that are told until all is well; more than that say nothing new.
    const MOST: usize = 16;

    /// A problem was met; whether it is news.
    pub fn is_news(&mut self, problem: &str) -> bool {
        let news = self.0.len() < Self::MOST && !self.0.iter().any(|told| told == problem);
        if news {
            self.0.push(problem.to_owned());
        }
        news
    }

    /// Nothing is wrong; whether that is news.
    pub fn all_is_well(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

/// Changes the level while the service runs; without effect when `RUST_LOG` is set.
pub fn set_level(v: i64) {
    if rust_log().is_none() {
        log::set_max_level(level(v));
    }
}

/// The level that a value of the key `v` means.
fn level(v: i64) -> LevelFilter {
    match v {
        ..=0 => LevelFilter::Warn,
        1..=3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        5.. => LevelFilter::Trace,
    }
}

/// Whether `stream` (device and inode, as systemd.exec(5) defines `JOURNAL_STREAM`) is this very
/// file: the variable is inherited also by those whose stderr leads elsewhere.
fn is_journal(stream: Option<&str>, file: &Path) -> bool {
    let named = stream.and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let is = std::fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    named.is_some() && named == is
}

/// The journal's number for a level (sd-daemon(3)).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn rust_log() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filters| !filters.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v_means_the_documented_levels() {
        for (v, wanted) in [
            (-1, LevelFilter::Warn),
            (0, LevelFilter::Warn),
            (1, LevelFilter::Info),
            (3, LevelFilter::Info),
            (4, LevelFilter::Debug),
            (5, LevelFilter::Trace),
            (100, LevelFilter::Trace),
        ] {
            assert_eq!(level(v), wanted, "v = {v}");
        }
    }

    #[test]
    fn a_fault_that_lasts_is_news_when_it_begins_and_when_it_ends() {
        let trouble = Trouble::default();
        let told = [trouble.ends(), trouble.begins(), trouble.begins(), trouble.ends(), trouble.ends()];
        assert_eq!(told, [false, true, false, true, false]);
    }

    #[test]
    fn problems_that_come_in_turn_are_news_once_until_all_is_well() {
        let mut told = Told::default();
        let news = |told: &mut Told| ["a", "b", "a", "b"].map(|problem| told.is_news(problem));
        assert!(!told.all_is_well());
        assert_eq!(news(&mut told), [true, true, false, false]);
        assert!(told.all_is_well() && !told.all_is_well());
        assert_eq!(news(&mut told), [true, true, false, false]);
        let many = (0..100).filter(|number| told.is_news(&number.to_string())).count();
        assert_eq!(many, Told::MOST - 2, "a bound");
    }

    #[test]
    fn only_the_very_file_named_by_journal_stream_gets_priorities() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        let check =
            |stream: &str, wanted| assert_eq!(is_journal(Some(stream), file.path()), wanted, "{stream}");
        check(&format!("{device}:{inode}"), true);
        check(&format!("{device}:{}", inode + 1), false);
        for wrong in ["", ":", "x:y", "-1:-1", "99999999999999999999:1", &format!("{device}:{inode}:1")] {
            check(wrong, false);
        }
        assert!(!is_journal(None, file.path()));
        assert!(!is_journal(Some("1:1"), Path::new("/nowhere")));
    }
}
