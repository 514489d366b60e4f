//! The calls of protocol.md 2 over HTTP: routes, headers, envelope.
//!
//! Takes a request apart, has it judged by `rules` and `filter`, carried out by the store, and
//! wraps the outcome. Both prefixes, `/api/v3` and `/container/v3`, lead to the same calls.

use super::calls::{self, ListCall};
use super::codes::{self, Fault};
use super::metrics::Metrics;
use super::rules::Rules;
use super::store::{FenceToken, ListQuery, Scope, Store};
use super::topology::{Business, Caller, Topology};
use super::watch::{Watch, Watches};
use super::{fields, filter, openapi};
use crate::front::{Handler, Request, Response};
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// The prefixes calls may have.
const PREFIXES: [&str; 2] = ["/api/v3", "/container/v3"];

/// The API: what `front` hands requests to.
pub struct Api {
    store: Arc<Store>,
    topology: Topology,
    rules: Rules,
    users: Vec<String>,
    watches: Watches,
    metrics: Metrics,
}

/// A call, as its path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Pods(PodCall),
    Topology,
    Watch,
}

/// The calls about the pods of one business; all have a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodCall {
    Create,
    CreateMany,
    Update,
    Delete,
    List,
}

/// One path.
struct Route {
    call: Call,
    endpoint: Endpoint,
}

/// What the outside knows of a call.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Name in the metrics and in the OpenAPI document.
    pub operation: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path after the prefix; `{}` stands for the business.
    pub path: &'static str,
}

const fn route(call: Call, operation: &'static str, method: &'static str, path: &'static str) -> Route {
    Route { call, endpoint: Endpoint { operation, method, path } }
}

const ROUTES: [Route; 7] = [
    route(Call::Pods(PodCall::Create), "create", "POST", "/create/container/bk_biz_id/{}/pod"),
    route(Call::Pods(PodCall::CreateMany), "create_many", "POST", "/createmany/container/bk_biz_id/{}/pod"),
    route(Call::Pods(PodCall::Update), "update", "PUT", "/update/container/bk_biz_id/{}/pod"),
    route(Call::Pods(PodCall::Delete), "delete", "DELETE", "/delete/container/bk_biz_id/{}/pod"),
    route(Call::Pods(PodCall::List), "list", "POST", "/findmany/container/bk_biz_id/{}/pod"),
    route(Call::Topology, "topology", "POST", "/find/topoinst_with_statistics/biz/{}"),
    route(Call::Watch, "watch", "GET", "/watch/pods"),
];

/// The route a path takes, and the text in the place of the business.
fn find_route(path: &str) -> Option<(&'static Route, &str)> {
    let path = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    ROUTES.iter().find_map(|route| {
        let Some((before, after)) = route.endpoint.path.split_once("{}") else {
            return (path == route.endpoint.path).then_some((route, ""));
        };
        let biz = path.strip_prefix(before)?.strip_suffix(after)?;
        (!biz.contains('/')).then_some((route, biz))
    })
}

impl Handler for Api {
    fn handle(&self, request: Request) -> Response {
        let path = request.path.trim_end_matches('/');
        if path == "/healthz" {
            return self.health(&request);
        }
        if path == "/openapi.json" {
            let endpoints = ROUTES.map(|route| route.endpoint);
            return Response::json(200, &openapi::document(&endpoints, &PREFIXES));
        }
        let Some((route, biz)) = find_route(path) else {
            return envelope(Err(Fault::new(codes::INVALID, "there is no such path").with_status(404)));
        };
        if request.method != route.endpoint.method {
            return wrong_method(route.endpoint.method);
        }
        let begin = Instant::now();
        let (response, code) = match self.call(route.call, biz, &request) {
            Ok(response) => (response, 0),
            Err(fault) => {
                let code = fault.code;
                (envelope(Err(fault)), code)
            }
        };
        self.metrics.count(route.endpoint.operation, code, begin.elapsed());
        response
    }
}

impl Api {
    /// An API over an open store. `users`: accepted `BK_User` values, empty for any.
    pub fn new(
        store: Arc<Store>,
        topology: Topology,
        rules: Rules,
        users: Vec<String>,
        metrics: Metrics,
    ) -> Self {
        let watches = Watches::new(store.clone());
        Self { store, topology, rules, users, watches, metrics }
    }

    fn call(&self, call: Call, biz: &str, request: &Request) -> Result<Response, Fault> {
        let caller = self.caller(request)?;
        let data = match call {
            Call::Watch => return self.watches.answer(caller.account, Watch::parse(&request.query)?),
            Call::Topology => self.tree(business_id(biz)?, &caller)?,
            Call::Pods(call) => self.pods(call, business_id(biz)?, &caller, request)?,
        };
        Ok(envelope(Ok(data)))
    }

    fn pods(&self, call: PodCall, biz: i64, caller: &Caller, request: &Request) -> Result<Value, Fault> {
        let fence = fence(request)?;
        let body = calls::body(&request.body)?;
        let scope = Scope { account: caller.account.clone(), biz };
        match call {
            PodCall::Create => self.create(caller, &scope, fence, &body),
            PodCall::CreateMany => self.create_many(caller, &scope, fence, &body),
            PodCall::Update => self.update(caller, &scope, fence, &body),
            PodCall::Delete => self.delete(&scope, fence, &body),
            PodCall::List => self.list(caller, scope, &body),
        }
    }

    /// User and supplier account; both must be there, and the user must be one of `users`.
    fn caller(&self, request: &Request) -> Result<Caller, Fault> {
        let header = |name: &str| {
            let value = request.header(&name.to_ascii_lowercase()).map(str::trim).unwrap_or_default();
            if value.is_empty() {
                return Err(Fault::new(codes::HEADERS, format!("header {name} must be set")).with_status(500));
            }
            Ok(value.to_owned())
        };
        let user = header("BK_User")?;
        header("HTTP_BLUEKING_SUPPLIER_ID")?;
        let account = header("HTTP_BK_SUPPLIER_ACCOUNT")?;
        if !self.users.is_empty() && !self.users.contains(&user) {
            return Err(Fault::new(codes::PERMISSION, format!("user {user:?} may not use this server")));
        }
        Ok(Caller { user, account })
    }

    fn create(
        &self,
        caller: &Caller,
        scope: &Scope,
        fence: Option<FenceToken>,
        body: &Value,
    ) -> Result<Value, Fault> {
        let pod = calls::object(body, "pod")?;
        self.check_module(scope.biz, caller, Rules::module_id(pod)?)?;
        let row = self.rules.record(scope.biz, pod)?;
        let outcome = self.store.create(scope, fence, vec![row])?.pop();
        let id = outcome.ok_or_else(|| Fault::new(codes::INSERT_FAILED, "nothing was created"))??;
        Ok(json!({"created": {"origin_index": 0, "id": id}}))
    }

    /// Partial: each item has its own outcome. Only a module that does not exist, or cannot be
    /// looked up, fails the whole call.
    fn create_many(
        &self,
        caller: &Caller,
        scope: &Scope,
        fence: Option<FenceToken>,
        body: &Value,
    ) -> Result<Value, Fault> {
        let pods = calls::pod_list(body)?;
        let business = self.business(scope.biz, caller)?;
        let mut rows = Vec::with_capacity(pods.len());
        let mut origins = Vec::with_capacity(pods.len());
        let mut exceptions = Vec::new();
        for (index, pod) in pods.iter().enumerate() {
            let module = calls::item(pod).and_then(|pod| Ok((pod, Rules::module_id(pod)?)));
            let checked = module.and_then(|(pod, module)| {
                if business.as_ref().is_none_or(|business| !business.has_module(module)) {
                    return Err(Fault::new(codes::MODULE_QUERY, no_module(module, scope.biz)));
                }
                self.rules.record(scope.biz, pod)
            });
            match checked {
                Ok(row) => {
                    rows.push(row);
                    origins.push(index);
                }
                Err(fault) if fault.code == codes::MODULE_QUERY => return Err(fault),
                Err(fault) => exceptions.push((index, fault)),
            }
        }
        let outcomes = if rows.is_empty() { Vec::new() } else { self.store.create(scope, fence, rows)? };
        let mut created = Vec::new();
        for (index, outcome) in origins.into_iter().zip(outcomes) {
            match outcome {
                Ok(id) => created.push(json!({"origin_index": index, "id": id})),
                Err(fault) => exceptions.push((index, fault)),
            }
        }
        exceptions.sort_by_key(|(index, _)| *index);
        let exceptions: Vec<_> = exceptions
            .into_iter()
            .map(|(index, fault)| {
                json!({"message": fault.message, "code": fault.code, "data": pods[index], "origin_index": index})
            })
            .collect();
        Ok(json!({"created": created, "repeated": [], "exception": exceptions}))
    }

    fn update(
        &self,
        caller: &Caller,
        scope: &Scope,
        fence: Option<FenceToken>,
        body: &Value,
    ) -> Result<Value, Fault> {
        let condition = filter::equalities(Rules::condition(calls::object(body, "condition")?)?)?;
        let changes = self.rules.changes(calls::object(body, "data")?)?;
        let module = fields::position("bk_module_id");
        if let Some((_, Cell::Integer(id))) = changes.iter().find(|(at, _)| Some(*at) == module) {
            self.check_module(scope.biz, caller, *id)?;
        }
        match self.store.update(scope, fence, condition, changes)? {
            0 => Err(Fault::new(codes::NOT_FOUND, "no pod of this business meets the condition")),
            count => Ok(json!({"updated_count": count})),
        }
    }

    fn delete(&self, scope: &Scope, fence: Option<FenceToken>, body: &Value) -> Result<Value, Fault> {
        let condition = filter::equalities(Rules::condition(calls::object(body, "condition")?)?)?;
        Ok(json!({"deleted_count": self.store.delete(scope, fence, condition)?}))
    }

    fn list(&self, caller: &Caller, scope: Scope, body: &Value) -> Result<Value, Fault> {
        let call = ListCall::parse(body)?;
        let mut selection = filter::filter(&call.filter)?;
        let modules = match call.set_ids.is_empty() {
            true => (!call.module_ids.is_empty()).then_some(call.module_ids),
            false => {
                let business = self.business(scope.biz, caller)?;
                Some(business.map(|business| business.modules_of(&call.set_ids)).unwrap_or_default())
            }
        };
        if let Some(modules) = modules {
            selection.push(" AND ", []);
            selection.push_in("bk_module_id", modules.into_iter().map(Cell::Integer));
        }
        let query = ListQuery {
            scope,
            filter: selection,
            columns: filter::projection(&call.fields)?,
            order: filter::order(&call.sort)?,
            start: call.start,
            limit: call.limit,
        };
        let page = self.store.list(&query)?;
        Ok(json!(page))
    }

    fn tree(&self, biz: i64, caller: &Caller) -> Result<Value, Fault> {
        match self.business(biz, caller)? {
            Some(business) => Ok(json!(business.tree())),
            None => Err(Fault::new(codes::NOT_FOUND, format!("there is no business {biz}"))),
        }
    }

    fn check_module(&self, biz: i64, caller: &Caller, module: i64) -> Result<(), Fault> {
        match self.business(biz, caller)? {
            Some(business) if business.has_module(module) => Ok(()),
            _ => Err(Fault::new(codes::MODULE, no_module(module, biz))),
        }
    }

    fn business(&self, biz: i64, caller: &Caller) -> Result<Option<Arc<Business>>, Fault> {
        let answer = self.topology.business(biz, caller);
        answer.map_err(|error| Fault::new(codes::MODULE_QUERY, error.to_string()))
    }

    /// 200 while records can be read and written; old topology is a problem but no failure.
    fn health(&self, request: &Request) -> Response {
        if request.method != "GET" && request.method != "HEAD" {
            return wrong_method("GET");
        }
        let failure = self.store.check().err().map(|fault| fault.to_string());
        let ok = failure.is_none();
        let problems: Vec<_> = failure.into_iter().chain(self.topology.problem()).collect();
        Response::json(if ok { 200 } else { 503 }, &json!({"ok": ok, "problems": problems}))
    }
}

fn wrong_method(method: &str) -> Response {
    let fault = Fault::new(codes::INVALID, format!("this path takes {method}")).with_status(405);
    let mut response = envelope(Err(fault));
    response.headers.push(("Allow", method.to_owned()));
    response
}

fn business_id(text: &str) -> Result<i64, Fault> {
    let biz = text.parse().ok().filter(|biz| *biz > 0);
    biz.ok_or_else(|| Fault::new(codes::BAD_BUSINESS, "bk_biz_id in the path must be an integer above 0"))
}

fn no_module(module: i64, biz: i64) -> String {
    format!("bk_module_id {module} is no module of business {biz}")
}

/// `X-Bkcmdb-Fence: <cluster>:<number>` (design.md 4). Without it nothing is checked; one that
/// cannot be read is refused, since its sender counts on it.
fn fence(request: &Request) -> Result<Option<FenceToken>, Fault> {
    let Some(text) = request.header("x-bkcmdb-fence") else { return Ok(None) };
    let token = text.rsplit_once(':').and_then(|(cluster, number)| {
        let number = number.parse().ok().filter(|number: &i64| *number >= 0)?;
        (!cluster.is_empty()).then(|| FenceToken { cluster: cluster.to_owned(), number })
    });
    let refused = || Fault::new(codes::INVALID, "X-Bkcmdb-Fence must be <cluster>:<number>");
    token.map(Some).ok_or_else(refused)
}

/// The envelope every call answers with.
pub fn envelope_value(outcome: Result<Value, Fault>) -> Value {
    let (code, message, data) = match outcome {
        Ok(data) => (0, "success".to_owned(), data),
        Err(fault) => (fault.code, fault.message, Value::Null),
    };
    json!({"result": code == 0, "bk_error_code": code, "bk_error_msg": message, "permission": null, "data": data})
}

fn envelope(outcome: Result<Value, Fault>) -> Response {
    let status = outcome.as_ref().map_or_else(|fault| fault.status, |_| 200);
    Response::json(status, &envelope_value(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefixes_lead_to_the_same_calls() {
        for prefix in PREFIXES {
            for route in &ROUTES {
                let biz = if route.endpoint.path.contains("{}") { "2" } else { "" };
                let path = format!("{prefix}{}", route.endpoint.path.replace("{}", "2"));
                let found = find_route(&path).map(|(route, biz)| (route.call, biz));
                assert_eq!(found, Some((route.call, biz)), "{path}");
            }
        }
        for path in
            ["/create/container/bk_biz_id/2/pod", "/api/v3", "/api/v3/create/container/bk_biz_id/2/x/pod"]
        {
            assert!(find_route(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_fence_that_cannot_be_read_is_refused() {
        let check = |text: &str| {
            let headers = vec![("x-bkcmdb-fence".to_owned(), text.to_owned())];
            let peer = ([127, 0, 0, 1], 1).into();
            let request = Request {
                method: String::new(),
                path: String::new(),
                query: String::new(),
                headers,
                body: Vec::new(),
                peer,
            };
            fence(&request)
                .map(|token| token.map(|token| (token.cluster, token.number)))
                .map_err(|fault| fault.code)
        };
        assert_eq!(check("BCS-K8S-1:17"), Ok(Some(("BCS-K8S-1".to_owned(), 17))));
        assert_eq!(check("a:b:3"), Ok(Some(("a:b".to_owned(), 3))));
        for bad in ["", "17", ":17", "c:", "c:-1", "c:x", "c:99999999999999999999"] {
            assert_eq!(check(bad), Err(codes::INVALID), "{bad:?}");
        }
    }
}
