//! Every real pod converts, to the same record whichever way its document came, and its labels and
//! annotations can be repaired to what the strict CMDB takes.

#![allow(clippy::unwrap_used)]

mod corpus;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bcs_bkcmdb_synchronizer::convert::{Converter, InvalidDocument, Repairs, Settings};
use bcs_bkcmdb_synchronizer::model::{ClusterKind, Field, Modules, Observation, ObservedPod};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

const PODS: [(&str, usize, usize); 2] = [("pods.ndjson", 3581, 135), ("pods_more_versions.ndjson", 1845, 4)];

fn converter(kind: ClusterKind) -> Converter {
    let settings = Settings {
        cloud_id: 0,
        time_zone: TimeZone::UTC,
        text_limit: 0,
        default_set: "bkbcs".into(),
        default_module: "bkbcs".into(),
    };
    Converter::new(kind, settings)
}

/// The document bcs-storage would hold for a bare pod.
fn document(pod: &Value) -> Value {
    let metadata = &pod["metadata"];
    json!({"_id": metadata["uid"], "clusterId": "BCS-K8S-00001", "namespace": metadata["namespace"],
           "resourceName": metadata["name"], "resourceType": "Pod", "data": pod})
}

fn convert(converter: &Converter, document: &Value) -> Result<ObservedPod, InvalidDocument> {
    match converter.document(document.to_string().as_bytes(), &Modules::default())? {
        Observation::Pod(pod) => Ok(*pod),
        Observation::Deleted(deleted) => panic!("{deleted:?} is not deleted"),
    }
}

/// One pod of the corpus: as it is, as a storage document, and what became of that.
struct Case {
    file: &'static str,
    pod: Value,
    document: Value,
    observed: ObservedPod,
}

/// Every pod of the corpus, converted once for all tests.
static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let converter = converter(ClusterKind::K8s);
    let lines =
        PODS.iter().flat_map(|(file, ..)| corpus::lines(file).into_iter().map(move |line| (*file, line)));
    let case = |(file, line): (&'static str, String)| {
        let pod: Value = serde_json::from_str(&line).unwrap();
        let document = document(&pod);
        let observed = convert(&converter, &document).unwrap();
        Case { file, pod, document, observed }
    };
    lines.map(case).collect()
});

fn for_every_pod(mut check: impl FnMut(&Value, &Value, &ObservedPod)) {
    CASES.iter().for_each(|case| check(&case.pod, &case.document, &case.observed));
}

#[test]
fn every_pod_converts_and_those_without_host_wait() {
    for (file, expected, expected_waiting) in PODS {
        let pods: Vec<&Case> = CASES.iter().filter(|case| case.file == file).collect();
        let waiting = pods.iter().filter(|case| !case.observed.scheduled).count();
        println!("{file}: {} pods converted, {waiting} of them wait for a host", pods.len());
        assert!(CASES.is_empty() || (pods.len(), waiting) == (expected, expected_waiting), "{file}");
    }
}

#[test]
fn the_real_taskgroup_has_no_name_and_is_refused_with_that_reason() {
    let converter = converter(ClusterKind::Mesos);
    for line in corpus::lines("taskgroups_storage_item.ndjson") {
        let mut taskgroup: Value = serde_json::from_str(&line).unwrap();
        let invalid = convert(&converter, &taskgroup).unwrap_err();
        assert!(invalid.reason.contains("neither metadata.name nor resourceName"), "{invalid}");
        taskgroup["resourceName"] = "0.app-test.defaultgroup.10000.1".into();
        let named = convert(&converter, &taskgroup).unwrap();
        assert_eq!(named.record.text(Field::WorkloadName), "app-test");
        assert_eq!(named.record.text(Field::StartTime), "2017-10-09 07:37:44");
        let projected = project(&taskgroup, converter.projection());
        assert_eq!(convert(&converter, &projected).unwrap(), named);
        println!("the taskgroup is refused without a name and converts with one");
    }
}

#[test]
fn the_projection_loses_nothing_and_the_order_of_members_does_not_matter() {
    let converter = converter(ClusterKind::K8s);
    let (mut whole, mut projected) = (0, 0);
    for_every_pod(|_, document, observed| {
        let part = project(document, converter.projection());
        assert_eq!(convert(&converter, &part).as_ref(), Ok(observed));
        whole += document.to_string().len();
        projected += part.to_string().len();
        let reversed = reversed(document);
        let again = converter.document(reversed.as_bytes(), &Modules::default());
        assert_eq!(again, Ok(Observation::Pod(Box::new(observed.clone()))));
    });
    println!("{whole} bytes of documents, {projected} projected");
}

/// What MongoDB leaves of a document for a list of dotted paths: a path goes into every object of a
/// list, what is neither object nor list ends it.
fn project(document: &Value, paths: &str) -> Value {
    let mut projected = json!({});
    if let Some(id) = document.get("_id") {
        projected["_id"] = id.clone();
    }
    let mut wanted = Paths::default();
    for path in paths.split(',') {
        path.split('.').fold(&mut wanted, |paths, name| paths.0.entry(name).or_default());
    }
    for (name, part) in wanted.pick(document).as_object().unwrap() {
        projected[name] = part.clone();
    }
    projected
}

#[derive(Default)]
struct Paths<'p>(BTreeMap<&'p str, Paths<'p>>);

impl Paths<'_> {
    fn pick(&self, value: &Value) -> Value {
        match value {
            value if self.0.is_empty() => value.clone(),
            Value::Object(object) => self.pick_members(object).into(),
            Value::Array(list) => list
                .iter()
                .filter(|value| value.is_object() || value.is_array())
                .map(|value| self.pick(value))
                .collect(),
            _ => Value::Null,
        }
    }

    fn pick_members(&self, object: &Map<String, Value>) -> Map<String, Value> {
        let wanted = object.iter().filter_map(|(name, value)| {
            let deeper = self.0.get(name.as_str())?;
            Some((name.clone(), deeper.pick(value)))
        });
        wanted.filter(|(name, value)| !value.is_null() || self.0[name.as_str()].0.is_empty()).collect()
    }
}

/// The document with the members of every object in the opposite order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let members =
                object.iter().rev().map(|(name, value)| format!("{}:{}", json!(name), reversed(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(" ,\n"))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[test]
fn fields_agree_with_a_plain_reading_of_the_table() {
    for_every_pod(|pod, _, observed| {
        let record = &observed.record;
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        for (field, expected) in [
            (Field::Labels, sorted(&pod["metadata"]["labels"])),
            (Field::Annotations, sorted(&pod["metadata"]["annotations"])),
            (Field::HostInnerIp, text("/status/hostIP").to_owned()),
            (Field::PodIp, text("/status/podIP").to_owned()),
            (Field::CreateTime, plain_time(text("/metadata/creationTimestamp"))),
            (Field::StartTime, plain_time(text("/status/startTime"))),
            (Field::WorkloadType, owner(pod).0),
            (Field::WorkloadName, owner(pod).1),
        ] {
            assert_eq!(record.text(field), expected, "{} of {}", field.name(), record.name);
        }
        let deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        assert_eq!(record.text(Field::Status), if deleted { "Terminating" } else { text("/status/phase") });
        assert_eq!(record.uuid, text("/metadata/uid"));
        assert_eq!(
            observed.version.map(|version| version.to_string()).unwrap_or_default(),
            text("/metadata/resourceVersion")
        );
        check_volumes(pod, record.text(Field::Volumes));
        check_containers(pod, record.text(Field::Containers));
    });
}

fn sorted(texts: &Value) -> String {
    let texts: BTreeMap<String, String> = serde_json::from_value(texts.clone()).unwrap_or_default();
    serde_json::to_string(&texts).unwrap()
}

/// Valid for whole seconds in UTC, which is what the corpus has.
fn plain_time(rfc3339: &str) -> String {
    rfc3339.replace('T', " ").replace('Z', "")
}

fn owner(pod: &Value) -> (String, String) {
    let owners = pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let owner = owners.iter().find(|owner| owner["controller"] == true).or(owners.first());
    let of = |name: &str| owner.map(|owner| owner[name].as_str().unwrap_or_default().to_owned());
    (
        of("kind").unwrap_or("Pod".into()),
        of("name").unwrap_or(pod["metadata"]["name"].as_str().unwrap().into()),
    )
}

fn check_volumes(pod: &Value, written: &str) {
    let written: Value = serde_json::from_str(written).unwrap();
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    assert_eq!(written.as_array().unwrap().len(), volumes.len());
    for (index, volume) in volumes.iter().enumerate() {
        let written = &written[index];
        assert_eq!(written["name"], volume["name"]);
        let source = &volume[written["type"].as_str().unwrap()];
        assert!(source.is_object(), "{volume}");
        let named =
            ["claimName", "secretName", "name", "path"].map(|name| source[name].as_str().unwrap_or_default());
        let name = written["source"].as_str().unwrap();
        assert!(name.is_empty() || named.contains(&name), "{written} of {volume}");
    }
}

fn check_containers(pod: &Value, written: &str) {
    let written: Value = serde_json::from_str(written).unwrap();
    let check = |written: &Value, source: &Value, names: &[&str]| {
        let source = source.as_array().cloned().unwrap_or_default();
        assert_eq!(written.as_array().unwrap().len(), source.len());
        for (index, source) in source.iter().enumerate() {
            for name in names {
                assert_eq!(without_nulls(&written[index][name]), without_nulls(&source[name]), "{name}");
            }
        }
    };
    check(&written["containers"], &pod["spec"]["containers"], &["name", "image", "ports", "resources"]);
    let names = ["name", "ready", "restartCount", "containerID", "state"];
    check(&written["containerStatuses"], &pod["status"]["containerStatuses"], &names);
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

#[test]
fn repaired_labels_and_annotations_pass_the_strict_pattern_and_lose_nothing_else() {
    // Go's \s is ASCII, hence the bytes and no Unicode.
    let pattern = r#"(?-u)^\s*\{(\s*"\S+":\s*"\S+"\s*(,\s*"\S+":\s*"\S+"\s*)?)?\}\s*$"#;
    let strict = regex::bytes::Regex::new(pattern).unwrap();
    let dropping = Repairs::default().next(Field::Annotations, 1_199_016).unwrap();
    let (mut refused, mut dropped_entries) = (0, 0);
    for_every_pod(|_, _, observed| {
        for field in [Field::Labels, Field::Annotations] {
            let text = observed.record.text(field);
            if strict.is_match(text.as_bytes()) {
                continue;
            }
            refused += 1;
            let repaired = dropping.apply(field, text);
            assert!(strict.is_match(repaired.as_bytes()), "{repaired}");
            let entries: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
            let kept: BTreeMap<String, String> = serde_json::from_str(&repaired).unwrap();
            for (key, value) in &entries {
                let alone = json!({key: value}).to_string();
                assert_eq!(kept.get(key) == Some(value), strict.is_match(alone.as_bytes()), "{alone}");
            }
            dropped_entries += entries.len() - kept.len();
        }
    });
    assert!(CASES.is_empty() || refused == 403);
    println!("{refused} labels and annotations repaired, {dropped_entries} entries dropped");
}
