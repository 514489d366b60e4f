//! Whatever a pod is labelled with: a repair ends with valid JSON within the limit, is the same
//! every time, and repairing twice changes nothing more.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bcs_bkcmdb_synchronizer::convert::Repairs;
use bcs_bkcmdb_synchronizer::convert::repair::{LONG_TEXT_LIMIT, shorten};
use bcs_bkcmdb_synchronizer::model::Field;
use proptest::prelude::*;

const TOO_LONG: i64 = 1_199_015;
const PATTERN: i64 = 1_199_016;

/// Keys and values around the limit and with everything a pattern may refuse.
fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![
        "[a-z./]{0,12}",
        Just("kubectl.kubernetes.io/last-applied-configuration".to_owned()),
        any::<String>()
    ];
    let value = prop_oneof!["[a-z\"\\\\\n ]{0,40}", "[a-z]{300,900}", any::<String>()];
    prop::collection::btree_map(key, value, 0..12)
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof!["[a-z]{0,40}", "[a-z]{200,700}", any::<String>()], 0..12)
}

fn strict() -> regex::bytes::Regex {
    regex::bytes::Regex::new(r#"(?-u)^\s*\{(\s*"\S+":\s*"\S+"\s*(,\s*"\S+":\s*"\S+"\s*)?)?\}\s*$"#).unwrap()
}

/// The repair after these refusals.
fn repairs(field: Field, codes: &[i64]) -> Repairs {
    codes.iter().fold(Repairs::default(), |repairs, code| repairs.next(field, *code).unwrap())
}

/// Applies a repair twice over and gives the result.
fn repaired(field: Field, codes: &[i64], text: &str) -> String {
    let repairs = repairs(field, codes);
    let once = repairs.apply(field, text);
    assert_eq!(repairs.apply(field, text), once, "deterministic");
    assert_eq!(repairs.apply(field, &once), once, "idempotent");
    once
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dropped_entries_leave_what_the_pattern_takes(texts in texts()) {
        let text = serde_json::to_string(&texts).unwrap();
        let repaired = repaired(Field::Annotations, &[PATTERN], &text);
        prop_assert!(strict().is_match(repaired.as_bytes()), "{repaired}");
        let kept: BTreeMap<String, String> = serde_json::from_str(&repaired).unwrap();
        for (key, value) in &texts {
            let alone = serde_json::to_string(&BTreeMap::from([(key, value)])).unwrap();
            if kept.get(key) != Some(value) {
                prop_assert!(!strict().is_match(alone.as_bytes()), "{alone} was dropped needlessly");
            }
        }
    }

    #[test]
    fn shortened_entries_fit_and_are_entries_of_the_pod(texts in texts(), limit in 0..3000_usize) {
        let text = serde_json::to_string(&texts).unwrap();
        let short = shorten(Field::Labels, &text, limit);
        prop_assert!(short.len() <= limit);
        prop_assert_eq!(&shorten(Field::Labels, &short, limit), &short);
        if short.is_empty() {
            prop_assert!(limit < 2);
        } else {
            let kept: BTreeMap<String, String> = serde_json::from_str(&short).unwrap();
            prop_assert!(kept.iter().all(|(key, value)| texts.get(key) == Some(value)));
            prop_assert_eq!(kept.len() == texts.len(), text.len() <= limit);
        }
    }

    #[test]
    fn both_steps_in_either_order_fit_and_pass(texts in texts()) {
        let text = serde_json::to_string(&texts).unwrap();
        let repaired_text = repaired(Field::Labels, &[PATTERN, TOO_LONG], &text);
        prop_assert_eq!(&repaired(Field::Labels, &[TOO_LONG, PATTERN], &text), &repaired_text);
        prop_assert!(repaired_text.len() <= LONG_TEXT_LIMIT);
        prop_assert!(strict().is_match(repaired_text.as_bytes()));
    }

    #[test]
    fn shortened_lists_are_lists_of_the_pod(containers in names(), statuses in names()) {
        let both = serde_json::json!({"containers": containers, "containerStatuses": statuses}).to_string();
        let short = repaired(Field::Containers, &[TOO_LONG], &both);
        prop_assert!(short.len() <= LONG_TEXT_LIMIT);
        let kept: BTreeMap<String, Vec<String>> = serde_json::from_str(&short).unwrap();
        prop_assert!(kept["containers"].iter().all(|name| containers.contains(name)));
        prop_assert!(kept["containerStatuses"].iter().all(|name| statuses.contains(name)));
        let list = serde_json::to_string(&containers).unwrap();
        let short = repaired(Field::Volumes, &[TOO_LONG], &list);
        let kept: Vec<String> = serde_json::from_str(&short).unwrap();
        prop_assert_eq!(kept == containers, list.len() <= LONG_TEXT_LIMIT);
    }

    #[test]
    fn any_text_at_all_is_repaired_without_a_panic(text in any::<String>(), limit in 0..40_usize) {
        for field in [Field::Labels, Field::Annotations, Field::Containers, Field::Volumes] {
            prop_assert!(shorten(field, &text, limit).len() <= limit);
            for codes in [&[PATTERN][..], &[TOO_LONG], &[TOO_LONG, TOO_LONG]] {
                repaired(field, codes, &text);
            }
        }
    }
}
