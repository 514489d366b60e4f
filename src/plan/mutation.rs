//! Rules of the core broken on purpose, so that the simulation (`tests/simulation`) can show that it
//! would notice.
//!
//! With the feature `mutations` a thread may break one rule for itself. Without it, as in every build
//! that is shipped, `active` is the constant `false`, and what hangs on it is not in the program.

/// One rule, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// An observation is suppressed if the CMDB holds it, whatever is on its way there.
    SuppressAgainstAcked,
    /// A point read counts although something else was learnt since it began.
    TrustOvertakenRead,
    /// An unanswered write is read back at once and never again.
    NoRecheck,
    /// An event under the name of a dead pod is taken for a new pod.
    BelieveEventUnderDeadName,
    /// Resource versions tell nothing.
    IgnoreVersions,
    /// A second uid under a living pod's name is passed over.
    NoSupersede,
    /// Repairs are not remembered.
    ForgetRepairs,
    /// A create-many that fails as a whole is repeated as a whole.
    NoSplit,
    /// A refusal is not kept.
    RefuseSilently,
    /// A refused record is tried again at every sight of it.
    RetryRefusedAtOnce,
    /// A refused record is left alone although its source changed.
    KeepRefusing,
    /// A living version queued after a delete makes that forgotten.
    LastEventCounts,
    /// Deleted pods are forgotten at once.
    NoTombstones,
    /// The delete guard lets everything pass.
    GuardOff,
    /// An approval covers what nobody saw held back.
    ApproveUnseen,
    /// Held-back deletes are carried out by whatever full sync comes next.
    ConfirmByAnySync,
    /// A full sync that failed is not repeated.
    NoRetryOfFullSync,
    /// No settle sync follows the first one of a stream.
    NoSettleSync,
    /// Writes of a former owner that land late are not looked for.
    NoSyncAfterTakeover,
    /// Dropped events are not followed by a full sync.
    NoSyncAfterOverflow,
    /// A record whose immutable field the CMDB did not change is not replaced.
    NeverReplace,
    /// An update of an immutable field is believed.
    BelieveImmutableUpdate,
    /// A record that vanished is created anew without a look at the storage.
    CreateUnread,
    /// Parked records beyond the bound are let go for good.
    LoseParked,
    /// A lower version in a listing is accepted without a point read.
    AcceptLowerListing,
    /// A lower version is stale wherever it comes from.
    NeverAcceptLower,
    /// One record that fails pauses its whole lane.
    OneFailurePausesAll,
    /// What a listing of the CMDB said overwrites what was written meanwhile.
    ListingOverwritesAcked,
    /// Shortened fields are not shown.
    HideShortened,
    /// A record that holds the name is deleted without reading the name.
    EvictUnread,
    /// A pod that lost its host is taken for one that never had any.
    ForgetHost,
    /// A kept host is taken to be the one that was held when the write was decided.
    HostOfTheDecision,
    /// What a listing showed while a record was written is forgotten.
    TrustOverlappedWrite,
    /// A refusal counts although a newer version is wanted by then.
    RefuseOvertaken,
    /// A refused record is left as it is whoever changes it.
    KeepMovedRefusal,
    /// A record whose name the listing shows with another uid counts as missing.
    HoldBackSuperseded,
    /// An event that may be older than the end of its pod is believed.
    BelieveDoubtful,
    /// Where nothing may be deleted, a record the listing lacks is not read.
    LeaveMissedUnread,
    /// A point read asks by the names of the record, wherever the storage keeps the document.
    ReadByName,
    /// What was decided before the permission to write was interrupted is written all the same.
    WriteInterrupted,
    /// A point read counts although the permission to write was interrupted since it began.
    TrustInterruptedRead,
    /// A point read counts although an event that seemed older passed since it began.
    TrustReadOverStale,
}

impl Mutation {
    /// All of them.
    #[cfg(feature = "mutations")]
    pub const ALL: [Self; 42] = [
        Self::SuppressAgainstAcked,
        Self::TrustOvertakenRead,
        Self::NoRecheck,
        Self::BelieveEventUnderDeadName,
        Self::IgnoreVersions,
        Self::NoSupersede,
        Self::ForgetRepairs,
        Self::NoSplit,
        Self::RefuseSilently,
        Self::RetryRefusedAtOnce,
        Self::KeepRefusing,
        Self::LastEventCounts,
        Self::NoTombstones,
        Self::GuardOff,
        Self::ApproveUnseen,
        Self::ConfirmByAnySync,
        Self::NoRetryOfFullSync,
        Self::NoSettleSync,
        Self::NoSyncAfterTakeover,
        Self::NoSyncAfterOverflow,
        Self::NeverReplace,
        Self::BelieveImmutableUpdate,
        Self::CreateUnread,
        Self::LoseParked,
        Self::AcceptLowerListing,
        Self::NeverAcceptLower,
        Self::OneFailurePausesAll,
        Self::ListingOverwritesAcked,
        Self::HideShortened,
        Self::EvictUnread,
        Self::ForgetHost,
        Self::HostOfTheDecision,
        Self::TrustOverlappedWrite,
        Self::RefuseOvertaken,
        Self::KeepMovedRefusal,
        Self::HoldBackSuperseded,
        Self::BelieveDoubtful,
        Self::LeaveMissedUnread,
        Self::ReadByName,
        Self::WriteInterrupted,
        Self::TrustInterruptedRead,
        Self::TrustReadOverStale,
    ];
}

/// Whether this thread breaks that rule.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(super) const fn active(_: Mutation) -> bool {
    false
}

/// Whether this thread breaks that rule.
#[cfg(feature = "mutations")]
pub(super) fn active(mutation: Mutation) -> bool {
    BROKEN.get() == Some(mutation)
}

#[cfg(feature = "mutations")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Breaks this rule and no other in this thread.
#[cfg(feature = "mutations")]
pub fn switch(mutation: Option<Mutation>) {
    BROKEN.set(mutation);
}
