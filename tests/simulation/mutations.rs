//! What is broken on purpose, each of which a run must notice.
//!
//! Rules of the core are broken in the core, by `plan::mutation`, a switch that only a build with
//! the feature `mutations` has: no source is patched and nothing is compiled twice. Rules of those
//! who use the core are broken where the simulation uses it, in `core` and `driver`.

use bcs_bkcmdb_synchronizer::plan::mutation::Mutation;

/// A wrong use of the core, or of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A claim that a pod is gone is believed without a point read.
    SkipPointRead,
    /// A point read that failed counts as "gone".
    FailedReadIsGone,
    /// A document that makes no sense counts as "gone".
    GarbledIsGone,
    /// Deletes go by namespace and name.
    DeleteByName,
    /// No full sync follows when a stream broke and another one opened.
    NoRelistAfterBreak,
    /// Events pass the gate while a full sync holds it.
    GateStaysOpen,
    /// What an earlier stream told still counts.
    KeepOldStreamsEvents,
    /// New modules are taken over, and no full sync places anew what is there.
    NoRelistAfterTopology,
    /// The modules of the first day count for ever.
    NeverReadTopology,
    /// A write without an answer counts as carried out.
    UnansweredIsDone,
    /// A write without an answer counts as not sent.
    UnansweredIsUnsent,
    /// A write the fence stopped counts as carried out.
    FencedIsDone,
    /// The CMDB is taken to be as it was before the permission to write was lost.
    IgnoreLostPermission,
    /// Records are deleted although only upserts are allowed.
    IgnoreUpsertOnly,
    /// A shard repeats what failed until it succeeds.
    RetryInShard,
    /// Held-back deletes are carried out at the settle sync.
    ApproveAtSettle,
    /// A mute watch is noticed and kept.
    KeepMuteWatch,
    /// Whatever a full sync finds, no watch is suspected.
    NeverSuspect,
    /// The pod that took the name of a dead one is not looked at.
    NoSuccessor,
    /// A point read that finds what a listing missed is no reason to list again.
    IgnoreMissedListing,
    /// The work on one pod is spread over all shards.
    AnyShard,
    /// An update sends every field.
    SendEveryField,
    /// Nobody asks who holds the name a create met.
    HolderUnasked,
    /// An incomplete listing of the CMDB counts as complete.
    HalfListingCounts,
}

impl Misuse {
    const ALL: [Self; 24] = [
        Self::SkipPointRead,
        Self::FailedReadIsGone,
        Self::GarbledIsGone,
        Self::DeleteByName,
        Self::NoRelistAfterBreak,
        Self::GateStaysOpen,
        Self::KeepOldStreamsEvents,
        Self::NoRelistAfterTopology,
        Self::NeverReadTopology,
        Self::UnansweredIsDone,
        Self::UnansweredIsUnsent,
        Self::FencedIsDone,
        Self::IgnoreLostPermission,
        Self::IgnoreUpsertOnly,
        Self::RetryInShard,
        Self::ApproveAtSettle,
        Self::KeepMuteWatch,
        Self::NeverSuspect,
        Self::NoSuccessor,
        Self::IgnoreMissedListing,
        Self::AnyShard,
        Self::SendEveryField,
        Self::HolderUnasked,
        Self::HalfListingCounts,
    ];
}

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Core(Mutation),
    Use(Misuse),
}

/// What takes more seeds than a run of the list has, or has not been noticed at all: tests of the core
/// aim at these.
const RARE: [Broken; 10] = [
    Broken::Core(Mutation::LastEventCounts),
    Broken::Core(Mutation::EvictUnread),
    Broken::Core(Mutation::AcceptLowerListing),
    Broken::Core(Mutation::HostOfTheDecision),
    Broken::Core(Mutation::TrustOverlappedWrite),
    Broken::Core(Mutation::RefuseOvertaken),
    Broken::Core(Mutation::KeepMovedRefusal),
    Broken::Core(Mutation::HoldBackSuperseded),
    Broken::Use(Misuse::GateStaysOpen),
    Broken::Use(Misuse::IgnoreMissedListing),
];

impl Broken {
    pub fn all() -> Vec<Self> {
        let core = Mutation::ALL.into_iter().map(Self::Core);
        core.chain(Misuse::ALL.into_iter().map(Self::Use)).collect()
    }

    /// Those every run of the list must notice.
    pub fn noticed() -> Vec<Self> {
        Self::all().into_iter().filter(|broken| !RARE.contains(broken)).collect()
    }

    pub fn name(self) -> String {
        match self {
            Self::Core(mutation) => format!("{mutation:?}"),
            Self::Use(misuse) => format!("{misuse:?}"),
        }
    }

    /// The broken rule of the core, if it is one.
    pub fn core(self) -> Option<Mutation> {
        match self {
            Self::Core(mutation) => Some(mutation),
            Self::Use(_) => None,
        }
    }

    /// Whether it is this misuse.
    pub fn is(self, misuse: Misuse) -> bool {
        self == Self::Use(misuse)
    }
}
