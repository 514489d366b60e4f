//! All pod records of a business, read from the container server as any of its clients would.
//!
//! On purpose not through the synchronizer's own client: a judge who reads with the eyes of the
//! judged sees what they see.

use crate::http::{Client, Method, Request};
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;

/// Records per page; front ends of the CMDB cap pages at this.
const PAGE: usize = 500;
/// Bound on one page.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes one page may have.
const PAGE_BYTES: u64 = 64 << 20;

/// The records of `biz` at `url` (with its API prefix), in the order of `bk_pod_id`.
///
/// # Errors
/// In words, if any page could not be read: then nothing is known.
pub fn records(client: &Client, url: &str, biz: i64) -> Result<Vec<Value>, String> {
    let mut records = Vec::new();
    let mut last = 0;
    loop {
        let mut page = page(client, url, biz, last)?;
        let full = page.len() >= PAGE;
        last = page.last().map_or(last, |record| record["bk_pod_id"].as_i64().unwrap_or(last));
        records.append(&mut page);
        if !full {
            return Ok(records);
        }
    }
}

fn page(client: &Client, url: &str, biz: i64, last: i64) -> Result<Vec<Value>, String> {
    let after = json!({"field": "bk_pod_id", "operator": "greater", "value": last});
    let body = json!({"bk_biz_id": biz, "pod_property_filter": {"condition": "AND", "rules": [after]},
        "page": {"start": 0, "limit": PAGE, "sort": "bk_pod_id"}});
    let mut answer: Value = serde_json::from_slice(&post(client, url, biz, body.to_string().as_bytes())?)
        .map_err(|error| format!("the container server's answer is not JSON: {error}"))?;
    if answer["result"] != true {
        return Err(format!("the container server refuses to list: {}", answer["bk_error_msg"]));
    }
    match answer["data"]["info"].take() {
        Value::Array(records) => Ok(records),
        Value::Null => Ok(Vec::new()),
        _ => Err("the container server's list is not a list".to_owned()),
    }
}

fn post(client: &Client, url: &str, biz: i64, body: &[u8]) -> Result<Vec<u8>, String> {
    let url = format!("{url}/findmany/container/bk_biz_id/{biz}/pod");
    let headers = [
        ("Content-Type", "application/json"),
        ("BK_User", super::world::USER),
        ("HTTP_BLUEKING_SUPPLIER_ID", super::world::SUPPLIER),
        ("HTTP_BK_SUPPLIER_ACCOUNT", super::world::SUPPLIER),
    ];
    let request = Request {
        method: Method::Post,
        url: &url,
        headers: &headers,
        body: Some(body),
        timeout: Some(TIMEOUT),
        idle_timeout: None,
    };
    let response = client.send(&request).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    response.body.take(PAGE_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
