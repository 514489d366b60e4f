//! The calls that write: judged by `rules` and the topology, carried out by the store.

use super::{Api, no_module};
use crate::container_server::codes::{self, Fault};
use crate::container_server::rules::Rules;
use crate::container_server::store::{FenceToken, Scope};
use crate::container_server::topology::Caller;
use crate::container_server::{calls, fields, filter};
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

impl Api {
    /// One record.
    pub(super) fn create(
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
    pub(super) fn create_many(
        &self,
        caller: &Caller,
        scope: &Scope,
        fence: Option<FenceToken>,
        body: &Value,
    ) -> Result<Value, Fault> {
        let pods = calls::pod_list(body)?;
        let module = |pod| Rules::module_id(calls::item(pod).ok()?).ok();
        let modules: Vec<i64> = pods.iter().filter_map(module).collect();
        let business = self.business(scope.biz, caller, &modules)?;
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
        // Without rows too: the fence counts.
        let outcomes = self.store.create(scope, fence, rows)?;
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

    /// Changes what may change; a record that is not there is an error (1199019).
    pub(super) fn update(
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

    /// Deletes; a record that is not there is no error.
    pub(super) fn delete(
        &self,
        scope: &Scope,
        fence: Option<FenceToken>,
        body: &Value,
    ) -> Result<Value, Fault> {
        let condition = filter::equalities(Rules::condition(calls::object(body, "condition")?)?)?;
        Ok(json!({"deleted_count": self.store.delete(scope, fence, condition)?}))
    }
}
