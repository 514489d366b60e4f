//! Real Pods, where they are at hand: `../shared/corpus` beside the repository, or the directory
//! `BKCMDB_CORPUS` names. They are not part of the repository.

use std::path::{Path, PathBuf};

/// The lines of a corpus file; none where there is no corpus.
pub fn lines(file: &str) -> Vec<String> {
    let Some(path) = path(file) else { return Vec::new() };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// Where a corpus file is; none where there is no corpus.
pub fn path(file: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let named = std::env::var_os("BKCMDB_CORPUS").map(PathBuf::from);
    let directory = if beside.is_dir() { Some(beside) } else { named };
    if directory.is_none() {
        println!("no corpus: set BKCMDB_CORPUS to a directory with {file} to run this over real pods");
    }
    Some(directory?.join(file))
}
