//! The log: to stderr, one line per record, its level changeable while the service runs.
//!
//! `v` decides what this program logs; libraries are heard from `warn` on. `RUST_LOG` replaces both
//! and then holds for as long as the process lives.

use crate::config::printable;
use env_logger::Builder;
use log::LevelFilter;
use std::io::Write;

/// Module paths of this crate begin so; lines show what follows.
const CRATE: &str = "bcs_bkcmdb_synchronizer";

/// Starts the log with the level of `v` (interface.md 2). A second call only sets the level.
pub fn start(v: i64) {
    let mut builder = Builder::new();
    match rust_log() {
        Some(filters) => builder.parse_filters(&filters),
        // Everything of ours passes here; the global level, which can change, decides.
        None => builder.filter_level(LevelFilter::Warn).filter_module(CRATE, LevelFilter::Trace),
    };
    builder.format(|buffer, record| {
        let target = record.target().trim_start_matches(CRATE).trim_start_matches(':');
        let message = printable(&record.args().to_string());
        writeln!(buffer, "{} {:5} {target}: {message}", buffer.timestamp_millis(), record.level())
    });
    // An error means that there is a logger already: a test, or an earlier call.
    let _ = builder.try_init();
    set_level(v);
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
}
