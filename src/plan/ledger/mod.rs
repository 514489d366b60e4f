//! The ledger of one cluster: per pod what the storage last said, what was last handed to a shard
//! (`desired`) and what the CMDB last acknowledged (`acked`).
//!
//! Everything that is known about a pod passes through [`Ledger::observe`], whatever its source, and
//! comes out as an order for a shard or as nothing. Suppression compares with `desired`, never with
//! `acked`: a change back to what the CMDB holds must overtake the change that is still on its way.
//!
//! One point decides whenever two things that were seen contradict each other (two uids under one
//! name, a lower version in a listing, life after a delete): the point read. The orders for that are
//! [`OrderKind::Verify`].

mod entry;
mod full_sync;
mod index;
mod learn;
mod observe;
mod report;
#[cfg(test)]
mod tests;

pub use entry::{Acked, Failing, Refusal};
pub use full_sync::SeenRecord;
pub use report::{Counts, Standing, Trouble};

use super::{Fingerprint, Fingerprinter, Moment};

use crate::model::{ObservedPod, PodRecord, StorageKey};
use entry::Entry;
use index::Index;

/// Deleted uids remembered at most; 20,000 × 250 bytes are 5 MiB.
const TOMBSTONES: usize = 20_000;

/// Where an observation comes from; it decides what a lower version means (design.md 3, rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The watch: a lower version is stale.
    Event,
    /// A full listing: a lower version is read again.
    Listing,
    /// A point read: what it says counts.
    Read,
}

/// A record the CMDB should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The record, repaired where the CMDB refused fields of it before.
    pub record: PodRecord,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When the event that asked for it arrived; `None` from a listing or a point read.
    pub received: Option<Moment>,
    /// Its document has no host any more: the one the CMDB holds is kept.
    pub keeps_host: bool,
    /// The ledger's epoch when this was decided.
    pub epoch: u64,
}

/// Work for the shard of a uuid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which pod.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What to do.
    pub kind: OrderKind,
}

/// What to do about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Make the CMDB hold this.
    Write(Box<Desired>),
    /// Read the name in the storage; the answer decides.
    Verify {
        /// A complete listing lacked it: finding it shows that listings miss pods.
        missing: bool,
    },
}

/// The pod a point read found where another one was looked for: who it is, and where to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Its uuid.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `_id` of its document.
    pub storage_id: String,
    /// Where bcs-storage keeps it, if not under these names.
    pub key: Option<Box<StorageKey>>,
}

impl From<ObservedPod> for Heir {
    fn from(pod: ObservedPod) -> Self {
        let ObservedPod { storage_id, record: PodRecord { uuid, namespace, name, .. }, key, .. } = pod;
        Self { uuid, namespace, name, storage_id, key }
    }
}

/// What an observation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The CMDB must change.
    Write,
    /// A point read decides.
    Verify,
    /// Nothing the CMDB records changed.
    Suppressed,
    /// Older than what is known.
    Stale,
    /// No host yet.
    Waiting,
    /// The business has no module for it.
    Unplaced,
    /// Refused as it is, and not due for another attempt.
    Refused,
    /// A delete of a pod nobody knows.
    UnknownDelete,
}

/// A verdict and the orders that follow.
#[derive(Debug)]
pub struct Decision {
    /// In one word.
    pub verdict: Verdict,
    /// For the shards.
    pub orders: Vec<Order>,
    /// The storage holds something for the CMDB that was not known before.
    pub news: bool,
}

impl Decision {
    fn of(verdict: Verdict) -> Self {
        Self { verdict, orders: Vec::new(), news: false }
    }
}

/// What a complete full sync did not find in the storage.
#[derive(Debug, Default)]
pub struct Missing {
    /// Recorded in the CMDB: each is a claim of a delete, subject to the guard.
    pub recorded: Vec<Order>,
    /// Not recorded: verified, so that a pod a page missed is not forgotten.
    pub unrecorded: Vec<Order>,
    /// Proven gone before, and still recorded: not subject to the guard.
    pub doomed: Vec<Order>,
    /// Recorded under a name that the listing shows with another uid: not subject to the guard.
    pub superseded: Vec<Order>,
    /// Records the CMDB holds for this cluster.
    pub total: usize,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    prints: Fingerprinter,
    index: Index,
    generation: u32,
    tombstones: usize,
    epoch: u64,
}

impl Ledger {
    /// An empty ledger; `seed` is that of the fingerprints.
    pub fn new(prints: Fingerprinter, seed: u64) -> Self {
        Self { prints, index: Index::new(seed), generation: 1, tombstones: 0, epoch: 0 }
    }

    /// How the fence counts the interruptions of the permission to write, as far as is known here. What was
    /// decided in another epoch is written no more: somebody else may have written since.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The fence counts on. Whether that is news: then nothing is written before a full sync, or a point
    /// read, decided it anew.
    pub fn interrupted(&mut self, epoch: u64) -> bool {
        let news = epoch > self.epoch;
        self.epoch = self.epoch.max(epoch);
        news
    }

    fn insert(&mut self, entry: Entry) -> u32 {
        let slot = self.index.insert(entry);
        self.inherit(slot);
        slot
    }

    /// Takes over the name and the `_id` of dead pods.
    fn inherit(&mut self, slot: u32) {
        let Some(entry) = self.index.get(slot) else { return };
        let dead = |holder: &u32| self.index.get(*holder).is_some_and(Entry::is_dead);
        let name = self.index.by_name(entry.namespace(), entry.name()).filter(dead);
        let id = self.index.by_id(entry.storage_id()).filter(dead);
        if name.is_some() {
            self.index.own_name(slot);
        }
        if id.is_some() {
            self.index.own_id(slot);
        }
    }

    /// Orders a point read of an entry.
    fn verify(&self, slot: u32, missing: bool) -> Decision {
        let orders = self.index.get(slot).map(|entry| verify_order(entry, missing)).into_iter().collect();
        Decision { verdict: Verdict::Verify, orders, news: false }
    }

    fn mark_listed(&mut self, slot: u32, source: Source) {
        let generation = self.generation;
        if let (Source::Listing, Some(entry)) = (source, self.index.get_mut(slot)) {
            entry.listed = generation;
        }
    }

    fn entry_mut(&mut self, uuid: &str) -> Option<&mut Entry> {
        let slot = self.index.by_uuid(uuid)?;
        self.index.get_mut(slot)
    }
}

fn verify_order(entry: &Entry, missing: bool) -> Order {
    Order {
        uuid: entry.uuid().to_owned(),
        namespace: entry.namespace().to_owned(),
        name: entry.name().to_owned(),
        kind: OrderKind::Verify { missing },
    }
}

impl Order {
    /// Which of so many shards does it.
    pub fn shard(&self, shards: usize) -> usize {
        super::fingerprint::shard_of(&self.uuid, shards)
    }
}
