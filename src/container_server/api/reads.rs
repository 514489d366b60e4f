//! The calls that read: lists, the topology, and how the server is.

use super::envelope::wrong_method;
use super::{Api, no_module};
use crate::container_server::calls::ListCall;
use crate::container_server::codes::{self, Fault};
use crate::container_server::filter;
use crate::container_server::store::{ListQuery, Scope};
use crate::container_server::topology::{Business, Caller};
use crate::front::{Request, Response};
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use std::sync::Arc;

impl Api {
    /// Records by filter, as the whole answer: it may be long.
    pub(super) fn list(&self, caller: &Caller, biz: i64, body: &Value) -> Result<Response, Fault> {
        let call = ListCall::parse(body)?;
        let mut selection = filter::filter(&call.filter)?;
        let modules = match call.set_ids.is_empty() {
            true => (!call.module_ids.is_empty()).then_some(call.module_ids),
            false => {
                let business = self.business(biz, caller, &[])?;
                Some(business.map(|business| business.modules_of(&call.set_ids)).unwrap_or_default())
            }
        };
        let group = filter::group(biz, &call.filter, modules.as_deref());
        if let Some(modules) = modules {
            selection.push(" AND ", []);
            selection.push_in("bk_module_id", modules.into_iter().map(Cell::Integer));
        }
        let query = ListQuery {
            scope: Scope { account: caller.account.clone(), biz },
            filter: selection,
            group,
            columns: filter::projection(&call.fields)?,
            order: filter::order(&call.sort)?,
            start: call.start,
            limit: call.limit,
        };
        self.answers.success(|out| self.store.list(&query, out))
    }

    /// The topology of a business as the CMDB gives it.
    pub(super) fn tree(&self, biz: i64, caller: &Caller) -> Result<Value, Fault> {
        match self.business(biz, caller, &[])? {
            Some(business) => Ok(json!(business.tree())),
            None => Err(Fault::new(codes::NOT_FOUND, format!("there is no business {biz}"))),
        }
    }

    /// Refuses a module the business does not have (1118401).
    pub(super) fn check_module(&self, biz: i64, caller: &Caller, module: i64) -> Result<(), Fault> {
        match self.business(biz, caller, &[module])? {
            Some(business) if business.has_module(module) => Ok(()),
            _ => Err(Fault::new(codes::MODULE, no_module(module, biz))),
        }
    }

    /// The business's sets and modules, if there is such a business; `modules` are to be looked for in it.
    pub(super) fn business(
        &self,
        biz: i64,
        caller: &Caller,
        modules: &[i64],
    ) -> Result<Option<Arc<Business>>, Fault> {
        let answer = self.topology.business(biz, caller, modules);
        answer.map_err(|error| Fault::new(codes::MODULE_QUERY, error.to_string()))
    }

    /// 200 while records can be read and written; old topology is a problem but no failure.
    pub(super) fn health(&self, request: &Request) -> Response {
        if request.method != "GET" && request.method != "HEAD" {
            return wrong_method("GET");
        }
        let failure = self.store.check().err().map(|fault| fault.to_string());
        let ok = failure.is_none();
        let problems: Vec<_> = failure.into_iter().chain(self.topology.problem()).collect();
        Response::json(if ok { 200 } else { 503 }, &json!({"ok": ok, "problems": problems}))
    }
}
