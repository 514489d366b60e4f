//! The bodies of the calls, from JSON to plain values. Pure.

use super::codes::{self, Fault};
use super::rules;
use serde_json::{Map, Value};

/// A body; it has to be a JSON object (1199000). The reader itself bounds its depth.
pub fn body(bytes: &[u8]) -> Result<Value, Fault> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err(Fault::new(codes::NOT_JSON, "the body must be a JSON object")),
        Err(error) => Err(Fault::new(codes::NOT_JSON, format!("the body is not JSON: {error}"))),
    }
}

/// A part of a body that must be an object.
pub fn object<'a>(body: &'a Value, name: &str) -> Result<&'a Map<String, Value>, Fault> {
    match body.get(name) {
        None | Some(Value::Null) => Err(Fault::new(codes::MISSING, format!("{name} must be in the body"))),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(Fault::new(codes::INVALID, format!("{name} must be an object"))),
    }
}

/// The pods of a create-many call: at least one.
pub fn pod_list(body: &Value) -> Result<&Vec<Value>, Fault> {
    match body.get("pod_list") {
        Some(Value::Array(pods)) if !pods.is_empty() => Ok(pods),
        None | Some(Value::Null | Value::Array(_)) => {
            Err(Fault::new(codes::MISSING, "pod_list must hold at least one pod"))
        }
        Some(_) => Err(Fault::new(codes::INVALID, "pod_list must be a list")),
    }
}

/// One pod of a create-many call.
pub fn item(pod: &Value) -> Result<&Map<String, Value>, Fault> {
    pod.as_object().ok_or_else(|| Fault::new(codes::INVALID, "a pod must be an object"))
}

/// A list call as the caller wrote it.
#[derive(Debug, Default, PartialEq)]
pub struct ListCall {
    /// `bk_set_ids`: wins over the modules.
    pub set_ids: Vec<i64>,
    /// `bk_module_ids`.
    pub module_ids: Vec<i64>,
    /// `pod_property_filter`, untouched.
    pub filter: Value,
    /// `fields`.
    pub fields: Vec<String>,
    /// `page.start`.
    pub start: u64,
    /// `page.limit`; 0: all.
    pub limit: u64,
    /// `page.sort`.
    pub sort: String,
}

impl ListCall {
    /// Takes the body apart. `bk_biz_id` in it says nothing: the one of the path counts.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let nothing = Value::Null;
        let page = match body.get("page") {
            None | Some(Value::Null) => &nothing,
            Some(page @ Value::Object(_)) => page,
            Some(_) => return Err(Fault::new(codes::INVALID, "page must be an object")),
        };
        Ok(Self {
            set_ids: list(body, "bk_set_ids", "integers", Value::as_i64)?,
            module_ids: list(body, "bk_module_ids", "integers", Value::as_i64)?,
            filter: body.get("pod_property_filter").cloned().unwrap_or_default(),
            fields: list(body, "fields", "strings", |value| value.as_str().map(str::to_owned))?,
            start: number(page, "start")?,
            limit: number(page, "limit")?,
            sort: match page.get("sort") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(sort)) => sort.clone(),
                Some(_) => return Err(Fault::new(codes::NEED_STRING, "page.sort must be a string")),
            },
        })
    }
}

/// Items a list in a list call may have.
const ITEMS: usize = 10_000;

fn list<T>(body: &Value, name: &str, of: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Fault> {
    let refused = || Fault::new(codes::INVALID, format!("{name} must be a list of {of}, at most {ITEMS}"));
    match body.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= ITEMS => {
            items.iter().map(|item| read(item).ok_or_else(refused)).collect()
        }
        Some(_) => Err(refused()),
    }
}

fn number(page: &Value, name: &str) -> Result<u64, Fault> {
    match page.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number
            .as_u64()
            .ok_or_else(|| Fault::new(codes::INVALID, format!("page.{name} must not be below 0"))),
        Some(_) => Err(rules::need_int(&format!("page.{name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_is_a_json_object() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for bad in
            [b"".as_slice(), b"{", b"[]", b"null", b"5", b"{\"a\":\"\xff\"}", b"<html>", deep.as_bytes()]
        {
            assert_eq!(body(bad).unwrap_err().code, codes::NOT_JSON);
        }
        assert!(body(b" {} ").is_ok());
    }

    #[test]
    fn what_is_missing_and_what_is_of_another_type_differ() {
        for (document, code) in [
            (json!({}), codes::MISSING),
            (json!({"pod": null}), codes::MISSING),
            (json!({"pod": []}), codes::INVALID),
        ] {
            assert_eq!(object(&document, "pod").unwrap_err().code, code, "{document}");
        }
        for (document, code) in [
            (json!({}), codes::MISSING),
            (json!({"pod_list": []}), codes::MISSING),
            (json!({"pod_list": null}), codes::MISSING),
            (json!({"pod_list": {}}), codes::INVALID),
        ] {
            assert_eq!(pod_list(&document).unwrap_err().code, code, "{document}");
        }
    }

    #[test]
    fn a_list_call_may_leave_everything_out() {
        assert_eq!(ListCall::parse(&json!({})), Ok(ListCall::default()));
        let nulls = json!({"bk_set_ids": null, "bk_module_ids": null, "fields": null, "page": null,
            "pod_property_filter": null});
        assert_eq!(ListCall::parse(&nulls), Ok(ListCall::default()));
    }

    #[test]
    fn a_list_call_of_wrong_types_is_refused() {
        for (document, code) in [
            (json!({"bk_set_ids": 5}), codes::INVALID),
            (json!({"bk_module_ids": ["1"]}), codes::INVALID),
            (json!({"bk_module_ids": vec![1; ITEMS + 1]}), codes::INVALID),
            (json!({"fields": [1]}), codes::INVALID),
            (json!({"page": 1}), codes::INVALID),
            (json!({"page": {"start": -1}}), codes::INVALID),
            (json!({"page": {"limit": "5"}}), codes::NEED_INT),
            (json!({"page": {"limit": 1.5}}), codes::NEED_INT),
            (json!({"page": {"sort": 1}}), codes::NEED_STRING),
        ] {
            assert_eq!(ListCall::parse(&document).unwrap_err().code, code, "{document}");
        }
    }
}
