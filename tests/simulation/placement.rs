//! What conversion does to a document on its way in: its module is looked up, its texts shortened.

use super::storage::POISON;
use bcs_bkcmdb_synchronizer::convert::repair::{LONG_TEXT_LIMIT, Repairs, shorten};
use bcs_bkcmdb_synchronizer::model::{Field, ObservedPod, PodRecord};
use bcs_bkcmdb_synchronizer::plan::FieldSet;

/// A module the topology shows and the CMDB does not take.
pub const NO_MODULE: i64 = 13;
/// Where pods go whose module is not there.
const DEFAULT: i64 = 41;

/// The modules of the business as somebody knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub modules: Vec<i64>,
    /// Whether texts are shortened before anybody tries them.
    pub text_limit: bool,
}

impl Placement {
    /// The pod as it is to be recorded.
    pub fn place(&self, pod: &ObservedPod) -> ObservedPod {
        let mut pod = pod.clone();
        let asked = pod.record.module_id;
        let there = |module: &i64| *module == NO_MODULE || self.modules.contains(module);
        pod.record.module_id = [asked, DEFAULT].into_iter().find(there).unwrap_or(0);
        let text = pod.record.text(Field::Annotations);
        if self.text_limit && text.len() > LONG_TEXT_LIMIT {
            let short = shorten(Field::Annotations, text, LONG_TEXT_LIMIT);
            pod.record.set_text(Field::Annotations, short);
            pod.shortened = vec![Field::Annotations];
        }
        pod
    }
}

/// Why the CMDB refuses these fields of a record, by its rules of single fields: a code and a field.
pub fn fault(record: &PodRecord, fields: FieldSet, modules: &[i64]) -> Option<(i64, Field)> {
    let annotations = record.text(Field::Annotations);
    let checks = [
        (!modules.contains(&record.module_id), 1_118_401, Field::ModuleId),
        (record.text(Field::WorkloadName) == POISON, 1_199_011, Field::WorkloadName),
        (annotations.len() > LONG_TEXT_LIMIT, 1_199_015, Field::Annotations),
        (annotations.contains(' '), 1_199_016, Field::Annotations),
    ];
    checks
        .into_iter()
        .find(|(wrong, _, field)| *wrong && fields.contains(*field))
        .map(|(_, code, field)| (code, field))
}

/// The record the CMDB takes for this one, if any.
pub fn fit(record: &PodRecord, modules: &[i64]) -> Option<PodRecord> {
    let source = record.text(Field::Annotations);
    let mut repairs = Repairs::default();
    let mut record = record.clone();
    let mut tried = Vec::new();
    while let Some((code, field)) = fault(&record, FieldSet::ALL, modules) {
        if field != Field::Annotations || tried.contains(&code) {
            return None;
        }
        tried.push(code);
        repairs = repairs.next(field, code)?;
        record.set_text(field, repairs.apply(field, source));
    }
    Some(record)
}

/// Whether both are the same. A host that is not there is kept as it was.
pub fn alike(wanted: &PodRecord, held: &PodRecord) -> bool {
    let mut wanted = wanted.clone();
    if wanted.text(Field::HostInnerIp).is_empty() {
        wanted.set_text(Field::HostInnerIp, held.text(Field::HostInnerIp));
    }
    wanted == *held
}
