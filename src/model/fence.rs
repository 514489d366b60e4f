//! The permission to write, asked for before every request.

use std::time::Duration;

/// What a writer may do right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// How long the permission lasts at most; a request's timeout is cut to it. `None`: for ever
    /// (standalone).
    pub remaining: Option<Duration>,
    /// The same as a time since boot (`CLOCK_BOOTTIME`): no byte of a request leaves later, whatever
    /// paused the process or the machine meanwhile.
    pub until: Option<Duration>,
    /// Value of `X-Bkcmdb-Fence`, `<cluster>:<czxid of its lock>` (design.md 4).
    pub header: Option<String>,
    /// The [`Fence::epoch`] it belongs to: taken together with it, so that no interruption is between.
    pub epoch: u64,
}

/// Whether this instance may write for one cluster.
pub trait Fence: Send + Sync {
    /// A permit, or why there is none.
    fn permit(&self) -> Result<Permit, String>;

    /// A number that changes whenever the permission was interrupted, however short: what was in
    /// flight at that time must be read back, what was decided before is written no more, and a full sync
    /// must follow (design.md 4). It only grows.
    fn epoch(&self) -> u64 {
        0
    }
}

/// The fence of an instance that is alone: always open.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFence;

impl Fence for NoFence {
    fn permit(&self) -> Result<Permit, String> {
        Ok(Permit::default())
    }
}
