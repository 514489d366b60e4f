//! What the instances hold: counted at quiet points, it must not grow.

use crate::processes::{Fleet, PATIENCE};

/// Memory may differ by a fifth and this much, KiB: an allocator keeps what it had at its peak.
const MEMORY_SLACK: usize = 16 << 10;
/// Connections and their threads that come and go with whoever asks for the status.
const SLACK: usize = 6;

/// What all instances together, or one, hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Threads of all.
    pub threads: usize,
    /// Open files and sockets of all.
    pub files: usize,
    /// KiB of memory of the one instance that runs from beginning to end.
    pub memory: usize,
}

impl Holdings {
    /// Of a fleet, now. The first instance is the one that is never restarted.
    pub fn of(fleet: &Fleet) -> Self {
        let instances = &fleet.instances;
        Self {
            threads: instances.iter().map(|instance| instance.threads()).sum(),
            files: instances.iter().map(|instance| instance.files()).sum(),
            memory: instances[0].memory(),
        }
    }

    fn is_no_more_than(&self, before: &Self) -> bool {
        self.threads <= before.threads + SLACK
            && self.files <= before.files + SLACK
            && self.memory <= before.memory + before.memory / 5 + MEMORY_SLACK
    }
}

/// Waits until a fleet holds no more than `before`; idle connections take a while to be closed.
#[track_caller]
pub fn wait_until_no_more_than(before: &Holdings, fleet: &Fleet) -> Holdings {
    let mut now = Holdings::of(fleet);
    fleet.wait(&format!("it holds no more than {before:?}"), PATIENCE, |fleet| {
        now = Holdings::of(fleet);
        now.is_no_more_than(before)
    });
    now
}
