//! What is broken on purpose, each of which a run must notice.
//!
//! Rules of the core are broken in the core, by `plan::mutation`, a switch that only a build with
//! the feature `mutations` has: no source is patched and nothing is compiled twice. Rules of those
//! who use the core are broken where the simulation uses it, in `core` and `driver`.

use super::theme::Theme;
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
    /// The fence lets a write pass that was decided before an interruption.
    PermitOfAnyEpoch,
    /// A full sync goes on although the permission to write was interrupted since it began.
    KeepInterruptedSync,
}

impl Misuse {
    const ALL: [Self; 26] = [
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
        Self::PermitOfAnyEpoch,
        Self::KeepInterruptedSync,
    ];
}

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Core(Mutation),
    Use(Misuse),
}

impl Broken {
    pub fn all() -> Vec<Self> {
        let core = Mutation::ALL.into_iter().map(Self::Core);
        core.chain(Misuse::ALL.into_iter().map(Self::Use)).collect()
    }

    /// The theme whose seeds notice it best, where too few of all seeds would.
    pub fn theme(self) -> Option<Theme> {
        match self {
            Self::Core(mutation) => match mutation {
                Mutation::HostOfTheDecision
                | Mutation::TrustOvertakenRead
                | Mutation::BelieveEventUnderDeadName => Some(Theme::Hosts),
                Mutation::RefuseOvertaken | Mutation::KeepMovedRefusal => Some(Theme::Untaken),
                Mutation::LastEventCounts => Some(Theme::Repeats),
                Mutation::EvictUnread | Mutation::HoldBackSuperseded => Some(Theme::Heirs),
                Mutation::TrustOverlappedWrite
                | Mutation::TrustInterruptedRead
                | Mutation::TrustReadOverStale => Some(Theme::TakeOver),
                Mutation::SuppressAgainstAcked => Some(Theme::Overlap),
                Mutation::LeaveMissedUnread => Some(Theme::Kept),
                Mutation::ApproveUnseen => Some(Theme::Gaps),
                Mutation::BelieveDoubtful | Mutation::NoTombstones => Some(Theme::Drops),
                _ => None,
            },
            Self::Use(misuse) => match misuse {
                Misuse::GateStaysOpen => Some(Theme::Overlap),
                Misuse::IgnoreMissedListing => Some(Theme::Gaps),
                Misuse::NoRelistAfterTopology => Some(Theme::TakeOver),
                Misuse::IgnoreLostPermission => Some(Theme::Heirs),
                _ => None,
            },
        }
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
