//! bcs-storage as a model: documents, the events they cause, listings and point reads, with every
//! liberty protocol.md 1 says it takes.

use super::checks::Violation;
use super::placement::{NO_MODULE, Placement};
use super::wire::Wire;
use bcs_bkcmdb_synchronizer::model::{DeletedPod, Field, Observation, ObservedPod, PodRecord, StorageKey};
use bcs_bkcmdb_synchronizer::plan::PointRead;
use std::collections::BTreeMap;

/// Annotations the CMDB takes only without their first entry.
pub const SPACED: &str = r#"{"a":"b c","d":"e"}"#;
/// What the names of some documents begin with and those of their pods do not.
const KEY: &str = "key-of-";
/// A workload name the CMDB refuses.
pub const POISON: &str = "poison";

/// No version is lower, until the storage is restored.
const LOWEST_VERSION: u64 = 1000;

/// How deletes and order look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Events in order; a delete tells the `_id` only.
    Old,
    /// Events in any order; a delete is two events, and the first may carry the living pod.
    New,
}

/// What changes when a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edits {
    Any,
    /// Mostly its host.
    Hosts,
    /// Mostly whether the CMDB takes it.
    Refused,
    /// Mostly what the CMDB does not promise to change.
    Immutable,
}

impl Edits {
    /// Makes one of the favoured changes; `false`: any other will do.
    fn make(self, record: &mut PodRecord, rng: &mut fastrand::Rng) -> bool {
        let toggle = |is: bool, one: &'static str, other: &'static str| if is { one } else { other };
        match (self, rng.u8(..8)) {
            (Self::Any, _) | (_, 7) => return false,
            (Self::Hosts, _) => {
                record.set_text(Field::HostInnerIp, ["", "10.0.0.1", "10.0.0.2"][rng.usize(..3)]);
            }
            (Self::Refused, 0..=4) => {
                let is = record.text(Field::WorkloadName) == POISON;
                record.set_text(Field::WorkloadName, toggle(is, "web", POISON));
            }
            (Self::Refused, _) => {
                record.module_id = if record.module_id == NO_MODULE { 41 } else { NO_MODULE };
            }
            (Self::Immutable, 0..=3) => {
                let is = record.text(Field::WorkloadName) == "web";
                record.set_text(Field::WorkloadName, toggle(is, "other", "web"));
            }
            (Self::Immutable, 4) => record.set_text(Field::HostInnerIp, ""),
            (Self::Immutable, _) => record.set_text(Field::HostInnerIp, "10.0.0.1"),
        }
        if rng.bool() {
            record.set_text(Field::Status, ["Pending", "Running", "Failed"][rng.usize(..3)]);
        }
        true
    }
}

/// A document.
#[derive(Clone, Debug)]
struct Document {
    /// Its module is the one its annotations ask for.
    pod: ObservedPod,
    /// The soft delete of the new generation.
    flagged: bool,
    /// It cannot be understood.
    garbled: bool,
}

/// A change the storage has not made an event of yet.
#[derive(Clone, Debug)]
enum Change {
    Touched(String),
    Removed { id: String },
    Flagged(String),
}

pub struct Storage {
    pub generation: Generation,
    /// What pods change most.
    pub edits: Edits,
    /// Pods live long: they change, and are hardly ever deleted.
    pub steady: bool,
    /// How many names pods have.
    pub names: u8,
    /// Some documents are kept under another name than their pod's.
    pub odd_keys: bool,
    /// Whether documents carry a version (Kubernetes) or none (Mesos).
    pub versions: bool,
    documents: BTreeMap<String, Document>,
    changes: Vec<Change>,
    /// Events that are not sent yet.
    events: Vec<Observation>,
    wire: Wire,
    subscribed: bool,
    /// A watch is accepted and hears nothing.
    pub mute: bool,
    numbers: u64,
    version: u64,
    /// Per uid every record it had, in order.
    pub history: BTreeMap<String, Vec<PodRecord>>,
    /// A restored etcd: versions no longer tell the order.
    pub restored: bool,
}

impl Storage {
    pub fn new(generation: Generation, versions: bool, names: u8) -> Self {
        Self {
            generation,
            edits: Edits::Any,
            steady: false,
            names,
            odd_keys: false,
            versions,
            documents: BTreeMap::new(),
            changes: Vec::new(),
            events: Vec::new(),
            wire: Wire::new(generation),
            subscribed: false,
            mute: false,
            numbers: 0,
            version: LOWEST_VERSION,
            history: BTreeMap::new(),
            restored: false,
        }
    }

    // ---- what happens in the cluster -------------------------------------------------------

    /// One random change, of this pod or of any.
    pub fn change(&mut self, name: Option<&str>, rng: &mut fastrand::Rng) {
        let any = format!("pod-{}", rng.u8(..self.names));
        let name = name.map_or(any, str::to_owned);
        match (self.has(&name), rng.u8(if self.steady { 2..60 } else { 0..10 })) {
            (false, _) => self.create(&name, rng),
            (true, 0..=1) => self.delete(&name),
            (true, 2) => self.create(&name, rng),
            (true, _) => self.edit(&name, rng),
        }
    }

    /// Most pods go at once.
    pub fn delete_many(&mut self, rng: &mut fastrand::Rng) {
        for name in self.names() {
            if self.has(&name) && rng.u8(..4) > 0 {
                self.delete(&name);
            }
        }
    }

    /// Every pod is followed by another one of its name.
    pub fn recreate(&mut self, rng: &mut fastrand::Rng) {
        for name in self.names() {
            if self.has(&name) && rng.bool() {
                self.delete(&name);
            }
            self.create(&name, rng);
        }
    }

    /// A pod of a name nobody had is there and gone again, each with an event.
    pub fn flash(&mut self, rng: &mut fastrand::Rng) {
        let name = format!("flash-{}", self.numbers);
        self.create(&name, rng);
        while self.has_changes() {
            self.make_event(rng, false);
        }
        self.delete(&name);
        while self.has_changes() {
            self.make_event(rng, false);
        }
    }

    fn has(&self, name: &str) -> bool {
        self.documents.get(name).is_some_and(|document| !document.flagged)
    }

    /// A pod of a new uid. Under a name that is taken it replaces the other: in its document, so that
    /// no event tells of the delete, or after a delete of that. In the new generation it takes over
    /// the document of a deleted one too.
    fn create(&mut self, name: &str, rng: &mut fastrand::Rng) {
        self.numbers += 1;
        let number = self.numbers;
        let taken = self.documents.get(name).map(|document| document.pod.storage_id.clone());
        let keep = self.generation == Generation::New || rng.bool();
        if let Some(id) = taken.clone().filter(|_| !keep) {
            self.note(Change::Removed { id });
        }
        let storage_id = taken.filter(|_| keep).unwrap_or_else(|| format!("id-{number}"));
        let mut record = PodRecord::default();
        record.uuid = format!("uid-{number}");
        record.namespace = "ns".into();
        record.name = name.into();
        record.module_id = 41;
        record.set_text(Field::WorkloadName, "web");
        record.set_text(Field::Annotations, "{}");
        let pod = ObservedPod {
            storage_id,
            version: None,
            record,
            scheduled: false,
            shortened: Vec::new(),
            key: self.key_of(name),
        };
        self.documents.insert(name.to_owned(), Document { pod, flagged: false, garbled: false });
        self.edit(name, rng);
    }

    /// Something about a pod changes.
    pub fn edit(&mut self, name: &str, rng: &mut fastrand::Rng) {
        let Some(document) = self.documents.get_mut(name) else { return };
        document.garbled = rng.u8(..60) == 0;
        let record = &mut document.pod.record;
        if self.edits != Edits::Any && self.edits.make(record, rng) {
            return self.wrote(name);
        }
        match rng.u8(..18) {
            0 => record.set_text(Field::Annotations, SPACED),
            1 => record.set_text(Field::Annotations, "{}"),
            2 => record.set_text(Field::WorkloadName, ["web", "other"][rng.usize(..2)]),
            3 if rng.u8(..3) == 0 => record.set_text(Field::WorkloadName, POISON),
            4..=5 => record.module_id = [41, 42][rng.usize(..2)],
            6 if rng.u8(..4) == 0 => record.module_id = NO_MODULE,
            6 if rng.u8(..4) == 0 => {
                let spaced = if rng.bool() { r#""b":"c d","# } else { "" };
                let long = format!(r#"{{"a":"{}",{spaced}"e":"f"}}"#, "x".repeat(2000));
                record.set_text(Field::Annotations, long);
            }
            7..=8 => record.set_text(Field::HostInnerIp, ""),
            9..=12 => record.set_text(Field::HostInnerIp, ["10.0.0.1", "10.0.0.2"][rng.usize(..2)]),
            // Few values, so that changes back are frequent.
            _ => record.set_text(Field::Status, ["Pending", "Running", "Failed"][rng.usize(..3)]),
        }
        self.wrote(name);
    }

    /// Gives a pod that status and nothing else.
    pub fn set_status(&mut self, name: &str, status: &str) {
        if let Some(document) = self.documents.get_mut(name) {
            document.pod.record.set_text(Field::Status, status);
            self.wrote(name);
        }
    }

    /// The document of a name was written: a further version, perhaps the same otherwise.
    pub fn wrote(&mut self, name: &str) {
        self.version += 1;
        let Some(document) = self.documents.get_mut(name) else { return };
        let pod = &mut document.pod;
        pod.version = self.versions.then_some(self.version);
        pod.scheduled = !pod.record.text(Field::HostInnerIp).is_empty();
        self.history.entry(pod.record.uuid.clone()).or_default().push(pod.record.clone());
        self.note(Change::Touched(name.to_owned()));
    }

    fn delete(&mut self, name: &str) {
        match self.generation {
            Generation::Old => {
                if let Some(document) = self.documents.remove(name) {
                    self.note(Change::Removed { id: document.pod.storage_id });
                }
            }
            Generation::New => {
                if let Some(document) = self.documents.get_mut(name) {
                    document.flagged = true;
                }
                self.note(Change::Flagged(name.to_owned()));
                self.note(Change::Touched(name.to_owned()));
            }
        }
    }

    /// An etcd of yesterday: resource versions start low again.
    pub fn restore(&mut self) {
        self.restored = true;
        self.version = 1;
        for document in self.documents.values_mut().filter(|_| self.versions) {
            self.version += 1;
            document.pod.version = Some(self.version);
        }
    }

    /// Whether this is what a restored storage holds.
    pub fn is_restored(pod: &ObservedPod) -> bool {
        pod.version.is_some_and(|version| version < LOWEST_VERSION)
    }

    /// What could not be understood is written anew.
    pub fn heal(&mut self) {
        let garbled = |name: &String| self.documents[name].garbled;
        let names: Vec<String> = self.names().into_iter().filter(garbled).collect();
        for name in names {
            if let Some(document) = self.documents.get_mut(&name) {
                document.garbled = false;
            }
            self.wrote(&name);
        }
    }

    fn note(&mut self, change: Change) {
        if self.subscribed && !self.mute {
            self.changes.push(change);
        }
    }

    // ---- the watch -------------------------------------------------------------------------

    /// The stream breaks. What is left of it still arrives, up to some byte; what was not sent yet,
    /// and what happens until the next subscription, is lost.
    pub fn break_stream(&mut self, rng: &mut fastrand::Rng) {
        self.changes.clear();
        while !self.events.is_empty() {
            let event = self.events.remove(self.pick(self.events.len(), rng));
            self.wire.send(event, rng);
        }
        self.wire.cut(rng);
        self.subscribed = false;
    }

    /// A new stream is open; nothing of the old one arrives any more.
    pub fn open_stream(&mut self) {
        self.events.clear();
        self.wire = Wire::new(self.generation);
    }

    pub fn subscribe(&mut self) {
        self.subscribed = true;
    }

    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.wire.is_empty()
    }

    /// Makes an event of a change, with the document of now, or loses it.
    pub fn make_event(&mut self, rng: &mut fastrand::Rng, lost: bool) {
        let change = self.changes.remove(self.pick(self.changes.len(), rng));
        let document = |name: &str| self.documents.get(name);
        let event = match &change {
            Change::Removed { id } => {
                Some(Observation::Deleted(DeletedPod { storage_id: id.clone(), ..DeletedPod::default() }))
            }
            Change::Flagged(name) => document(name).map(|document| deleted(&document.pod)),
            Change::Touched(name) => document(name).and_then(|document| match document.flagged {
                true => Some(deleted(&document.pod)),
                // One that makes no sense is passed over.
                false => (!document.garbled).then(|| Observation::Pod(Box::new(document.pod.clone()))),
            }),
        };
        self.events.extend(event.filter(|_| !lost));
    }

    /// The next event, if it arrives as a whole now; `halting`: perhaps not. With `again` it will come
    /// once more.
    pub fn deliver(
        &mut self,
        rng: &mut fastrand::Rng,
        again: bool,
        halting: bool,
    ) -> Result<Option<Observation>, Violation> {
        if self.wire.is_empty() {
            let at = self.pick(self.events.len(), rng);
            // Without versions nobody could tell that a repeated event is old.
            let again = again && self.versions;
            let event = if again { self.events[at].clone() } else { self.events.remove(at) };
            self.wire.send(event, rng);
        }
        self.wire.arrive(halting, rng);
        self.wire.read()
    }

    fn pick(&self, len: usize, rng: &mut fastrand::Rng) -> usize {
        match (self.generation, self.versions) {
            (Generation::New, true) => rng.usize(..len),
            _ => 0,
        }
    }

    // ---- reads -----------------------------------------------------------------------------

    /// Where a document is kept, if not under its pod's name.
    pub fn key_of(&self, name: &str) -> Option<Box<StorageKey>> {
        let odd = self.odd_keys && name.bytes().next_back().is_some_and(|last| last % 2 == 0);
        odd.then(|| Box::new(StorageKey { namespace: "ns".into(), name: format!("{KEY}{name}") }))
    }

    /// The name of the pod whose document is kept under that name, if there can be one.
    pub fn name_under<'a>(&self, key: &'a str) -> Option<&'a str> {
        let name = key.strip_prefix(KEY).unwrap_or(key);
        let kept_under = self.key_of(name).map_or_else(|| name.to_owned(), |key| key.name);
        (kept_under == key).then_some(name)
    }

    /// A point read of what is kept under that name.
    pub fn read(&self, key: &str, placement: &Placement) -> PointRead {
        let document = self.name_under(key).and_then(|name| self.documents.get(name));
        match document.filter(|document| !document.flagged) {
            None => PointRead::Gone,
            Some(document) if document.garbled => PointRead::Unusable("garbled".into()),
            Some(document) => PointRead::Pod(Box::new(placement.place(&document.pod))),
        }
    }

    /// A document as a page of a listing shows it; `None`: gone, or of no use.
    pub fn list(&self, name: &str, placement: &Placement) -> Option<ObservedPod> {
        let document = self.documents.get(name).filter(|document| !document.flagged && !document.garbled)?;
        Some(placement.place(&document.pod))
    }

    pub fn names(&self) -> Vec<String> {
        self.documents.keys().cloned().collect()
    }

    /// Documents of living pods as they are stored.
    pub fn living(&self) -> impl Iterator<Item = &ObservedPod> {
        self.documents.values().filter(|document| !document.flagged).map(|document| &document.pod)
    }

    pub fn is_alive(&self, uuid: &str) -> bool {
        self.living().any(|pod| pod.record.uuid == uuid)
    }

    /// How many versions of a pod there were.
    pub fn versions_of(&self, uuid: &str) -> usize {
        self.history.get(uuid).map_or(0, Vec::len)
    }
}

fn deleted(pod: &ObservedPod) -> Observation {
    Observation::Deleted(DeletedPod {
        storage_id: pod.storage_id.clone(),
        namespace: pod.record.namespace.clone(),
        name: pod.record.name.clone(),
        uuid: pod.record.uuid.clone(),
    })
}
