//! The OpenAPI 3.1 document of the API, made from the same tables the API works by. Pure.

use super::api::Endpoint;
use super::fields::{self, FIELDS, FieldSpec};
use super::filter;
use serde_json::{Map, Value, json};

/// The document, for these endpoints under these prefixes.
pub fn document(endpoints: &[Endpoint], prefixes: &[&str]) -> Value {
    let mut paths = Map::new();
    for prefix in prefixes {
        for endpoint in endpoints {
            let path = format!("{prefix}{}", endpoint.path.replace("{}", "{bk_biz_id}"));
            paths.insert(path, json!({endpoint.method.to_ascii_lowercase(): operation(endpoint, prefix)}));
        }
    }
    paths.insert("/healthz".to_owned(), health());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Container server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Pod records of the CMDB. Every answer of a call is an envelope, with HTTP 200 unless it \
                            says otherwise: look at bk_error_code."
        },
        "paths": paths,
        "components": {"schemas": {
            "Pod": {"type": "object", "properties": properties(&mut FIELDS.iter().skip(1)),
                    "required": FIELDS.iter().filter(|field| field.required).skip(1).map(|field| field.name)
                        .collect::<Vec<_>>()},
            "Record": {"type": "object", "properties": properties(&mut fields::columns())},
            "Condition": {"type": "object", "description": "Holds every key of a unique rule, or bk_pod_id; further \
                                                           keys narrow it"},
            "Filter": filter_schema(),
            "Node": node(),
            "Refusal": envelope(&json!({"const": false}), &json!({"type": "integer"}), &json!({"type": "null"})),
            "Error": error()
        }}
    })
}

fn properties(fields: &mut dyn Iterator<Item = &'static FieldSpec>) -> Value {
    let property = |field: &FieldSpec| {
        let kind = if field.kind.is_int() { "integer" } else { "string" };
        let kind = if field.required { json!(kind) } else { json!([kind, "null"]) };
        (field.name.to_owned(), json!({"type": kind}))
    };
    Value::Object(fields.map(property).collect())
}

fn operation(endpoint: &Endpoint, prefix: &str) -> Value {
    let id = format!("{}{}", endpoint.operation, prefix.replace('/', "_"));
    let mut parameters: Vec<_> = ["BK_User", "HTTP_BLUEKING_SUPPLIER_ID", "HTTP_BK_SUPPLIER_ACCOUNT"]
        .map(|name| json!({"name": name, "in": "header", "required": true, "schema": {"type": "string"}}))
        .into();
    if endpoint.path.contains("{}") {
        let schema = json!({"type": "integer", "minimum": 1});
        parameters.push(json!({"name": "bk_biz_id", "in": "path", "required": true, "schema": schema}));
    }
    let answer = |text: &str, schemas: &[Value]| json!({"description": text, "content": {"application/json": {"schema": {"oneOf": schemas}}}});
    let done = envelope(&json!({"const": true}), &json!({"const": 0}), &data(endpoint.operation));
    let (refusal, error) = (part("Refusal"), part("Error"));
    let mut responses = json!({"200": answer("Done, or refused", &[done, refusal.clone()]),
        "500": answer("1199027: a header is missing", std::slice::from_ref(&refusal)),
        "default": answer("The request itself cannot be taken", &[refusal.clone(), error])});
    let refused = |text: &str| answer(text, std::slice::from_ref(&refusal));
    let mut operation = Map::new();
    match endpoint.operation {
        "watch" => {
            for name in ["since", "bk_biz_id", "timeout"] {
                let schema = json!({"type": "integer", "minimum": 0});
                parameters.push(json!({"name": name, "in": "query", "required": false, "schema": schema}));
            }
            responses["410"] = refused("Changes after `since` are no longer kept: list again");
        }
        "create" | "create_many" | "update" | "delete" => {
            let schema = json!({"type": "string"});
            parameters
                .push(json!({"name": "X-Bkcmdb-Fence", "in": "header", "required": false, "schema": schema}));
            responses["409"] = refused(
                "1118499: a higher fence was seen for the cluster, or this one is ahead of the clock",
            );
        }
        _ => {}
    }
    if let Some(schema) = body(endpoint.operation) {
        let content = json!({"application/json": {"schema": schema}});
        operation.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    operation.insert("operationId".to_owned(), json!(id));
    operation.insert("parameters".to_owned(), json!(parameters));
    operation.insert("responses".to_owned(), responses);
    Value::Object(operation)
}

/// The body of a call, if it has one.
fn body(operation: &str) -> Option<Value> {
    let whole = |properties: Value, required: &[&str]| {
        Some(json!({"type": "object", "properties": properties, "required": required}))
    };
    let ids = json!({"type": ["array", "null"], "items": {"type": "integer"}});
    match operation {
        "create" => whole(json!({"pod": part("Pod")}), &["pod"]),
        "create_many" => {
            let list = json!({"type": "array", "minItems": 1, "items": part("Pod")});
            whole(json!({"pod_list": list}), &["pod_list"])
        }
        "update" => {
            whole(json!({"condition": part("Condition"), "data": {"type": "object"}}), &["condition", "data"])
        }
        "delete" => whole(json!({"condition": part("Condition")}), &["condition"]),
        "list" => {
            let number = json!({"type": "integer", "minimum": 0});
            let page = json!({"type": "object", "properties": {"start": number, "limit": number,
                "sort": {"type": "string"}}});
            let names = json!({"type": "array", "items": {"type": "string"}});
            whole(
                json!({"bk_set_ids": ids, "bk_module_ids": ids, "pod_property_filter": part("Filter"),
                "fields": names, "page": page}),
                &[],
            )
        }
        _ => None,
    }
}

fn filter_schema() -> Value {
    let rule = json!({"type": "object", "properties": {"field": {"type": "string"},
        "operator": {"enum": filter::OPERATORS}, "value": {}}, "required": ["field", "operator"]});
    json!({"type": ["object", "null"], "properties": {"condition": {"enum": ["AND", "OR"]},
        "rules": {"type": "array", "minItems": 1, "items": {"anyOf": [rule, {"$ref": "#/components/schemas/Filter"}]}}}})
}

fn part(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object that has all of some properties.
fn object(properties: Value) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn list_of(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// What a call that succeeds answers in `data`.
fn data(operation: &str) -> Value {
    let (integer, text) = (json!({"type": "integer"}), json!({"type": "string"}));
    let created = object(json!({"origin_index": integer, "id": integer}));
    match operation {
        "create" => object(json!({"created": created})),
        "create_many" => {
            let refused = json!({"message": text, "code": integer, "data": {}, "origin_index": integer});
            object(json!({"created": list_of(created), "repeated": list_of(json!({})),
                "exception": list_of(object(refused))}))
        }
        "update" => object(json!({"updated_count": integer})),
        "delete" => object(json!({"deleted_count": integer})),
        "list" => object(json!({"count": integer, "info": list_of(part("Record"))})),
        "topology" => list_of(part("Node")),
        _ => {
            let change = json!({"sequence": integer, "time_ms": integer,
                "action": {"enum": ["create", "update", "delete"]}, "pod": part("Record")});
            object(json!({"sequence": integer, "changes": list_of(object(change))}))
        }
    }
}

/// A node of the topology.
fn node() -> Value {
    let children = json!({"type": ["array", "null"], "items": part("Node")});
    let (integer, text) = (json!({"type": "integer"}), json!({"type": "string"}));
    object(json!({"bk_inst_id": integer, "bk_inst_name": text, "bk_obj_id": text, "default": integer,
        "child": children}))
}

fn envelope(result: &Value, code: &Value, data: &Value) -> Value {
    object(json!({"result": result, "bk_error_code": code, "bk_error_msg": {"type": "string"},
        "permission": {"type": "null"}, "data": data}))
}

/// What is said to a request that no call has seen.
fn error() -> Value {
    let text = json!({"type": "string"});
    object(json!({"error": object(json!({"code": text, "message": text}))}))
}

fn health() -> Value {
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"},
        "problems": {"type": "array", "items": {"type": "string"}}}, "required": ["ok", "problems"]});
    let answer =
        |text: &str| json!({"description": text, "content": {"application/json": {"schema": schema}}});
    json!({"get": {"operationId": "healthz", "responses": {"200": answer("The database can be read and written"),
        "503": answer("It cannot")}}})
}
