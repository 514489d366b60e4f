//! The calls of protocol.md 2 over HTTP: routes, headers, envelope.
//!
//! Takes a request apart, has it judged by `rules` and `filter`, carried out by the store, and
//! wraps the outcome. Both prefixes, `/api/v3` and `/container/v3`, lead to the same calls.

mod envelope;
mod reads;
mod routes;
mod writes;

pub use envelope::{SUCCESS, envelope_value};
pub use routes::Endpoint;

use super::answer::Answers;
use super::calls;
use super::codes::{self, Fault};
use super::metrics::Metrics;
use super::openapi;
use super::rules::Rules;
use super::store::{FenceToken, Scope, Store};
use super::topology::{Caller, Topology};
use super::watch::{Watch, Watches};
use crate::front::{Handler, Request, Response};
use envelope::{envelope, wrong_method};
use routes::{Call, PREFIXES, ROUTES, WriteCall, find_route};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// The API: what `front` hands requests to.
pub struct Api {
    store: Arc<Store>,
    topology: Topology,
    rules: Rules,
    users: Vec<String>,
    watches: Watches,
    answers: Answers,
    metrics: Metrics,
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
    /// An API over an open store. `users`: accepted `BK_User` values, empty for any; `answers`
    /// keeps those that are long.
    pub fn new(
        store: Arc<Store>,
        topology: Topology,
        rules: Rules,
        users: Vec<String>,
        answers: Answers,
        metrics: Metrics,
    ) -> Self {
        let watches = Watches::new(store.clone());
        Self { store, topology, rules, users, watches, answers, metrics }
    }

    fn call(&self, call: Call, biz: &str, request: &Request) -> Result<Response, Fault> {
        let caller = self.caller(request)?;
        let data = match call {
            Call::Watch => return self.watches.answer(caller.account, Watch::parse(&request.query)?),
            Call::Topology => self.tree(business_id(biz)?, &caller)?,
            Call::List => return self.list(&caller, business_id(biz)?, &calls::body(&request.body)?),
            Call::Write(call) => self.write(call, business_id(biz)?, &caller, request)?,
        };
        Ok(envelope(Ok(data)))
    }

    fn write(&self, call: WriteCall, biz: i64, caller: &Caller, request: &Request) -> Result<Value, Fault> {
        let scope = Scope { account: caller.account.clone(), biz };
        let fence = fence(request)?;
        let written = calls::body(&request.body).and_then(|body| match call {
            WriteCall::Create => self.create(caller, &scope, fence.clone(), &body),
            WriteCall::CreateMany => self.create_many(caller, &scope, fence.clone(), &body),
            WriteCall::Update => self.update(caller, &scope, fence.clone(), &body),
            WriteCall::Delete => self.delete(&scope, fence.clone(), &body),
        });
        match (&written, fence) {
            // Refused before the store saw it: the fence holds all the same, and its number has been seen.
            (Err(fault), Some(fence)) if fault.code != codes::FENCED => self.store.fence(&scope, fence)?,
            _ => {}
        }
        written
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

#[cfg(test)]
mod tests {
    use super::*;

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
