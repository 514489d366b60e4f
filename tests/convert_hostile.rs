//! Documents nobody should send: one bad part never costs the pod, no document costs the process,
//! and an error says which document and why in a bounded text.

#![allow(clippy::unwrap_used)]

use bcs_bkcmdb_synchronizer::convert::{Converter, InvalidDocument, Settings};
use bcs_bkcmdb_synchronizer::model::{ClusterKind, Field, Modules, Observation, PodRecord};
use jiff::tz::TimeZone;

fn convert(json: impl AsRef<[u8]>) -> Result<PodRecord, InvalidDocument> {
    let settings = Settings {
        cloud_id: 0,
        time_zone: TimeZone::UTC,
        text_limit: 2000,
        default_set: "bkbcs".into(),
        default_module: "bkbcs".into(),
    };
    match Converter::new(ClusterKind::K8s, settings).document(json.as_ref(), &Modules::default())? {
        Observation::Pod(pod) => Ok(pod.record),
        Observation::Deleted(deleted) => panic!("{deleted:?} is not deleted"),
    }
}

/// A document whose pod has further members in `metadata`, `spec` and `status`.
fn pod(metadata: &str, spec: &str, status: &str) -> String {
    format!(
        r#"{{"_id":"5f","data":{{"metadata":{{"name":"p","namespace":"n","uid":"u"{metadata}}},"spec":{{{spec}}},"status":{{"hostIP":"10.0.0.1"{status}}}}}}}"#
    )
}

/// The document converts, and `field` has this text.
fn check(document: impl AsRef<[u8]>, field: Field, expected: &str) {
    let record = convert(&document).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!((record.uuid.as_str(), record.namespace.as_str(), record.name.as_str()), ("u", "n", "p"));
    assert_eq!(record.text(field), expected);
}

/// The document is refused with this reason, in a text of bounded size.
fn check_refused(document: impl AsRef<[u8]>, reason: &str) -> InvalidDocument {
    let invalid = convert(document).unwrap_err();
    assert!(invalid.reason.contains(reason), "{invalid}");
    assert!(invalid.to_string().len() < 3000, "{} bytes", invalid.to_string().len());
    invalid
}

#[test]
fn what_is_no_json_object_is_refused() {
    for (document, reason) in [
        ("", "not JSON"),
        (" \n", "not JSON"),
        ("<html>502 Bad Gateway</html>", "not JSON"),
        ("null", "no JSON object"),
        ("[]", "no JSON object"),
        ("\"u\"", "no JSON object"),
        ("{}{}", "not JSON"),
        ("{\"data\":{\"metadata\":{\"uid\":\"u\"}", "not JSON"),
        ("{\"_id\":\"5f\",}", "not JSON"),
    ] {
        check_refused(document, reason);
    }
    let whole = pod("", "", "");
    for end in 0..whole.len() {
        check_refused(&whole[..end], "not JSON");
    }
}

#[test]
fn an_error_names_the_document_as_far_as_it_was_read() {
    let document = r#"{"_id":"5f","namespace":"n","resourceName":"p","data":{"#;
    let invalid = check_refused(document, "EOF");
    assert_eq!((&*invalid.storage_id, &*invalid.namespace, &*invalid.name), ("5f", "n", "p"));
    let endless = "é".repeat(1 << 20);
    let invalid = check_refused(format!(r#"{{"_id":"{endless}","namespace":"{endless}"}}"#), "resourceName");
    assert_eq!(invalid.storage_id, "é".repeat(128));
    check_refused(format!(r#"{{"resourceType":"{endless}"}}"#), "it is a");
}

#[test]
fn text_that_is_not_utf8_is_mended() {
    let mut document = pod(r#","labels":{"a":"x~y","b":"z"}"#, "", "").into_bytes();
    let at = document.iter().position(|byte| *byte == b'~').unwrap();
    document[at] = 0xFF;
    check(&document, Field::Labels, "{\"a\":\"x\u{FFFD}y\",\"b\":\"z\"}");
    check_refused([0xFF; 64], "not JSON");
}

#[test]
fn lone_surrogates_and_numbers_out_of_range_are_mended() {
    check(
        pod(r#","labels":{"a":"\ud83dx","b":"z"}"#, "", ""),
        Field::Labels,
        "{\"a\":\"\u{FFFD}x\",\"b\":\"z\"}",
    );
    check(pod(r#","\udfff":1,"labels":{"a":"b"}"#, "", ""), Field::Labels, r#"{"a":"b"}"#);
    check(pod(r#","labels":1e999"#, "", ""), Field::Labels, "{}");
    let statuses = |count: &str| format!(r#","containerStatuses":[{{"name":"c","restartCount":{count}}}]"#);
    let restarted =
        |count: &str| format!(r#"{{"containers":[],"containerStatuses":[{{"name":"c"{count}}}]}}"#);
    for (count, written) in [
        ("1e999", ""),
        ("-1E+400", ""),
        ("18446744073709551616", ""),
        ("1.5", ""),
        ("9223372036854775807", r#","restartCount":9223372036854775807"#),
        ("3.0", r#","restartCount":3"#),
    ] {
        check(pod("", "", &statuses(count)), Field::Containers, &restarted(written));
    }
}

#[test]
fn zero_bytes_survive_as_escapes_and_raw_control_characters_are_no_json() {
    check(pod(r#","labels":{"a":"x\u0000y"}"#, "", ""), Field::Labels, r#"{"a":"x\u0000y"}"#);
    check_refused(pod(",\"labels\":{\"a\":\"x\0y\"}", "", ""), "control character");
}

#[test]
fn of_repeated_members_the_last_one_counts() {
    check(pod(r#","labels":{"a":"1","b":"2","a":"3"}"#, "", ""), Field::Labels, r#"{"a":"3","b":"2"}"#);
    check(pod(r#","labels":{"a":"1"},"labels":{"b":"2"}"#, "", ""), Field::Labels, r#"{"b":"2"}"#);
    check(pod("", "", r#","phase":"Pending","phase":"Running""#), Field::Status, "Running");
    check(pod("", "", r#","phase":"Running","phase":7"#), Field::Status, "Running");
    let twice = r#""volumes":[{"name":"a","emptyDir":{}}],"volumes":[{"name":"b","emptyDir":{}}]"#;
    let two_types = r#""volumes":[{"secret":{"secretName":"s"},"configMap":{"name":"c"},"name":"v"}]"#;
    check(pod("", two_types, ""), Field::Volumes, r#"[{"name":"v","type":"configMap","source":"c"}]"#);
    check(pod("", twice, ""), Field::Volumes, r#"[{"name":"b","type":"emptyDir","source":""}]"#);
}

#[test]
fn every_member_may_be_of_any_other_type() {
    let whole = pod(
        r#","labels":{"a":"b"},"annotations":{"a":"b"},"ownerReferences":[{"kind":"Job","name":"j"}],"creationTimestamp":"2020-01-01T00:00:00Z","deletionTimestamp":"2020-01-01T00:00:00Z","resourceVersion":"7""#,
        r#""hostNetwork":true,"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1"}}}],"volumes":[{"name":"v","secret":{"secretName":"s"}}]"#,
        r#","podIP":"10.1.0.1","phase":"Running","startTime":"2020-01-01T00:00:00Z","containerStatuses":[{"name":"c","ready":true,"restartCount":1,"containerID":"x","state":{"running":{"startedAt":"now"}}}]"#,
    );
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let mut pointers = Vec::new();
    list_pointers(&whole["data"], "/data", &mut pointers);
    assert!(pointers.len() > 40);
    for pointer in pointers {
        let identity = [
            "/data",
            "/data/metadata",
            "/data/metadata/uid",
            "/data/metadata/name",
            "/data/metadata/namespace",
        ];
        for other in [
            r#"null"#,
            "true",
            "-1",
            "1.5",
            r#""text""#,
            "[]",
            r#"[[{"a":[1]}],2]"#,
            "{}",
            r#"{"a":{"b":"c"}}"#,
        ] {
            let mut document = whole.clone();
            *document.pointer_mut(&pointer).unwrap() = serde_json::from_str(other).unwrap();
            let converted = convert(document.to_string());
            assert!(
                converted.is_ok() || identity.contains(&&*pointer),
                "{pointer} as {other}: {converted:?}"
            );
        }
    }
}

fn list_pointers(value: &serde_json::Value, pointer: &str, pointers: &mut Vec<String>) {
    pointers.push(pointer.to_owned());
    let mut deeper =
        |name: &dyn std::fmt::Display, value| list_pointers(value, &format!("{pointer}/{name}"), pointers);
    match value {
        serde_json::Value::Object(object) => object.iter().for_each(|(name, value)| deeper(name, value)),
        serde_json::Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| deeper(&index, value))
        }
        _ => {}
    }
}

#[test]
fn deep_nesting_costs_only_the_part_it_is_in() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for levels in [100, 1000, 1_000_000] {
        let status = format!(r#","phase":"Running","conditions":{}"#, deep(levels));
        check(pod("", "", &status), Field::Status, "Running");
        let container = format!(r#""containers":[{{"name":"c","ports":{}}}]"#, deep(levels));
        let record = convert(pod("", &container, "")).unwrap();
        assert!(record.text(Field::Containers).len() < 200, "{levels}");
    }
}

#[test]
fn five_mebibytes_become_a_record_of_a_few_kibibytes() {
    let many = |entry: &dyn Fn(usize) -> String| {
        let mut entries = String::new();
        for index in 0.. {
            entries.push_str(&entry(index));
            if entries.len() > 5 << 20 {
                return entries;
            }
            entries.push(',');
        }
        entries
    };
    let labels = format!(r#","labels":{{{}}}"#, many(&|index| format!(r#""key{index}":"{index}""#)));
    let annotation = format!(r#","annotations":{{"a":"b","big":"{}"}}"#, "x".repeat(5 << 20));
    let ports =
        format!(r#""containers":[{{"name":"c","ports":[{}]}}]"#, many(&|_| r#"{"containerPort":80}"#.into()));
    let volumes =
        format!(r#""volumes":[{}]"#, many(&|index| format!(r#"{{"name":"v{index}","emptyDir":{{}}}}"#)));
    let skipped = format!(r#","conditions":[{}]"#, many(&|index| index.to_string()));
    check(pod(&annotation, "", ""), Field::Annotations, r#"{"a":"b"}"#);
    for document in [pod(&labels, "", ""), pod("", &ports, ""), pod("", &volumes, ""), pod("", "", &skipped)]
    {
        assert!(document.len() > 5 << 20);
        let record = convert(document).unwrap();
        assert!(record.size() < 10_000, "{} bytes", record.size());
    }
}
