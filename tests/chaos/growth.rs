//! What the instances hold: counted at quiet points, it must not grow.

use crate::processes::{Fleet, PATIENCE};
use std::time::Instant;

/// Memory may differ by a fifth and this much, KiB: an allocator keeps what it had at its peak.
const MEMORY_SLACK: usize = 16 << 10;
/// Connections of whoever asks for the status at the moment of the count.
const SLACK: usize = 6;

/// What the instances hold, each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Threads.
    threads: Vec<usize>,
    /// Open files and sockets.
    files: Vec<usize>,
    /// KiB of memory.
    memory: Vec<usize>,
}

impl Holdings {
    /// Of a fleet, now.
    pub fn of(fleet: &Fleet) -> Self {
        let instances = || fleet.instances.iter();
        Self {
            threads: instances().map(|instance| instance.threads()).collect(),
            files: instances().map(|instance| instance.files()).collect(),
            memory: instances().map(|instance| instance.memory()).collect(),
        }
    }

    /// Threads and files of all together, since clusters move from one to another. How many idle
    /// connections an instance keeps is chance up to a bound: each may have as many as the one that
    /// had most. The memory of the first, which is the one that is never restarted.
    fn is_no_more_than(&self, before: &Self) -> bool {
        let sum = |counts: &[usize]| counts.iter().sum::<usize>();
        let most_files = before.files.iter().max().copied().unwrap_or_default();
        sum(&self.threads) <= sum(&before.threads)
            && sum(&self.files) <= before.files.len() * most_files + SLACK
            && self.memory[0] <= before.memory[0] + before.memory[0] / 5 + MEMORY_SLACK
    }
}

/// Waits until a fleet holds no more than `before`; idle connections take a while to be closed.
#[track_caller]
pub fn wait_until_no_more_than(before: &Holdings, fleet: &Fleet) -> Holdings {
    let started = Instant::now();
    let mut now = Holdings::of(fleet);
    fleet.wait("a look at what it holds", PATIENCE * 2, |fleet| {
        now = Holdings::of(fleet);
        let grown = !now.is_no_more_than(before);
        assert!(!grown || started.elapsed() < PATIENCE, "grown from {before:?} to {now:?}");
        !grown
    });
    now
}
