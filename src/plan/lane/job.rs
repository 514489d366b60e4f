//! What one uuid still needs.

use super::{Holder, PointRead, Step};
use crate::model::ObservedPod;
use crate::plan::{Acked, Desired, FieldSet, Ledger, Moment, Order, OrderKind, Proof};

/// The open work on one uuid, folded: however many orders arrived, this is what is left to do.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub namespace: String,
    pub name: String,
    /// The record the CMDB should hold, if a write is open.
    pub wanted: Option<Box<Desired>>,
    /// The pod is proven gone.
    pub doom: Option<Proof>,
    /// The pod that has its name now; told once this one's record is deleted, so that its create
    /// meets no duplicate.
    pub successor: Option<Box<ObservedPod>>,
    /// What the ledger knew when the storage was asked: version and what was wanted.
    asked_at: (Option<u64>, Option<u64>),
    /// The name must be read in the storage first; `true`: because a listing lacked it.
    pub verify: Option<bool>,
    /// The CMDB's record must be read first.
    pub read_back: bool,
    /// A create met a duplicate: who holds the uuid or the name?
    pub find_holder: bool,
    /// This record must go first.
    pub evict: Option<Box<Holder>>,
    /// An update carried a field the CMDB does not promise to change.
    pub immutable_sent: bool,
    /// The CMDB did not change it: delete and create.
    pub replace: bool,
    /// The module id that was refused before the topology was read again.
    pub refused_module: Option<i64>,
    /// A write was not answered: look again at that time, for it may still land.
    pub recheck_at: Option<Moment>,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Waits for this moment; `None`: in the ready queue, or being worked on.
    pub parked_until: Option<Moment>,
}

impl Job {
    pub fn new(order: &Order) -> Self {
        Self { namespace: order.namespace.clone(), name: order.name.clone(), ..Self::default() }
    }

    /// Folds a further order in. Returns whether it brings something to do at once.
    pub fn fold(&mut self, kind: OrderKind) -> bool {
        match kind {
            OrderKind::Write(desired) => {
                let same = self
                    .wanted
                    .as_ref()
                    .is_some_and(|wanted| wanted.fingerprint.total == desired.fingerprint.total);
                let received = self.wanted.as_ref().and_then(|wanted| wanted.received);
                let mut desired = desired;
                desired.received = received.or(desired.received);
                self.wanted = Some(desired);
                if !same {
                    self.attempts = 0;
                    self.refused_module = None;
                }
                !same
            }
            OrderKind::Verify { missing } => {
                self.verify = Some(self.verify.unwrap_or(missing) && missing);
                true
            }
        }
    }

    /// Whether it keeps a record or a document in memory.
    pub fn holds_record(&self) -> bool {
        self.wanted.is_some() || self.successor.is_some()
    }

    /// Whether the ledger learnt something while the storage was asked that the answer does not
    /// surpass.
    pub fn outdated(&self, uuid: &str, read: &PointRead, ledger: &Ledger) -> bool {
        let known = ledger.version_and_desired(uuid);
        let surpasses = match read {
            PointRead::Pod(pod) => pod.record.uuid == uuid && pod.version > known.0 && known.0.is_some(),
            _ => false,
        };
        known != self.asked_at && !surpasses
    }

    fn point_read(&mut self, uuid: String, ledger: &Ledger) -> Step {
        self.asked_at = ledger.version_and_desired(&uuid);
        Step::PointRead { uuid, namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The next request, as far as this uuid goes. `None`: nothing is left to do now.
    pub fn step(&mut self, uuid: &str, ledger: &Ledger, deletes: bool) -> Option<Step> {
        let uuid = uuid.to_owned();
        if self.verify.is_some() {
            return Some(self.point_read(uuid, ledger));
        }
        if self.read_back {
            return Some(Step::ReadBack { uuid });
        }
        if self.find_holder {
            let (namespace, name) = (self.namespace.clone(), self.name.clone());
            return Some(Step::FindHolder { uuid, namespace, name });
        }
        let acked = ledger.acked(&uuid);
        if let Some(proof) = &self.doom {
            let open = acked != Acked::Absent && deletes;
            return open.then(|| Step::Delete { uuid, proof: proof.clone() });
        }
        if let Some(holder) = &self.evict {
            return Some(Step::Evict { uuid, holder: holder.clone() });
        }
        let wanted = self.wanted.as_ref()?;
        if ledger.desired(&uuid) != Some(wanted.fingerprint.total) {
            // Overtaken: by an order that is on its way, or by the end of the pod.
            self.wanted = None;
            return None;
        }
        match acked {
            Acked::Unknown => Some(Step::ReadBack { uuid }),
            Acked::Absent if wanted.keeps_host => {
                // Only the CMDB knew its host: without the record it must wait for one again.
                Some(self.point_read(uuid, ledger))
            }
            Acked::Absent => Some(Step::Create(vec![uuid])),
            Acked::Present(held) => match held.to_send(&wanted.fingerprint) {
                FieldSet::EMPTY => {
                    self.wanted = None;
                    None
                }
                _ if self.replace => Some(Step::Delete { uuid, proof: Proof::Replaced }),
                fields => Some(Step::Update { uuid, fields }),
            },
        }
    }
}
