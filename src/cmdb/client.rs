//! The calls, over HTTP.

use super::body::{Changes, Condition, Create, CreateMany, Delete, Find, Nothing, Pod, Rule, Update};
use super::envelope::{self, Intent};
use super::pace::Pace;
use super::record::StoredRecord;
use super::{CmdbError, answer, topology};
use crate::config::BaseUrl;
use crate::http::{self, HttpError, Method, Outcome, Request, RequestStats};
use crate::model::{Fence, Field, Modules, Permit, PodRecord};
use crate::pulse;
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Longest answer that is read: a page of 500 records at 10 KiB is 5 MiB.
const MAX_ANSWER: u64 = 64 << 20;
/// Longest sleep before the fence is asked again while `cmdb_qps` holds a request back.
const PACE_STEP: Duration = Duration::from_millis(20);

/// Settings of the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `BK_User`.
    pub user: String,
    /// Supplier, for both of its headers.
    pub supplier: String,
    /// Requests a second, all threads together; 0: no limit.
    pub qps: u32,
    /// Bound on one request.
    pub timeout: Duration,
    /// Records per list page.
    pub page_size: u32,
}

/// On whose behalf something is written.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The business.
    pub biz: i64,
    /// The cluster, `bk_pod_cluster`.
    pub cluster: &'a str,
    /// Whether this instance may write for it; asked before every request.
    pub fence: &'a dyn Fence,
}

/// What one page of a listing held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Records in it.
    pub records: usize,
    /// Records without a uuid among them: nothing can be done with those.
    pub unusable: Unusable,
    /// `after_pod_id` of the next page; `None`: this was the last one.
    pub next: Option<i64>,
}

/// Records of a listing that have no uuid, or none that is a text or a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusable {
    /// How many.
    pub count: usize,
    /// The first [`Unusable::NAMED`] of them, in words.
    pub first: Vec<String>,
}

impl Unusable {
    /// How many are named.
    pub const NAMED: usize = 3;

    /// One more.
    pub(super) fn add(&mut self, stored: &StoredRecord) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            let shown = |name: &str| http::excerpt(name.as_bytes());
            let (namespace, name) = (shown(&stored.record.namespace), shown(&stored.record.name));
            self.first.push(format!("bk_pod_id {} ({namespace}/{name})", stored.pod_id));
        }
    }

    /// Those of a further page.
    pub fn extend(&mut self, further: Self) {
        self.count += further.count;
        self.first.extend(further.first);
        self.first.truncate(Self::NAMED);
    }
}

/// Everything that is said to the CMDB. Cheap to clone; clones share connections and the limit.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: http::Client,
    /// Origin and prefix, without a slash at the end.
    base: String,
    settings: Settings,
    pace: RwLock<Arc<Pace>>,
    stats: Arc<RequestStats>,
}

/// One call: what it is counted as, where it goes, and who permits it.
struct Call<'a> {
    operation: &'static str,
    method: Method,
    path: String,
    fence: Option<&'a dyn Fence>,
}

impl Call<'_> {
    fn intent(&self) -> Intent {
        if self.fence.is_some() { Intent::Write } else { Intent::Read }
    }
}

impl Client {
    /// A client of the CMDB at `base`; nothing is sent yet.
    pub fn new(http: http::Client, base: BaseUrl, settings: Settings, stats: Arc<RequestStats>) -> Self {
        let pace = RwLock::new(Arc::new(Pace::new(settings.qps)));
        let base = base.origin + &base.prefix;
        Self { inner: Arc::new(Inner { http, base, settings, pace, stats }) }
    }

    /// Another limit from now on, for every clone.
    pub fn set_qps(&self, qps: u32) {
        *self.inner.pace.write() = Arc::new(Pace::new(qps));
    }

    /// Creates one record.
    ///
    /// # Errors
    /// Any [`CmdbError`] except [`CmdbError::NotFound`].
    pub fn create(&self, scope: &Scope<'_>, record: &PodRecord) -> Result<(), CmdbError> {
        let call = write("create", Method::Post, "create", scope);
        self.inner.exchange(&call, &Create { pod: pod(scope, record) }, |_| Ok(()))
    }

    /// Creates many records in one call, which is partial: the outcome of each, in order.
    ///
    /// # Errors
    /// An outer error speaks of the whole call; an unknown module of one record fails it for all.
    pub fn create_many(
        &self,
        scope: &Scope<'_>,
        records: &[&PodRecord],
    ) -> Result<Vec<Result<(), CmdbError>>, CmdbError> {
        // The CMDB takes an empty list for an error.
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let call = write("create_many", Method::Post, "createmany", scope);
        let pod_list = records.iter().map(|record| pod(scope, record)).collect();
        self.inner.exchange(&call, &CreateMany { pod_list }, |data| answer::created_many(data, records.len()))
    }

    /// Writes the named fields of a record that exists.
    ///
    /// # Errors
    /// [`CmdbError::NotFound`] where it does not, and any other but [`CmdbError::Duplicate`].
    pub fn update(
        &self,
        scope: &Scope<'_>,
        uuid: &str,
        record: &PodRecord,
        fields: &[Field],
    ) -> Result<(), CmdbError> {
        let condition = condition(scope, uuid)?;
        let call = write("update", Method::Put, "update", scope);
        self.inner.exchange(&call, &Update { condition, data: Changes { record, fields } }, |_| Ok(()))
    }

    /// Deletes a record; how many there were (0 or 1).
    ///
    /// # Errors
    /// Any [`CmdbError`] except [`CmdbError::NotFound`] and [`CmdbError::Duplicate`].
    pub fn delete(&self, scope: &Scope<'_>, uuid: &str) -> Result<u64, CmdbError> {
        let condition = condition(scope, uuid)?;
        let call = write("delete", Method::Delete, "delete", scope);
        self.inner.exchange(&call, &Delete { condition }, answer::deleted)
    }

    /// One page of a cluster's records in the order of `bk_pod_id`, after that id (0: from the
    /// start). Records are handed over once the whole page is known to be sound.
    ///
    /// # Errors
    /// [`CmdbError::Unreachable`] or [`CmdbError::Later`]: nothing is known about the cluster.
    pub fn list_page(
        &self,
        biz: i64,
        cluster: &str,
        after_pod_id: i64,
        on_record: &mut dyn FnMut(StoredRecord),
    ) -> Result<Page, CmdbError> {
        let mut records = Vec::new();
        let page = self.scan_page(biz, cluster, after_pod_id, &mut |stored| records.push(stored.clone()))?;
        records.into_iter().for_each(on_record);
        Ok(page)
    }

    /// The same without a copy of any record: each is shown as it is read, and all that was shown is
    /// void if the page turns out to be unsound.
    ///
    /// # Errors
    /// As [`Client::list_page`].
    pub fn scan_page(
        &self,
        biz: i64,
        cluster: &str,
        after_pod_id: i64,
        on_record: &mut dyn FnMut(&StoredRecord),
    ) -> Result<Page, CmdbError> {
        let rules = [Rule::equal("bk_pod_cluster", cluster), Rule::after(after_pod_id)];
        let limit = self.inner.settings.page_size.max(1);
        let read =
            |data: Option<&RawValue>| answer::page(data, (biz, cluster), after_pod_id, limit, on_record);
        self.find(biz, &rules, limit, read)
    }

    /// The record with that uuid in a business, of whatever cluster.
    ///
    /// # Errors
    /// As [`Client::list_page`].
    pub fn find_by_uuid(&self, biz: i64, uuid: &str) -> Result<Option<StoredRecord>, CmdbError> {
        let rules = [Rule::equal("bk_pod_uuid", uuid)];
        let wanted = |found: &StoredRecord| found.record.uuid == uuid;
        self.find(biz, &rules, 1, |data| answer::one(data, biz, wanted))
    }

    /// The record with that name in a cluster. Its uuid may be empty: another writer's.
    ///
    /// # Errors
    /// As [`Client::list_page`].
    pub fn find_by_name(
        &self,
        biz: i64,
        cluster: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<StoredRecord>, CmdbError> {
        let rules = [
            Rule::equal("bk_pod_name", name),
            Rule::equal("bk_pod_namespace", namespace),
            Rule::equal("bk_pod_cluster", cluster),
        ];
        let wanted = |found: &StoredRecord| {
            found.cluster == cluster && found.record.namespace == namespace && found.record.name == name
        };
        self.find(biz, &rules, 1, |data| answer::one(data, biz, wanted))
    }

    /// The modules of a business (protocol.md 3).
    ///
    /// # Errors
    /// As [`Client::list_page`].
    pub fn topology(&self, biz: i64) -> Result<Modules, CmdbError> {
        let path = format!("/find/topoinst_with_statistics/biz/{biz}");
        let call = Call { operation: "topology", method: Method::Post, path, fence: None };
        self.inner.exchange(&call, &Nothing {}, topology::modules)
    }

    fn find<T>(
        &self,
        biz: i64,
        rules: &[Rule<'_>],
        limit: u32,
        read: impl FnOnce(Option<&RawValue>) -> Result<T, String>,
    ) -> Result<T, CmdbError> {
        let path = format!("/findmany/container/bk_biz_id/{biz}/pod");
        let call = Call { operation: "list", method: Method::Post, path, fence: None };
        self.inner.exchange(&call, &Find::new(biz, rules, limit), read)
    }
}

fn write<'a>(operation: &'static str, method: Method, verb: &str, scope: &Scope<'a>) -> Call<'a> {
    let path = format!("/{verb}/container/bk_biz_id/{}/pod", scope.biz);
    Call { operation, method, path, fence: Some(scope.fence) }
}

fn pod<'a>(scope: &Scope<'a>, record: &'a PodRecord) -> Pod<'a> {
    Pod { biz: scope.biz, cluster: scope.cluster, record }
}

/// The condition of an update or a delete. An empty part could fit the records of others.
fn condition<'a>(scope: &Scope<'a>, uuid: &'a str) -> Result<Condition<'a>, CmdbError> {
    if uuid.is_empty() || scope.cluster.is_empty() {
        let message = "not sent: a condition needs the uuid and the cluster of the pod".to_owned();
        return Err(CmdbError::Refused { code: 1118403, message, field: None });
    }
    Ok(Condition { bk_pod_uuid: uuid, bk_pod_cluster: scope.cluster })
}

impl Inner {
    /// One request and its answer; `read` takes what it needs from `data`.
    fn exchange<T>(
        &self,
        call: &Call<'_>,
        body: &impl Serialize,
        read: impl FnOnce(Option<&RawValue>) -> Result<T, String>,
    ) -> Result<T, CmdbError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CmdbError::Later { code: 0, message: format!("not sent: {error}") })?;
        let permit = self.admit(call.fence)?;
        let started = Instant::now();
        let (outcome, result) = match self.transfer(call, &body, &permit) {
            Ok((status, answer)) => {
                let opened = envelope::open(status, &answer, call.intent());
                let result = opened
                    .and_then(|data| read(data).map_err(|reason| call.intent().unclear(status, &reason)));
                (outcome(&result), result)
            }
            Err(error) => {
                let outcome = if error.is_timeout() { Outcome::Timeout } else { Outcome::Error };
                (outcome, Err(no_answer(error, call.intent())))
            }
        };
        self.stats.record(call.operation, outcome, started.elapsed());
        result
    }

    /// Waits for its turn, and for nothing if the fence falls meanwhile: the permit is as fresh
    /// as can be when it returns.
    fn admit(&self, fence: Option<&dyn Fence>) -> Result<Permit, CmdbError> {
        loop {
            let permit = fence.map_or_else(|| Ok(Permit::default()), Fence::permit);
            let permit = permit.map_err(CmdbError::Fenced)?;
            if permit.remaining.is_some_and(|remaining| remaining.is_zero()) {
                return Err(CmdbError::Fenced("the lease has run out".to_owned()));
            }
            let pace = Arc::clone(&self.pace.read());
            match pace.take() {
                Ok(()) => return Ok(permit),
                Err(wait) => {
                    pulse::beat();
                    thread::sleep(wait.min(PACE_STEP));
                }
            }
        }
    }

    fn transfer(&self, call: &Call<'_>, body: &[u8], permit: &Permit) -> Result<(u16, Vec<u8>), HttpError> {
        let timeout = self.settings.timeout;
        let supplier = self.settings.supplier.as_str();
        let mut headers = vec![
            ("BK_User", self.settings.user.as_str()),
            ("HTTP_BLUEKING_SUPPLIER_ID", supplier),
            ("HTTP_BK_SUPPLIER_ACCOUNT", supplier),
            ("Content-Type", "application/json"),
        ];
        headers.extend(permit.header.as_deref().map(|fence| ("X-Bkcmdb-Fence", fence)));
        let url = format!("{}{}", self.base, call.path);
        let request = Request {
            method: call.method,
            url: &url,
            headers: &headers,
            body: Some(body),
            timeout: Some(permit.remaining.map_or(timeout, |remaining| remaining.min(timeout))),
            idle_timeout: None,
        };
        let response = self.http.send_before(permit.until, &request)?;
        Ok((response.status, response.bytes(MAX_ANSWER)?))
    }
}

/// What an exchange without an answer means.
fn no_answer(error: HttpError, intent: Intent) -> CmdbError {
    match intent {
        Intent::Write if error.maybe_delivered() => CmdbError::Ambiguous(error.to_string()),
        _ => CmdbError::Unreachable(error),
    }
}

/// What an answered call is counted as.
fn outcome<T>(result: &Result<T, CmdbError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Ok,
        Err(
            CmdbError::Refused { .. }
            | CmdbError::Duplicate { .. }
            | CmdbError::NotFound
            | CmdbError::Fenced(_),
        ) => Outcome::Refused,
        Err(_) => Outcome::Error,
    }
}
