//! What one uuid still needs.

use super::{Holder, Step};
use crate::model::Field;
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Acked, Desired, FieldSet, Fingerprint, Heir, Ledger, Moment, Order, OrderKind, Proof};

/// The open work on one uuid, folded: however many orders arrived, this is what is left to do.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub namespace: String,
    pub name: String,
    /// The record the CMDB should hold, if a write is open.
    pub wanted: Option<Box<Desired>>,
    /// The pod is proven gone.
    pub doom: Option<Proof>,
    /// The pod that was found in its place; looked at once this one's record is deleted, so that its
    /// create meets no duplicate.
    pub successor: Option<Box<Heir>>,
    /// The name must be read in the storage first; `true`: because a listing lacked it.
    pub verify: Option<bool>,
    /// The CMDB's record must be read first.
    pub read_back: bool,
    /// A create met a duplicate: who holds the uuid or the name?
    pub find_holder: bool,
    /// This record must go first.
    pub evict: Option<Box<Holder>>,
    /// An update to this record (its fingerprint) carried a field the CMDB does not promise to
    /// change.
    pub immutable_sent: Option<u64>,
    /// The CMDB did not change it: delete, and create this record.
    pub replace: Option<u64>,
    /// The module id that was refused before the topology was read again.
    pub refused_module: Option<i64>,
    /// A write was not answered: look again at that time, for it may still land.
    pub recheck_at: Option<Moment>,
    /// Creates in a row that met a duplicate.
    pub duplicates: u32,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Waits for this moment; `None`: in the ready queue, or being worked on.
    pub parked_until: Option<Moment>,
    /// Its record counts among those of parked jobs.
    pub parked_record: bool,
}

impl Job {
    pub fn new(order: &Order) -> Self {
        Self { namespace: order.namespace.clone(), name: order.name.clone(), ..Self::default() }
    }

    /// Folds a further order in, of which the ledger still wants the result. Returns whether it
    /// brings something to do at once.
    pub fn fold(&mut self, kind: OrderKind) -> bool {
        match kind {
            OrderKind::Write(desired) => {
                let same = self.wanted.as_ref().is_some_and(|wanted| {
                    (wanted.fingerprint.total, wanted.keeps_host)
                        == (desired.fingerprint.total, desired.keeps_host)
                });
                let received = self.wanted.as_ref().and_then(|wanted| wanted.received);
                let mut desired = desired;
                desired.received = received.or(desired.received);
                self.wanted = Some(desired);
                if !same {
                    self.attempts = 0;
                    self.duplicates = 0;
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

    fn point_read(&self, uuid: String, ledger: &Ledger) -> Step {
        let (namespace, name) = ledger.key_of(&uuid).unwrap_or((&self.namespace, &self.name));
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Step::PointRead { uuid, namespace, name }
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
        let acked = ledger.acked(&uuid);
        if let Some(proof) = &self.doom {
            let open = acked != Acked::Absent && deletes;
            return open.then(|| Step::Delete { uuid, proof: proof.clone() });
        }
        let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.is_due(&uuid, ledger)) else {
            // Overtaken: by an order that is on its way, by the end of the pod, or by an interruption, which
            // such an order does not survive. So what an answer left in doubt is looked at here.
            self.give_up_write();
            return (acked == Acked::Unknown).then_some(Step::ReadBack { uuid });
        };
        if self.find_holder {
            let (namespace, name) = (self.namespace.clone(), self.name.clone());
            return Some(Step::FindHolder { uuid, namespace, name });
        }
        if let Some(holder) = &self.evict {
            return Some(Step::Evict { uuid, holder: holder.clone() });
        }
        match acked {
            Acked::Unknown => Some(Step::ReadBack { uuid }),
            Acked::Absent if wanted.keeps_host => {
                // Only the CMDB knew its host: without the record it must wait for one again.
                Some(self.point_read(uuid, ledger))
            }
            Acked::Absent => Some(Step::Create(vec![uuid])),
            Acked::Present(held) => match wanted.to_send(&held) {
                FieldSet::EMPTY if held.total != wanted.fingerprint.total => {
                    // All but the host it keeps: how the whole looks depends on the record.
                    Some(self.point_read(uuid, ledger))
                }
                // Somebody else made the record as it is wanted: seeing that lifts the refusal.
                FieldSet::EMPTY if ledger.is_refused(&uuid) => Some(Step::ReadBack { uuid }),
                FieldSet::EMPTY => {
                    self.give_up_write();
                    None
                }
                _ if self.replace == Some(wanted.fingerprint.total) => {
                    Some(Step::Delete { uuid, proof: Proof::Replaced })
                }
                fields => Some(Step::Update { uuid, fields }),
            },
        }
    }

    /// Nothing is to be written, and nothing has to make way for it.
    pub fn give_up_write(&mut self) {
        self.wanted = None;
        self.find_holder = false;
        self.evict = None;
        self.replace = None;
    }
}

impl Desired {
    /// Whether the ledger still wants this, and decided so since the permission to write was interrupted
    /// last.
    pub(super) fn is_due(&self, uuid: &str, ledger: &Ledger) -> bool {
        let decided = self.epoch == ledger.epoch() || active(Mutation::WriteInterrupted);
        decided && ledger.desired(uuid) == Some(self.fingerprint.total)
    }

    /// Whether the record is as wanted once these fields of it are written, by what is known of it by
    /// then: a listing may have shown that somebody else changed others meanwhile, and unless the write is
    /// the `last` that is known, these too.
    pub(super) fn is_whole_with(&self, sent: FieldSet, held: &Fingerprint, last: bool) -> bool {
        let left = self.to_send(held);
        left.is_empty() || (last && left.iter().all(|field| sent.contains(field)))
    }

    /// What an update of a record like `held` must send.
    pub(super) fn to_send(&self, held: &Fingerprint) -> FieldSet {
        if !self.keeps_host {
            return held.to_send(&self.fingerprint);
        }
        let mut fields = held.difference(&self.fingerprint);
        fields.remove(Field::HostInnerIp);
        fields
    }
}
