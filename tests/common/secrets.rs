//! The secrets of tests are words that nothing else has, so that they are found wherever they must not be.

use std::path::Path;

/// Parts of them, as `tests/run` looks for them in everything the tests print.
const WORDS: [&str; 3] = ["s3cret", "t0ken", "hunter2"];

/// Fails if a program wrote a secret into its log. Nothing to say where a test has failed already.
pub fn check_file(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let found: Vec<&str> = text.lines().filter(|line| WORDS.iter().any(|word| line.contains(word))).collect();
    assert!(found.is_empty() || std::thread::panicking(), "{found:#?}");
}
