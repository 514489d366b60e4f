//! The topology as the CMDB tells it (protocol.md 3), cached.
//!
//! One fetch per business at a time: who comes while it runs waits for it and shares it. A failure
//! is not kept.

use super::business::Node;
use super::{Business, Caller, TopologyError};
use crate::config::{BaseUrl, TlsFiles};
use crate::http::{self, Client, Method, Options, Request};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer is believed.
const AGE: Duration = Duration::from_secs(60);
/// Bound on one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read at most.
const ANSWER_LIMIT: u64 = 64 * 1024 * 1024;
/// Businesses kept. A caller chooses the number in the path, so there must be a bound; above it
/// the cache starts again.
const BUSINESSES: usize = 4096;
/// Connections kept to the CMDB.
const CONNECTIONS: usize = 4;

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    result: bool,
    #[serde(default)]
    bk_error_code: i64,
    #[serde(default)]
    bk_error_msg: String,
    #[serde(default)]
    data: Option<Vec<Node>>,
}

type Slot = Arc<Mutex<Option<(Instant, Arc<Business>)>>>;

/// The CMDB behind a cache.
pub struct CmdbTopology {
    base: BaseUrl,
    http: Client,
    slots: Mutex<HashMap<(String, i64), Slot>>,
}

impl CmdbTopology {
    /// Nothing is asked yet.
    pub fn new(base: BaseUrl) -> Result<Self, TopologyError> {
        let tls = match base.origin.starts_with("https://") {
            true => Some(http::tls::client_config(&TlsFiles::default(), true)?),
            false => None,
        };
        let http = Client::new(&Options {
            tls,
            idle_connections: CONNECTIONS,
            connect_timeout: TIMEOUT,
            identity: false,
        });
        Ok(Self { base, http, slots: Mutex::default() })
    }

    /// A business, at most a minute old.
    pub fn business(&self, biz: i64, caller: &Caller) -> Result<Arc<Business>, TopologyError> {
        let slot = self.slot(biz, caller);
        let mut cached = slot.lock();
        if let Some((at, business)) = cached.as_ref()
            && at.elapsed() < AGE
        {
            return Ok(business.clone());
        }
        let business =
            self.fetch(biz, caller).map(Arc::new).map_err(|reason| TopologyError::Cmdb { biz, reason })?;
        *cached = Some((Instant::now(), business.clone()));
        Ok(business)
    }

    fn slot(&self, biz: i64, caller: &Caller) -> Slot {
        let mut slots = self.slots.lock();
        let key = (caller.account.clone(), biz);
        if slots.len() >= BUSINESSES && !slots.contains_key(&key) {
            slots.clear();
        }
        slots.entry(key).or_default().clone()
    }

    fn fetch(&self, biz: i64, caller: &Caller) -> Result<Business, String> {
        let url = format!("{}{}/find/topoinst_with_statistics/biz/{biz}", self.base.origin, self.base.prefix);
        let headers = [
            ("BK_User", caller.user.as_str()),
            ("HTTP_BLUEKING_SUPPLIER_ID", caller.account.as_str()),
            ("HTTP_BK_SUPPLIER_ACCOUNT", caller.account.as_str()),
            ("Content-Type", "application/json"),
        ];
        let request = Request {
            method: Method::Post,
            url: &url,
            headers: &headers,
            body: Some(b"{}"),
            timeout: Some(TIMEOUT),
            idle_timeout: None,
        };
        let response = self.http.send(&request).map_err(|error| error.to_string())?;
        let status = response.status;
        let body = response.bytes(ANSWER_LIMIT).map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("HTTP {status}"));
        }
        let envelope: Envelope =
            serde_json::from_slice(&body).map_err(|error| format!("not the CMDB's envelope: {error}"))?;
        if !envelope.result || envelope.bk_error_code != 0 {
            return Err(format!("code {}: {}", envelope.bk_error_code, envelope.bk_error_msg));
        }
        Ok(Business::new(envelope.data.unwrap_or_default()))
    }
}
