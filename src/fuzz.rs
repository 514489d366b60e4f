//! Everything that is read from outside, as functions a fuzzer can call.
//!
//! Each target takes any bytes and asserts a property that must hold whatever they are; the property
//! stands beside the code it is about, in the `fuzz` file of its module. Two callers: the programs of
//! `tests/fuzz`, which make inputs up, and the test below, which replays the seeds and every input that
//! once broke something, with the stable toolchain and no fuzzer.

use crate::{cmdb, config, container_server, convert, coordination, inventory, storage};

/// A property that holds for any bytes; it panics where it does not.
pub type Target = fn(&[u8]);

/// Every target by the name of its program and of its directory of seeds.
pub const TARGETS: [(&str, Target); 13] = [
    ("watch_stream", storage::fuzz::watch_stream),
    ("list_page", storage::fuzz::list_page),
    ("point_read", storage::fuzz::point_read),
    ("document", convert::fuzz::document),
    ("repair", convert::fuzz::repair),
    ("cmdb_answer", cmdb::fuzz::answer),
    ("topology", cmdb::fuzz::topology),
    ("paas_answer", inventory::fuzz::paas_answer),
    ("task_file", inventory::fuzz::task_file),
    ("zk_nodes", coordination::fuzz::nodes),
    ("zk_frames", coordination::fuzz::frames),
    ("config", config::fuzz::config),
    ("filter", container_server::fuzz::filter),
];

/// Calls the target of that name.
///
/// # Panics
/// There is none, or its property does not hold.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let Some((_, target)) = target else { panic!("no fuzz target is named {name}") };
    target(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn entries(path: &Path) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        listed.map(|entry| entry.unwrap().path()).collect()
    }

    fn fuzz_directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    #[test]
    fn every_seed_and_everything_that_once_broke_holds_the_property_of_its_target() {
        for (name, target) in TARGETS {
            let seeds = entries(&fuzz_directory().join("seeds").join(name));
            assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
            for seed in seeds {
                let data = std::fs::read(&seed).unwrap();
                // Any beginning of it is an answer that was cut short.
                for length in [data.len(), data.len() / 2, data.len().saturating_sub(1)] {
                    let held = std::panic::catch_unwind(|| target(&data[..length]));
                    assert!(held.is_ok(), "{} up to byte {length}", seed.display());
                }
            }
        }
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds_and_there_are_no_others() {
        let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let stems = |directory: &str| -> BTreeSet<String> {
            let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
            entries(&fuzz_directory().join(directory)).into_iter().map(stem).collect()
        };
        assert_eq!(stems("targets"), names);
        assert_eq!(stems("seeds"), names);
    }
}
