//! What must hold for any document of the storage (protocol.md 7 and 8) and for any text of a field
//! that is repaired (design.md 5).

#![allow(clippy::expect_used)] // Called by tests and fuzzers only.

use super::repair::{LONG_TEXT_LIMIT, shorten};
use super::{Converter, Repairs, Settings};
use crate::model::{ClusterKind, Field, FieldKind, Modules, Observation, ObservedPod};
use jiff::tz::TimeZone;
use regex::bytes::Regex;
use serde::de::IgnoredAny;
use std::sync::LazyLock;

/// Code of a text that is too long (protocol.md 2).
const TOO_LONG: i64 = 1_199_015;
/// Code of a text that its pattern refuses (protocol.md 2).
const PATTERN: i64 = 1_199_016;

/// The strict pattern of labels and annotations (protocol.md 2).
static STRICT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?-u)^\s*\{(\s*"\S+":\s*"\S+"\s*(,\s*"\S+":\s*"\S+"\s*)?)?\}\s*$"#;
    Regex::new(pattern).expect("the pattern of protocol.md 2")
});

static MODULES: LazyLock<Modules> = LazyLock::new(|| {
    let mut modules = Modules::default();
    modules.insert("bkbcs", "bkbcs", 1);
    modules.insert("game", "login", 2);
    modules
});

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A document of either kind, with or without `text_limit`: what comes out identifies its pod, is
/// trimmed and valid JSON where the field is JSON, keeps the limit, and is the same every time.
/// The first byte chooses kind and limit.
pub fn document(data: &[u8]) {
    let Some((choice, json)) = data.split_first() else { return };
    let kind = if choice & 1 == 0 { ClusterKind::K8s } else { ClusterKind::Mesos };
    let text_limit = [0, 100, LONG_TEXT_LIMIT, 1][usize::from(choice >> 1) % 4];
    let converter = Converter::new(
        kind,
        Settings {
            cloud_id: 0,
            time_zone: TimeZone::UTC,
            text_limit,
            default_set: "bkbcs".to_owned(),
            default_module: "bkbcs".to_owned(),
        },
    );
    let seen = converter.document(json, &MODULES);
    assert_eq!(converter.document(json, &MODULES), seen, "the same document, another record");
    if let Ok(Observation::Pod(pod)) = &seen {
        check_pod(pod, text_limit);
    }
    if let Ok(deleted) = converter.deleted(json) {
        let named = !deleted.namespace.is_empty() && !deleted.name.is_empty();
        assert!(!deleted.storage_id.is_empty() || !deleted.uuid.is_empty() || named, "a delete of nothing");
    }
}

fn check_pod(pod: &ObservedPod, text_limit: usize) {
    let record = &pod.record;
    for text in [&record.uuid, &record.namespace, &record.name] {
        assert!(!text.is_empty() && text.trim() == text, "identity {text:?}");
    }
    assert_eq!(pod.scheduled, !record.text(Field::HostInnerIp).is_empty());
    for field in Field::ALL {
        let text = record.text(field);
        assert_eq!(text.trim(), text, "{} is not trimmed", field.name());
        if field.kind() == FieldKind::Long {
            assert!(text.is_empty() || is_json(text), "{}: {text}", field.name());
            assert!(text_limit == 0 || text.len() <= text_limit, "{} is {} long", field.name(), text.len());
        }
    }
    for field in [Field::Labels, Field::Annotations] {
        let text = record.text(field);
        let repairs = Repairs::default().next(field, PATTERN).expect("a first repair");
        let repaired = repairs.apply(field, text);
        assert!(STRICT.is_match(repaired.as_bytes()), "{}: {repaired}", field.name());
    }
}

/// Any text of a repairable field: each step of the repair is the same every time, adds nothing when
/// repeated, ends as JSON within the limit, and the ladder of steps has an end. The first byte chooses
/// the field, the second the limit.
pub fn repair(data: &[u8]) {
    let [choice, limit, text @ ..] = data else { return };
    let fields = [Field::Labels, Field::Annotations, Field::Containers, Field::Volumes];
    let field = fields[usize::from(*choice) % fields.len()];
    let text = String::from_utf8_lossy(text);
    let limit = usize::from(*limit) * 8;
    let short = shorten(field, &text, limit);
    assert!(short.len() <= limit, "{} bytes of {limit}", short.len());
    assert!(short == text || short.is_empty() || is_json(&short), "{short}");
    let codes = if choice & 4 == 0 { [PATTERN, TOO_LONG] } else { [TOO_LONG, PATTERN] };
    let mut repairs = Repairs::default();
    for code in codes.into_iter().cycle().take(4) {
        let Some(next) = repairs.next(field, code) else { break };
        assert_ne!(next, repairs, "a step that changes nothing");
        repairs = next;
        let once = repairs.apply(field, &text);
        assert_eq!(repairs.apply(field, &once), once, "{repairs}");
    }
    assert_eq!(repairs.next(field, PATTERN), None, "no end");
}
