//! Are both sides equal? A judge of its own: it reads what the CMDB's clients would read, converts
//! what the storage holds, and knows nothing of how the synchronizer brought one to the other.
//!
//! Equal means: each living pod is recorded field by field, or shown as refused with a reason, or
//! waits for a host, and the CMDB holds nothing else. Pure: both sides come in as data.

use super::storage::Document;
use crate::convert::{Converter, Settings};
use crate::model::{ClusterKind, Field, Modules, Observation, ObservedPod};
use crate::sync::snapshot::RejectedRecord;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Differences and reasons that are shown; the rest is counted.
const SHOWN: usize = 20;
/// The CMDB's code for a duplicate (protocol.md 2).
const DUPLICATE: i64 = 1_199_014;
/// Bytes of a value that a difference shows.
const VALUE_SHOWN: usize = 160;

/// One cluster as the storage and the status API show it.
pub struct ClusterSide {
    /// Cluster id.
    pub id: String,
    /// Its business.
    pub bk_biz_id: i64,
    /// Decides the conversion.
    pub kind: ClusterKind,
    /// Its living documents.
    pub documents: Vec<Arc<Document>>,
    /// What the status API lists as rejected or degraded.
    pub refused: Vec<RejectedRecord>,
}

/// Counts of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Cluster id.
    pub cluster: String,
    /// Living documents.
    pub pods: usize,
    /// Recorded, degraded ones included.
    pub recorded: usize,
    /// Waiting for a host.
    pub waiting: usize,
    /// Refused by the CMDB and shown so.
    pub rejected: usize,
    /// Recorded without some part the CMDB refused, and shown so.
    pub degraded: usize,
    /// Documents that identify no pod.
    pub invalid: usize,
    /// What differs.
    pub differences: usize,
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// One row for each cluster.
    pub rows: Vec<Row>,
    /// The first differences, in words.
    pub differences: Vec<String>,
    /// Why something is not recorded as it is, in words, and how often; the first reasons.
    pub reasons: BTreeMap<String, usize>,
    /// Records that belong to no living pod.
    pub strays: usize,
}

impl Verdict {
    /// Whether both sides are equal.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// All rows together.
    pub fn total(&self) -> Row {
        let mut total = Row { cluster: "total".to_owned(), ..Row::default() };
        for row in &self.rows {
            total.pods += row.pods;
            total.recorded += row.recorded;
            total.waiting += row.waiting;
            total.rejected += row.rejected;
            total.degraded += row.degraded;
            total.invalid += row.invalid;
            total.differences += row.differences;
        }
        total.differences += self.strays;
        total
    }

    fn differs(&mut self, row: &mut Row, what: String) {
        row.differences += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(format!("{}: {what}", row.cluster));
        }
    }

    /// A record that belongs to no living pod.
    fn stray(&mut self, record: &Value, what: &str) {
        let mut row = Row { cluster: text(record, "bk_pod_cluster"), ..Row::default() };
        let of = |name| text(record, name);
        let (namespace, name, uuid) = (of("bk_pod_namespace"), of("bk_pod_name"), of("bk_pod_uuid"));
        let biz = &record["bk_biz_id"];
        self.differs(&mut row, format!("{namespace}/{name} {uuid} of business {biz} {what}"));
        self.strays += 1;
    }

    fn explains(&mut self, reason: String) {
        if self.reasons.len() < SHOWN || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

/// The CMDB's side.
#[derive(Default)]
struct Recorded<'a> {
    /// Records no pod was found for yet, by business, cluster and uuid.
    left: HashMap<(i64, String, String), &'a Value>,
    /// Every uuid, and every cluster, namespace and name: what can make a duplicate.
    uuids: HashSet<String>,
    names: HashSet<[String; 3]>,
}

impl Recorded<'_> {
    /// Whether a record stands in the way of this pod of `cluster`.
    fn holds(&self, cluster: &str, pod: &ObservedPod) -> bool {
        let name = [cluster, &pod.record.namespace, &pod.record.name].map(str::to_owned);
        self.uuids.contains(&pod.record.uuid) || self.names.contains(&name)
    }
}

/// Compares the clusters with all records of their businesses.
pub fn judge(
    clusters: &[ClusterSide],
    records: &[Value],
    modules: &BTreeMap<i64, Modules>,
    settings: &Settings,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut recorded = Recorded::default();
    for record in records {
        let biz = record["bk_biz_id"].as_i64().unwrap_or(0);
        let of = |name| text(record, name);
        recorded.uuids.insert(of("bk_pod_uuid"));
        recorded.names.insert([of("bk_pod_cluster"), of("bk_pod_namespace"), of("bk_pod_name")]);
        let key = (biz, of("bk_pod_cluster"), of("bk_pod_uuid"));
        if recorded.left.insert(key, record).is_some() {
            verdict.stray(record, "is in the CMDB twice");
        }
    }
    for cluster in clusters {
        let modules = modules.get(&cluster.bk_biz_id);
        let row = judge_cluster(cluster, &mut recorded, modules, settings, &mut verdict);
        verdict.rows.push(row);
    }
    for record in recorded.left.into_values() {
        verdict.stray(record, "is in the CMDB, and not in the storage");
    }
    verdict
}

fn judge_cluster(
    cluster: &ClusterSide,
    recorded: &mut Recorded<'_>,
    modules: Option<&Modules>,
    settings: &Settings,
    verdict: &mut Verdict,
) -> Row {
    let none = Modules::default();
    let converter = Converter::new(cluster.kind, settings.clone());
    let mut refused: HashMap<&str, Vec<&RejectedRecord>> = HashMap::new();
    for record in &cluster.refused {
        refused.entry(&record.uuid).or_default().push(record);
    }
    let mut row = Row { cluster: cluster.id.clone(), pods: cluster.documents.len(), ..Row::default() };
    for document in &cluster.documents {
        let pod = match converter.document(&document.to_json(), modules.unwrap_or(&none)) {
            Ok(Observation::Pod(pod)) => pod,
            Ok(Observation::Deleted(_)) => {
                verdict.differs(&mut row, format!("{} is listed and deleted", document.id));
                continue;
            }
            Err(invalid) => {
                row.invalid += 1;
                verdict.explains(format!("invalid: {}", invalid.reason));
                continue;
            }
        };
        let uuid = pod.record.uuid.clone();
        let shown = refused.get(uuid.as_str()).map_or(&[][..], Vec::as_slice);
        let record = recorded.left.remove(&(cluster.bk_biz_id, cluster.id.clone(), uuid));
        let held = recorded.holds(&cluster.id, &pod);
        judge_pod(&pod, (record, held), shown, &mut row, verdict);
    }
    row
}

/// Judges one pod by its record, whether there is any record it could collide with, and what is
/// shown about it.
fn judge_pod(
    pod: &ObservedPod,
    (record, held): (Option<&Value>, bool),
    refused: &[&RejectedRecord],
    row: &mut Row,
    verdict: &mut Verdict,
) {
    let identity = format!("{}/{} {}", pod.record.namespace, pod.record.name, pod.record.uuid);
    for shown in refused {
        // 0: nobody refused it, the record was shortened before it was sent.
        let code = if shown.code == 0 { String::new() } else { format!(" ({})", shown.code) };
        let (kind, field, message) = (shown.kind, &shown.field, &shown.message);
        verdict.explains(format!("{kind}{code}: {field}: {message:.VALUE_SHOWN$}"));
    }
    let rejected = refused.iter().find(|shown| shown.kind == "rejected");
    match (record, rejected) {
        // One that lost its host stays recorded with the last one.
        _ if !pod.scheduled => row.waiting += 1,
        (_, Some(shown)) if shown.code == DUPLICATE && !held => {
            verdict.differs(row, format!("{identity} is rejected as a duplicate of nothing"));
        }
        (_, Some(_)) => row.rejected += 1,
        (None, None) => verdict.differs(row, format!("{identity} is missing in the CMDB")),
        (Some(record), None) => {
            row.recorded += 1;
            row.degraded += usize::from(!refused.is_empty());
            for difference in compare(pod, record, refused) {
                verdict.differs(row, format!("{identity} {difference}"));
            }
        }
    }
}

/// The fields that differ, those aside that are shown as repaired.
fn compare(pod: &ObservedPod, record: &Value, refused: &[&RejectedRecord]) -> Vec<String> {
    let repaired =
        |name: &str| refused.iter().any(|shown| shown.field.split([',', ' ']).any(|field| field == name));
    let expected = Field::ALL.map(|field| (field.name(), pod.record.json(field)));
    let identity = [("bk_pod_namespace", &pod.record.namespace), ("bk_pod_name", &pod.record.name)];
    let identity = identity.map(|(name, text)| (name, Value::from(text.as_str())));
    let pairs = expected.into_iter().chain(identity);
    let differing =
        pairs.filter(|(name, expected)| !repaired(name) && canonical(expected) != canonical(&record[*name]));
    let words = differing.map(|(name, expected)| {
        let (expected, found) = (canonical(&expected), canonical(&record[name]));
        format!("{name}: storage {expected:.VALUE_SHOWN$?}, CMDB {found:.VALUE_SHOWN$?}")
    });
    words.collect()
}

/// Null, absent and "" are one value; a number is its digits.
fn canonical(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn text(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or_default().to_owned()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns =
            ["pods", "recorded", "waiting for a host", "rejected", "degraded", "invalid", "differences"];
        let width = self.rows.iter().map(|row| row.cluster.len()).max().unwrap_or(0).max("cluster".len());
        write!(f, "{:width$}", "cluster")?;
        columns.iter().try_for_each(|column| write!(f, "  {column}"))?;
        for row in self.rows.iter().chain([&self.total()]) {
            write!(f, "\n{:width$}", row.cluster)?;
            let counts = [
                row.pods,
                row.recorded,
                row.waiting,
                row.rejected,
                row.degraded,
                row.invalid,
                row.differences,
            ];
            for (column, count) in columns.iter().zip(counts) {
                write!(f, "  {count:>width$}", width = column.len())?;
            }
        }
        self.differences.iter().try_for_each(|difference| write!(f, "\ndifference: {difference}"))?;
        if !self.is_equal() {
            return write!(f, "\nNOT EQUAL: {} differences", self.total().differences);
        }
        write!(f, "\nboth sides are equal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::storage::{Generation, SimStorage};
    use jiff::tz::TimeZone;
    use serde_json::json;

    const CLUSTER: &str = "BCS-K8S-1";

    fn settings() -> Settings {
        Settings {
            cloud_id: 0,
            time_zone: TimeZone::UTC,
            text_limit: 2000,
            default_set: "bkbcs".to_owned(),
            default_module: "bkbcs".to_owned(),
        }
    }

    fn pod(uid: &str, host: &str) -> Value {
        json!({"metadata": {"name": "a", "namespace": "b", "uid": uid, "labels": {"x": "y"}},
            "status": {"hostIP": host, "phase": "Running"}})
    }

    /// What a true CMDB would hold of the document.
    fn recorded(document: &Document) -> Value {
        let converter = Converter::new(ClusterKind::K8s, settings());
        let Ok(Observation::Pod(pod)) = converter.document(&document.to_json(), &modules()[&2]) else {
            panic!("not a pod")
        };
        let mut record = json!({"bk_biz_id": 2, "bk_pod_cluster": CLUSTER, "bk_pod_uuid": pod.record.uuid,
            "bk_pod_namespace": "b", "bk_pod_name": "a", "bk_pod_id": 1});
        Field::ALL.into_iter().for_each(|field| record[field.name()] = pod.record.json(field));
        record
    }

    fn modules() -> BTreeMap<i64, Modules> {
        let mut modules = Modules::default();
        modules.insert("bkbcs", "bkbcs", 41);
        BTreeMap::from([(2, modules)])
    }

    fn refused(kind: &'static str, field: &str) -> RejectedRecord {
        let text = str::to_owned;
        RejectedRecord {
            uuid: text("u"),
            namespace: text("b"),
            name: text("a"),
            kind,
            field: text(field),
            code: 1,
            message: text("why"),
            since: text(""),
        }
    }

    #[track_caller]
    fn check(pod: Value, change: impl Fn(&mut Vec<Value>), refused: Vec<RejectedRecord>, expected: Row) {
        let storage = SimStorage::new(1);
        storage.add_cluster(CLUSTER, ClusterKind::K8s, Generation::Old);
        storage.put(CLUSTER, pod).unwrap();
        let documents = storage.documents(CLUSTER);
        let mut records = vec![recorded(&documents[0])];
        change(&mut records);
        let side =
            ClusterSide { id: CLUSTER.to_owned(), bk_biz_id: 2, kind: ClusterKind::K8s, documents, refused };
        let verdict = judge(&[side], &records, &modules(), &settings());
        let row = Row { cluster: "total".to_owned(), pods: 1, ..expected };
        assert_eq!(verdict.total(), row, "{verdict}");
        assert_eq!(verdict.is_equal(), row.differences == 0);
    }

    fn row(recorded: usize, differences: usize) -> Row {
        Row { recorded, differences, ..Row::default() }
    }

    #[test]
    fn equal_sides_are_equal_and_null_is_absent() {
        check(pod("u", "10.0.0.1"), |_| {}, vec![], row(1, 0));
        let absent = |records: &mut Vec<Value>| drop(records[0].as_object_mut().unwrap().remove("bk_pod_ip"));
        check(pod("u", "10.0.0.1"), absent, vec![], row(1, 0));
    }

    #[test]
    fn every_differing_field_is_a_difference() {
        for field in Field::ALL.map(Field::name).into_iter().chain(["bk_pod_namespace", "bk_pod_name"]) {
            check(pod("u", "10.0.0.1"), |records| records[0][field] = "9".into(), vec![], row(1, 1));
        }
    }

    #[test]
    fn missing_superfluous_and_foreign_records_are_differences() {
        check(pod("u", "10.0.0.1"), |records| records.clear(), vec![], row(0, 1));
        for (key, value) in
            [("bk_pod_uuid", json!("old")), ("bk_pod_cluster", json!("BCS-K8S-9")), ("bk_biz_id", json!(3))]
        {
            let add = |records: &mut Vec<Value>| {
                let mut other = records[0].clone();
                other[key] = value.clone();
                records.push(other);
            };
            check(pod("u", "10.0.0.1"), add, vec![], row(1, 1));
        }
    }

    #[test]
    fn a_pod_without_a_host_waits_whether_or_not_it_was_recorded() {
        let waiting = Row { waiting: 1, ..Row::default() };
        check(pod("u", ""), |_| {}, vec![], waiting.clone());
        check(pod("u", ""), |records| records.clear(), vec![], waiting);
    }

    #[test]
    fn a_duplicate_needs_something_it_duplicates() {
        let refused = || vec![RejectedRecord { code: DUPLICATE, ..refused("rejected", "") }];
        check(pod("u", "1.1.1.1"), |records| records.clear(), refused(), row(0, 1));
        let held = |records: &mut Vec<Value>| records[0]["bk_pod_uuid"] = "other".into();
        check(pod("u", "1.1.1.1"), held, refused(), Row { rejected: 1, ..row(0, 1) });
    }

    #[test]
    fn refusals_excuse_what_they_name_and_nothing_else() {
        let rejected = Row { rejected: 1, ..Row::default() };
        check(
            pod("u", "1.1.1.1"),
            |records| records.clear(),
            vec![refused("rejected", "bk_pod_ip")],
            rejected,
        );
        let change = |field: &'static str| move |records: &mut Vec<Value>| records[0][field] = "{}".into();
        let degraded = |differences| Row { degraded: 1, ..row(1, differences) };
        let labels = || vec![refused("degraded", "bk_pod_labels")];
        check(pod("u", "1.1.1.1"), change("bk_pod_labels"), labels(), degraded(0));
        check(pod("u", "1.1.1.1"), change("bk_pod_status"), labels(), degraded(1));
        check(pod("u", "1.1.1.1"), |records| records.clear(), labels(), row(0, 1));
    }
}
