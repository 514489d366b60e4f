//! What the tests of the core share: a pod, and a desk with one ledger and one lane on it.

use super::*;
use crate::model::{DeletedPod, Field, ObservedPod, PodRecord, StorageKey};
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A scheduled pod `ns/web-0` with that status.
pub(super) fn pod(uuid: &str, version: u64, status: &str) -> ObservedPod {
    let mut record = PodRecord::default();
    record.uuid = uuid.into();
    record.namespace = "ns".into();
    record.name = "web-0".into();
    record.module_id = 41;
    record.set_text(Field::HostInnerIp, "10.0.0.1");
    record.set_text(Field::WorkloadName, "web");
    record.set_text(Field::Status, status);
    let (storage_id, shortened) = ("id".into(), Vec::new());
    ObservedPod { storage_id, version: Some(version), record, scheduled: true, shortened, key: None }
}

/// The same under a name, and an `_id`, of its own.
pub(super) fn named(name: &str, version: u64, status: &str) -> ObservedPod {
    let mut pod = pod(name, version, status);
    pod.record.name = name.into();
    pod.storage_id = format!("id-{name}");
    pod
}

/// The same, which bcs-storage keeps under that name.
pub(super) fn kept_as(mut pod: ObservedPod, name: &str) -> ObservedPod {
    pod.key = Some(Box::new(StorageKey { namespace: "kept".into(), name: name.into() }));
    pod
}

/// The same without a host.
pub(super) fn homeless(mut pod: ObservedPod) -> ObservedPod {
    pod.record.set_text(Field::HostInnerIp, "");
    pod.scheduled = false;
    pod
}

/// The same with that field.
pub(super) fn with(mut pod: ObservedPod, field: Field, text: &str) -> ObservedPod {
    pod.record.set_text(field, text);
    pod
}

/// What a delete event of the old generation tells.
pub(super) fn hint(storage_id: &str) -> DeletedPod {
    DeletedPod { storage_id: storage_id.into(), ..DeletedPod::default() }
}

/// What a delete event of the new generation tells.
pub(super) fn hint_of(pod: &ObservedPod) -> DeletedPod {
    DeletedPod {
        storage_id: pod.storage_id.clone(),
        namespace: pod.record.namespace.clone(),
        name: pod.record.name.clone(),
        uuid: pod.record.uuid.clone(),
    }
}

pub(super) fn ledger() -> Ledger {
    Ledger::new(Fingerprinter::new(1), 2)
}

/// A queued event with either part.
pub(super) fn queued(pod: Option<ObservedPod>, hint: Option<DeletedPod>) -> QueuedEvent {
    QueuedEvent { pod: pod.map(Box::new), hint, received: Duration::ZERO, doubtful: false }
}

/// One ledger and one lane; the test is storage and CMDB.
pub(super) struct Desk {
    pub ledger: Ledger,
    pub lane: Lane,
    pub now: Moment,
    /// A step that was come upon while time passed.
    pending: Option<Step>,
}

impl Desk {
    pub fn new() -> Self {
        Self::with(true)
    }

    pub fn with(deletes: bool) -> Self {
        let settings = LaneSettings { batch: 4, recheck_after: SECOND * 30, parked_records: 2, deletes };
        Self { ledger: ledger(), lane: Lane::new(settings, 3), now: SECOND, pending: None }
    }

    /// An observation: its orders go to the lane at once.
    pub fn sees(&mut self, pod: ObservedPod, source: Source) -> Verdict {
        let (verdict, orders) = self.gate(pod, source);
        self.takes(orders);
        verdict
    }

    /// An observation: its orders are still on their way.
    pub fn gate(&mut self, pod: ObservedPod, source: Source) -> (Verdict, Vec<Order>) {
        let decision = self.ledger.observe(pod, source, None, self.now);
        (decision.verdict, decision.orders)
    }

    pub fn takes(&mut self, orders: Vec<Order>) {
        orders.into_iter().for_each(|order| self.lane.add(order, &self.ledger));
    }

    pub fn event(&mut self, pod: Option<ObservedPod>, hint: Option<DeletedPod>) -> Verdict {
        let decision = self.ledger.event(queued(pod, hint), self.now);
        self.takes(decision.orders);
        decision.verdict
    }

    /// The next step in words.
    pub fn next(&mut self) -> String {
        match self.step() {
            Step::PointRead { uuid, name, .. } => format!("read {name} for {uuid}"),
            Step::ReadBack { uuid } => format!("read back {uuid}"),
            Step::FindHolder { uuid, .. } => format!("find holder for {uuid}"),
            Step::Evict { uuid, holder } => format!("evict {} for {uuid}", holder.uuid),
            Step::Create(uuids) => format!("create {}", uuids.join(" ")),
            Step::Update { uuid, fields } => {
                let names: Vec<&str> = fields.iter().map(Field::name).collect();
                format!("update {uuid}: {}", names.join(" "))
            }
            Step::Delete { uuid, .. } => format!("delete {uuid}"),
            Step::Hint(order) => {
                let uuid = order.uuid.clone();
                self.event(
                    None,
                    Some(DeletedPod {
                        namespace: order.namespace,
                        name: order.name,
                        uuid: order.uuid,
                        ..DeletedPod::default()
                    }),
                );
                format!("hint {uuid}")
            }
            Step::Wait(None) => "idle".to_owned(),
            Step::Wait(Some(at)) => format!("wait {:.0}s", at.saturating_sub(self.now).as_secs_f64()),
        }
    }

    /// The next step is this one.
    #[track_caller]
    pub fn expect(&mut self, step: &str) {
        assert_eq!(self.next(), step);
    }

    fn step(&mut self) -> Step {
        self.pending.take().unwrap_or_else(|| self.lane.next(self.now, &mut self.ledger))
    }

    /// Time passes until there is something to do.
    pub fn wait(&mut self) {
        self.pending = loop {
            match self.step() {
                Step::Wait(Some(at)) => self.now = self.now.max(at),
                step => break Some(step),
            }
        };
    }

    pub fn found(&mut self, uuid: &str, read: PointRead) -> Vec<Effect> {
        self.lane.point_read(uuid, read, self.now, &mut self.ledger)
    }

    pub fn found_pod(&mut self, uuid: &str, pod: ObservedPod) -> Vec<Effect> {
        self.found(uuid, PointRead::Pod(Box::new(pod)))
    }

    pub fn created(
        &mut self,
        uuids: &[&str],
        answer: Result<Vec<Result<(), Failure>>, Failure>,
    ) -> Vec<Effect> {
        let uuids: Vec<String> = uuids.iter().map(|uuid| (*uuid).to_owned()).collect();
        self.lane.created(&uuids, answer, self.now, &mut self.ledger)
    }

    pub fn create_answered(&mut self, uuid: &str, answer: Result<(), Failure>) -> Vec<Effect> {
        self.created(&[uuid], answer.map(|()| vec![Ok(())]))
    }

    pub fn updated(&mut self, uuid: &str, fields: &[Field], answer: Result<(), Failure>) -> Vec<Effect> {
        let fields = fields.iter().copied().collect();
        self.lane.updated(uuid, fields, answer, self.now, &mut self.ledger)
    }

    pub fn deleted(&mut self, uuid: &str, answer: Result<(), Failure>) -> Vec<Effect> {
        self.lane.deleted(uuid, Proof::Gone, answer, self.now, &mut self.ledger)
    }

    /// The CMDB holds this for that uuid.
    pub fn read_back(&mut self, uuid: &str, held: Option<&ObservedPod>) -> Vec<Effect> {
        let stored = held.map(|pod| Stored {
            namespace: pod.record.namespace.clone(),
            name: pod.record.name.clone(),
            fingerprint: self.ledger.prints().of(&pod.record),
        });
        self.lane.read_back(uuid, Ok(stored), self.now, &mut self.ledger)
    }

    pub fn holder_found(
        &mut self,
        uuid: &str,
        by_uuid: Option<Holder>,
        by_name: Option<Holder>,
    ) -> Vec<Effect> {
        self.lane.holder_found(uuid, Ok((by_uuid, by_name)), self.now, &mut self.ledger)
    }

    /// A holder of the name `ns/web-0`.
    pub fn holder(&self, uuid: &str, our_cluster: bool, our_biz: bool) -> Holder {
        let pod = pod(uuid, 1, "Held");
        Holder {
            uuid: uuid.into(),
            namespace: pod.record.namespace.clone(),
            name: pod.record.name.clone(),
            cluster: if our_cluster { "C" } else { "OTHER" }.into(),
            biz: if our_biz { 2 } else { 3 },
            our_cluster,
            our_biz,
            fingerprint: self.ledger.prints().of(&pod.record),
        }
    }

    /// The pod is recorded as it is.
    pub fn record(&mut self, pod: ObservedPod) {
        let uuid = pod.record.uuid.clone();
        assert_eq!(self.sees(pod, Source::Event), Verdict::Write);
        self.expect(&format!("create {uuid}"));
        self.create_answered(&uuid, Ok(()));
    }
}

pub(super) fn busy() -> Failure {
    Failure::Later { code: -1, message: "busy".into() }
}

pub(super) fn refused(code: i64, field: Option<Field>) -> Failure {
    Failure::Refused { code, message: "refused".into(), field }
}

pub(super) fn duplicate() -> Failure {
    Failure::Duplicate("bk_pod_name".into())
}

pub(super) fn ambiguous() -> Failure {
    Failure::Ambiguous("timeout".into())
}
