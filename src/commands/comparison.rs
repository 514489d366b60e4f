//! One pod of both sides, as they were read again: what a full sync would do about it.
//!
//! Pure. It asks the service's own ledger, so that a command and the service cannot disagree.

use crate::convert;
use crate::model::{Field, ObservedPod, PodRecord};
use crate::plan::{Fingerprinter, Ledger, Moment, OrderKind, Proof, Source};
use serde::Serialize;
use serde_json::Value;

/// What bcs-storage says about a pod.
pub(super) enum Seen {
    /// It is there.
    Pod(Box<ObservedPod>),
    /// It is not, and that is the proof.
    Gone(Proof),
}

/// What is to be done about one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Same,
    /// Nothing: the difference is what the CMDB would refuse.
    Repaired,
    /// The CMDB lacks it.
    Create,
    /// These fields differ.
    Update(Vec<FieldChange>),
    /// The CMDB holds it, and bcs-storage does not.
    Delete(Proof),
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FieldChange {
    /// Its name in the CMDB.
    pub field: &'static str,
    /// What the CMDB holds.
    pub cmdb: Value,
    /// What it should hold by bcs-storage.
    pub storage: Value,
}

/// Compares the record the CMDB holds of a pod, if any, with the pod.
pub(super) fn compare(stored: Option<&PodRecord>, seen: Seen) -> Verdict {
    let pod = match (seen, stored) {
        (Seen::Gone(proof), Some(_)) => return Verdict::Delete(proof),
        (Seen::Gone(_), None) => return Verdict::Same,
        (Seen::Pod(pod), _) => *pod,
    };
    let prints = Fingerprinter::new(0);
    let mut ledger = Ledger::new(prints, 0);
    ledger.begin_full_sync();
    if let Some(record) = stored {
        ledger.stored(record);
    }
    ledger.end_stored();
    let orders = ledger.observe(pod, Source::Listing, None, Moment::ZERO).orders;
    let desired = orders.into_iter().find_map(|order| match order.kind {
        OrderKind::Write(desired) => Some(desired),
        OrderKind::Verify { .. } => None,
    });
    match (desired, stored) {
        (None, _) => Verdict::Same,
        (Some(_), None) => Verdict::Create,
        (Some(desired), Some(stored)) => {
            let fields = prints.of(stored).to_send(&desired.fingerprint);
            let differs = |field: &Field| {
                !convert::accounts_for(*field, desired.record.text(*field), stored.text(*field))
            };
            let change = |field: Field| FieldChange {
                field: field.name(),
                cmdb: stored.json(field),
                storage: desired.record.json(field),
            };
            let changes: Vec<FieldChange> = fields.iter().filter(differs).map(change).collect();
            if changes.is_empty() { Verdict::Repaired } else { Verdict::Update(changes) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: &str, annotations: &str) -> PodRecord {
        let mut record = PodRecord::default();
        record.uuid = "u".to_owned();
        record.namespace = "ns".to_owned();
        record.name = "web-0".to_owned();
        record.module_id = 41;
        record.set_text(Field::HostInnerIp, "10.0.0.1");
        record.set_text(Field::Status, status);
        record.set_text(Field::Annotations, annotations);
        record
    }

    fn pod(record: PodRecord) -> Seen {
        let scheduled = !record.text(Field::HostInnerIp).is_empty();
        let (storage_id, version, shortened) = ("id".to_owned(), Some(1), Vec::new());
        Seen::Pod(Box::new(ObservedPod { storage_id, version, record, scheduled, shortened, key: None }))
    }

    #[test]
    fn what_a_full_sync_would_do_is_what_is_said() {
        let running = || record("Running", "{}");
        assert_eq!(compare(None, pod(running())), Verdict::Create);
        assert_eq!(compare(Some(&running()), pod(running())), Verdict::Same);
        let change = FieldChange {
            field: "bk_pod_status",
            cmdb: Value::from("Pending"),
            storage: Value::from("Running"),
        };
        assert_eq!(compare(Some(&record("Pending", "{}")), pod(running())), Verdict::Update(vec![change]));
        assert_eq!(compare(Some(&running()), Seen::Gone(Proof::Gone)), Verdict::Delete(Proof::Gone));
        assert_eq!(compare(None, Seen::Gone(Proof::Gone)), Verdict::Same);
    }

    #[test]
    fn what_cannot_be_recorded_or_not_otherwise_is_no_difference() {
        let wanted = record("Running", r#"{"a b":"c","d":"e"}"#);
        assert_eq!(compare(Some(&record("Running", r#"{"d":"e"}"#)), pod(wanted.clone())), Verdict::Repaired);
        let mut unplaced = wanted.clone();
        unplaced.module_id = 0;
        assert_eq!(compare(None, pod(unplaced)), Verdict::Same);
        let mut waiting = record("Running", "{}");
        waiting.set_text(Field::HostInnerIp, "");
        assert_eq!(compare(None, pod(waiting.clone())), Verdict::Same);
        assert_eq!(compare(Some(&record("Running", "{}")), pod(waiting)), Verdict::Same, "its host stays");
    }
}
