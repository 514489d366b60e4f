//! What happened, in words.

use super::cmdb::Write;
use bcs_bkcmdb_synchronizer::model::{Field, Observation, PodRecord};

/// A record in a line.
fn record(record: &PodRecord) -> String {
    let texts = [Field::HostInnerIp, Field::WorkloadName, Field::Annotations, Field::Status];
    let texts = texts.map(|field| record.text(field).chars().take(20).collect::<String>());
    format!("{} {} in {} {}", record.uuid, record.name, record.module_id, texts.join("|"))
}

/// An event in a line.
pub fn event(event: &Observation) -> String {
    match event {
        Observation::Pod(pod) => {
            format!("event: {} version {:?} {}", pod.storage_id, pod.version, record(&pod.record))
        }
        Observation::Deleted(hint) => {
            format!("event: {} {} {} deleted", hint.storage_id, hint.uuid, hint.name)
        }
    }
}

/// A write in a line.
pub fn write(write: &Write) -> String {
    match write {
        Write::Create(records) => format!("create {:?}", records.iter().map(record).collect::<Vec<_>>()),
        Write::Update(wanted, fields) => {
            let names: Vec<_> = fields.iter().map(Field::name).collect();
            format!("update {} to {}", names.join(" "), record(wanted))
        }
        Write::Delete(uuid, biz) => format!("delete {uuid} in business {biz}"),
        Write::DeleteName(name) => format!("delete whatever is called {name}"),
    }
}
