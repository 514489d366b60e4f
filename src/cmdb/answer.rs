//! What is in the `data` of an answer (protocol.md 2), checked against what was asked.
//!
//! Every function returns the reason in words when the data cannot be what the CMDB means; what
//! that says about the call is for `envelope::Intent` to decide.

use super::CmdbError;
use super::client::{Page, Unusable};
use super::error::classify;
use super::found::found;
use super::record::{StoredRecord, WireRecord};
use crate::http::excerpt;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The `data` as a type, or why it is none.
fn parse<T: DeserializeOwned>(data: Option<&RawValue>) -> Result<T, String> {
    let text = data.map_or("null", RawValue::get);
    serde_json::from_str(text).map_err(|error| not_as_agreed(text, &error))
}

/// Reads the `data` into a place.
pub(super) fn parse_with<'d>(
    data: Option<&'d RawValue>,
    place: impl DeserializeSeed<'d, Value = ()>,
) -> Result<(), String> {
    let text = data.map_or("null", RawValue::get);
    let mut json = serde_json::Deserializer::from_str(text);
    place.deserialize(&mut json).map_err(|error| not_as_agreed(text, &error))
}

fn not_as_agreed(text: &str, error: &serde_json::Error) -> String {
    format!("data is not as agreed ({error}): {}", excerpt(text.as_bytes()))
}

#[derive(Deserialize)]
struct Exception {
    origin_index: usize,
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: Option<String>,
}

/// What became of each of `sent` records, in order: what is not an exception was created. The
/// lists may be `null`, and what `created` and `repeated` say is not reliable.
pub(super) fn created_many(
    data: Option<&RawValue>,
    sent: usize,
) -> Result<Vec<Result<(), CmdbError>>, String> {
    let lists: BTreeMap<String, Box<RawValue>> = parse(data)?;
    if !lists.contains_key("created") && !lists.contains_key("exception") {
        return Err("data has neither created nor exception".to_owned());
    }
    let exceptions: Option<Vec<Exception>> = parse(lists.get("exception").map(|list| &**list))?;
    let mut outcomes: Vec<Result<(), CmdbError>> = (0..sent).map(|_| Ok(())).collect();
    for exception in exceptions.unwrap_or_default() {
        let index = exception.origin_index;
        match outcomes.get_mut(index) {
            Some(outcome @ Ok(())) => {
                let words = exception.message.unwrap_or_default();
                *outcome = Err(classify(exception.code, excerpt(words.as_bytes())));
            }
            Some(Err(_)) => return Err(format!("two exceptions have the origin_index {index}")),
            None => return Err(format!("an exception has the origin_index {index} of {sent} records")),
        }
    }
    Ok(outcomes)
}

#[derive(Deserialize)]
struct Deleted {
    deleted_count: u64,
}

/// How many records a delete removed.
pub(super) fn deleted(data: Option<&RawValue>) -> Result<u64, String> {
    parse::<Deleted>(data).map(|deleted| deleted.deleted_count)
}

/// One page of a cluster's records after `after_pod_id`, at most `limit` of them; `on_record` gets
/// each that has a uuid. After an error what it got is void.
///
/// A server that ignores the filter or the order would make us skip records, or take another
/// cluster's for ours: such a page is no page.
pub(super) fn page(
    data: Option<&RawValue>,
    (biz, cluster): (i64, &str),
    after_pod_id: i64,
    limit: u32,
    on_record: &mut dyn FnMut(&StoredRecord),
) -> Result<Page, String> {
    let mut last = after_pod_id;
    let mut unusable = Unusable::default();
    let (count, records) = found(data, &mut |wire| {
        if wire.stored.cluster != cluster {
            let other = excerpt(wire.stored.cluster.as_bytes());
            return Err(format!("a record of cluster \"{other}\" in a list of {cluster}"));
        }
        let stored = stored(wire, biz)?;
        if stored.pod_id <= last {
            return Err(format!("bk_pod_id {} comes after {last}, although sorted by it", stored.pod_id));
        }
        last = stored.pod_id;
        match stored.record.uuid.is_empty() {
            true => unusable.add(stored),
            false => on_record(stored),
        }
        Ok(())
    })?;
    // A front end may cap a page below the asked limit, so a short page alone is not the end. A
    // full one never is: the count could be that of the page.
    let complete = records == 0 || (count == Some(records) && records < limit as usize);
    Ok(Page { records, unusable, next: if complete { None } else { Some(last) } })
}

/// The first record that is what was asked for; `None`: there is none.
pub(super) fn one(
    data: Option<&RawValue>,
    biz: i64,
    wanted: impl Fn(&StoredRecord) -> bool,
) -> Result<Option<StoredRecord>, String> {
    let mut first = None;
    found(data, &mut |wire| {
        if first.is_none() {
            let record = stored(wire, biz)?;
            if !wanted(record) {
                return Err("a record that was not asked for".to_owned());
            }
            first = Some(record.clone());
        }
        Ok(())
    })?;
    Ok(first)
}

/// A record of a list in business `biz`.
fn stored(wire: &mut WireRecord, biz: i64) -> Result<&StoredRecord, String> {
    wire.stored.pod_id = wire.pod_id.ok_or("a record without bk_pod_id")?;
    wire.stored.biz = biz;
    match wire.biz {
        Some(other) if other != biz => Err(format!("a record of business {other} in a list of {biz}")),
        _ => Ok(&wire.stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn outcomes(json: &str, sent: usize) -> Result<Vec<String>, String> {
        let show = |outcome: Result<(), CmdbError>| outcome.map_or_else(|e| e.to_string(), |()| "ok".into());
        created_many(Some(&raw(json)), sent).map(|list| list.into_iter().map(show).collect())
    }

    #[test]
    fn create_many_trusts_the_index_of_exceptions_only() {
        let json = r#"{"created":[{"origin_index":0,"id":18},{"origin_index":0,"id":19}],"repeated":null,
            "exception":[{"message":"dup","code":1199014,"data":{},"origin_index":1}]}"#;
        let outcome = outcomes(json, 3).unwrap();
        assert_eq!(outcome, ["ok", "CMDB: duplicate: dup", "ok"]);
        assert_eq!(outcomes(r#"{"created":null,"exception":null}"#, 1).unwrap(), ["ok"]);
    }

    #[test]
    fn a_create_many_answer_that_contradicts_itself_tells_nothing() {
        let check = |json: &str| assert!(outcomes(json, 2).is_err(), "{json}");
        check(r#"{"exception":[{"code":1199014,"origin_index":2}]}"#);
        check(r#"{"exception":[{"code":1199014,"origin_index":-1}]}"#);
        check(r#"{"exception":[{"code":1199014}]}"#);
        check(r#"{"exception":[{"code":1,"origin_index":0},{"code":1,"origin_index":0}]}"#);
        check(r#"{"exception":{}}"#);
        check("{}");
        check("null");
        check("[]");
        check("\"x\"");
    }

    fn list(json: &str) -> Result<(Page, Vec<i64>), String> {
        let mut ids = Vec::new();
        let page = page(Some(&raw(json)), (2, "C"), 10, 3, &mut |stored| ids.push(stored.pod_id))?;
        Ok((page, ids))
    }

    fn info(ids: &[i64]) -> String {
        let records = ids.iter().map(|id| {
            format!(r#"{{"bk_pod_id":{id},"bk_biz_id":2,"bk_pod_cluster":"C","bk_pod_uuid":"u{id}"}}"#)
        });
        records.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_listing_ends_where_the_count_and_the_page_agree() {
        let check = |count: &str, ids: &[i64], next: Option<i64>| {
            let json = format!(r#"{{"count":{count},"info":[{}]}}"#, info(ids));
            assert_eq!(list(&json).unwrap().0.next, next, "{json}");
        };
        check("0", &[], None);
        check("2", &[11, 12], None);
        check("9", &[11, 12], Some(12));
        check("null", &[11, 12], Some(12));
        check("0", &[11], Some(11));
        check("3", &[11, 12, 13], Some(13));
        assert_eq!(list(r#"{"count":0,"info":null}"#).unwrap().0.next, None);
    }

    #[test]
    fn a_page_that_ignores_the_question_is_refused() {
        let check = |records: &str, reason: &str| {
            let error = list(&format!(r#"{{"count":9,"info":[{records}]}}"#)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        };
        check(&info(&[10]), "comes after 10");
        check(&info(&[12, 11]), "comes after 12");
        check(&info(&[11, 11]), "comes after 11");
        check(r#"{"bk_pod_id":11,"bk_pod_cluster":"D","bk_pod_uuid":"u"}"#, "cluster \"D\"");
        check(r#"{"bk_pod_id":11,"bk_pod_uuid":"u"}"#, "cluster \"\"");
        check(r#"{"bk_pod_id":11,"bk_biz_id":3,"bk_pod_cluster":"C","bk_pod_uuid":"u"}"#, "business 3");
        check(r#"{"bk_pod_cluster":"C","bk_pod_uuid":"u"}"#, "without bk_pod_id");
        check("7", "not as agreed");
        for json in
            ["null", "[]", "{}", r#"{"info":{}}"#, r#"{"count":"x","info":[]}"#, r#"{"count":1,"info":[]}"#]
        {
            assert!(list(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_record_without_uuid_is_counted_and_passed_over() {
        let json = format!(
            r#"{{"count":2,"info":[{},{{"bk_pod_id":12,"bk_pod_cluster":"C","bk_pod_namespace":"ns","bk_pod_uuid":[7]}}]}}"#,
            info(&[11])
        );
        let (page, ids) = list(&json).unwrap();
        assert_eq!((page.records, page.unusable.count, ids), (2, 1, vec![11]));
        assert_eq!(page.unusable.first, ["bk_pod_id 12 (ns/)"]);
    }

    #[test]
    fn a_search_returns_what_was_asked_for_or_nothing() {
        let search = |json: &str| one(Some(&raw(json)), 2, |stored| stored.record.uuid == "u11");
        assert_eq!(search(r#"{"count":0,"info":[]}"#), Ok(None));
        assert_eq!(search(r#"{"count":0,"info":null}"#), Ok(None));
        let hit = search(&format!(r#"{{"count":1,"info":[{}]}}"#, info(&[11])));
        assert_eq!(hit.unwrap().unwrap().pod_id, 11);
        assert!(search(&format!(r#"{{"count":1,"info":[{}]}}"#, info(&[12]))).is_err());
        assert!(one(None, 2, |_| true).is_err());
    }

    #[test]
    fn a_delete_says_how_many() {
        assert_eq!(deleted(Some(&raw(r#"{"deleted_count":1}"#))), Ok(1));
        for json in ["{}", r#"{"deleted_count":-1}"#, r#"{"deleted_count":"1"}"#, "null"] {
            assert!(deleted(Some(&raw(json))).is_err(), "{json}");
        }
    }
}
