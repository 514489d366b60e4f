//! The pure core: what is wanted, what the CMDB holds, and what follows from the difference.
//!
//! No I/O, no clock, no thread, no log. Time comes in as a [`Moment`], documents as
//! [`Observation`](crate::model::Observation)s, answers as [`Failure`]s; what has to be done goes
//! out as [`Order`]s, [`Step`]s and [`Effect`]s. The threads in `sync` carry it out.
//!
//! | part | decides |
//! |---|---|
//! | [`EventQueue`] | which event about a storage document is worth keeping |
//! | [`Ledger`] | whether an observation changes what the CMDB should hold |
//! | [`Lane`] | the next request of one sender shard, and what its answer means |
//! | [`Comparison`] | what a full sync concludes from its listings |
//! | [`Guard`] | which deletes of a full sync are held back |
//! | [`MuteCheck`] | whether a connected watch is silent |
//! | [`Schedule`] | when the next full sync is due, and why |
//! | [`mutation`] | none of it: rules broken on purpose, for the simulation |

mod backoff;
mod comparison;
mod event_queue;
mod fingerprint;
mod guard;
mod lane;
mod ledger;
pub mod mutation;
mod mute;
mod schedule;
#[cfg(test)]
mod testkit;

pub use backoff::Backoff;
pub use comparison::{Comparison, Lacking};
pub use event_queue::{EventQueue, Pushed, QueuedEvent};
pub(crate) use fingerprint::shard_of;
pub use fingerprint::{FieldSet, Fingerprint, Fingerprinter};
pub use guard::{Guard, GuardDecision, GuardSettings, HeldDelete};
pub use lane::{Effect, Failure, Holder, Lane, LaneSettings, PointRead, Step, Stored};
pub use ledger::{
    Acked, Counts, Decision, Desired, Failing, Heir, Ledger, Missing, Order, OrderKind, Refusal, SeenRecord,
    Source, Standing, Trouble, Verdict,
};
pub use mute::MuteCheck;
pub use schedule::{Cause, Outcome, Schedule, ScheduleSettings};

/// Time since some fixed start. Monotonic; the pure core never asks for it.
pub type Moment = std::time::Duration;

/// Why a record may be deleted (design.md 3, rule 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A point read found nothing where bcs-storage keeps it.
    Gone,
    /// A point read found another uid there.
    Superseded {
        /// The uid that holds the name now.
        by: String,
    },
    /// Its immutable field cannot be updated: it is deleted and created again.
    Replaced,
    /// The cluster belongs to another business now.
    BusinessChanged,
    /// An operator asked for it with `purge`.
    Purged,
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("point read: not in bcs-storage"),
            Self::Superseded { by } => write!(f, "point read: its name belongs to uid {by}"),
            Self::Replaced => f.write_str("replaced: an immutable field changed"),
            Self::BusinessChanged => f.write_str("the cluster belongs to another business"),
            Self::Purged => f.write_str("purge: an operator asked for it"),
        }
    }
}
