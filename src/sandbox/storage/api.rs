//! The HTTP side of the simulated bcs-storage (protocol.md 1).

use super::Shared;
use super::collection::{Behaviour, Collection, Generation, Listed};
use super::document::{Shown, Style, append};
use super::faults::{Call, Fault};
use super::projection::Projection;
use super::watch::{self, BREAK};
use crate::front::{Body, Handler, Request, Response};
use crate::sandbox::request::{Query, segments};
use base64::Engine;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;

/// Codes of refusals, old and new generation; nobody may depend on them.
const REFUSED: i64 = 1_405_085;
const NOT_FOUND_OLD: i64 = 1_405_087;
const NOT_FOUND_NEW: i64 = 1_405_404;

/// Answers requests.
pub(super) struct Api {
    pub(super) shared: Arc<Shared>,
}

impl Handler for Api {
    fn handle(&self, request: Request) -> Response {
        let path = segments(&request.path);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let ["bcsstorage", "v1", rest @ ..] = &path[..] else { return unknown_path() };
        match (request.method.as_str(), rest) {
            ("GET", [kind, "dynamic", "all_resources", "clusters", id, resource]) => {
                self.list(id, (kind, resource), &Query::parse(&request.query))
            }
            (
                "GET",
                [
                    kind,
                    "dynamic",
                    "namespace_resources",
                    "clusters",
                    id,
                    "namespaces",
                    namespace,
                    resource,
                    name,
                ],
            ) => self.get(id, (kind, resource), namespace, name),
            ("POST", ["dynamic", "watch", id, resource]) => self.watch(id, resource, &request.body),
            _ => unknown_path(),
        }
    }
}

/// Kind and resource type, as the path names them.
type Place<'a> = (&'a str, &'a str);

fn is_at(collection: &Collection, place: Place<'_>) -> bool {
    place == (collection.kind.as_str(), collection.kind.resource_type())
}

impl Api {
    fn list(&self, cluster: &str, place: Place<'_>, query: &Query) -> Response {
        let fault = self.shared.begin_list(cluster);
        let asked = (|| {
            let offset = query.count("offset")?;
            let limit = query.count("limit")?;
            Ok((offset, limit, Projection::parse(query.text("field"))?, conditions(query.text("extra"))?))
        })();
        let (offset, limit, projection, extra) = match asked {
            Ok(asked) => asked,
            Err(message) => return refused(REFUSED, message),
        };
        let page = {
            let state = self.shared.state.lock();
            let collection = state.clusters.get(cluster).filter(|collection| is_at(collection, place));
            collection.map(|collection| collection.page(offset, limit, &extra)).unwrap_or_default()
        };
        let complete = limit == 0 || page.len() < limit;
        let mut body = br#"{"result":true,"code":0,"message":"success","data":["#.to_vec();
        for (place, item) in page.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            match item {
                Listed::Document(document) => {
                    append(&mut body, &Shown { document, projection: &projection, style: Style::Listing });
                }
                Listed::Raw(raw) => body.extend_from_slice(raw),
            }
        }
        body.extend_from_slice(b"]}\n");
        if complete {
            self.shared.end_list(cluster);
        }
        answer(fault, body)
    }

    fn get(&self, cluster: &str, place: Place<'_>, namespace: &str, name: &str) -> Response {
        let (fault, found, generation) = {
            let mut state = self.shared.state.lock();
            state.counters.get += 1;
            let fault = state.faults.meet(cluster, Call::Get);
            let collection = state.clusters.get(cluster);
            let found = collection
                .filter(|collection| is_at(collection, place))
                .and_then(|collection| collection.get(namespace, name))
                .cloned();
            (fault, found, collection.map(|collection| collection.behaviour.generation))
        };
        let body = match (found, generation) {
            (Some(document), _) => {
                let mut body = br#"{"result":true,"code":0,"message":"success","data":"#.to_vec();
                append(
                    &mut body,
                    &Shown { document: &document, projection: &Projection::Whole, style: Style::Listing },
                );
                body.push(b'}');
                body
            }
            (None, Some(Generation::New)) => {
                envelope(false, NOT_FOUND_NEW, "resource does not exist", &Value::Null)
            }
            (None, _) => envelope(false, NOT_FOUND_OLD, "resource does not exist", &json!({})),
        };
        answer(fault, body)
    }

    fn watch(&self, cluster: &str, resource: &str, body: &[u8]) -> Response {
        let (fault, behaviour, foreign) = {
            let mut state = self.shared.state.lock();
            state.counters.watch += 1;
            let fault = state.faults.meet(cluster, Call::Watch);
            let collection = state.clusters.get(cluster);
            // A collection of another resource type never has an event.
            let foreign = collection.is_some_and(|collection| collection.kind.resource_type() != resource);
            let behaviour = collection.map(|collection| collection.behaviour);
            (fault, behaviour.unwrap_or(Behaviour::of(Generation::Old)), foreign)
        };
        if serde_json::from_slice::<Value>(body).is_err() || fault == Some(Fault::Refuse) {
            return bytes(200, "application/json", BREAK.to_vec());
        }
        if let Some(fault) = fault.filter(|fault| !matches!(fault, Fault::Delay(_))) {
            return answer(Some(fault), br#"{"type":1,"value":{"_id":"5f0c"#.to_vec());
        }
        let (shared, cluster) = (self.shared.clone(), cluster.to_owned());
        stream(move |out| {
            if let Some(Fault::Delay(time)) = fault {
                watch::rest(out, Some(time))?;
            }
            match foreign {
                true => watch::rest(out, None),
                false => watch::stream(&shared, &cluster, behaviour, out),
            }
        })
    }
}

/// The true `body`, or what `fault` makes of it.
fn answer(fault: Option<Fault>, body: Vec<u8>) -> Response {
    const JSON: &str = "application/json";
    let success = |data: Value| bytes(200, JSON, envelope(true, 0, "success", &data));
    match fault {
        None => bytes(200, JSON, body),
        Some(Fault::Refuse) => refused(REFUSED, "the storage was told to refuse".to_owned()),
        Some(Fault::Error500) => bytes(500, "text/plain", b"internal error\n".to_vec()),
        Some(Fault::Html) => {
            bytes(200, "text/html", b"<html><body><h1>Bad Gateway</h1></body></html>".to_vec())
        }
        Some(Fault::Truncated) => {
            let half = body.len() / 2;
            bytes(200, JSON, body.into_iter().take(half).collect())
        }
        Some(Fault::DataNull) => success(Value::Null),
        Some(Fault::DataObject) => success(json!({})),
        Some(Fault::Empty) => success(json!([])),
        Some(Fault::Hang) => stream(|out| watch::rest(out, None)),
        Some(Fault::Close) => stream(move |out| {
            out.write_all(&body[..body.len() / 2])?;
            out.flush()?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }),
        Some(Fault::Delay(time)) => stream(move |out| {
            watch::rest(out, Some(time))?;
            out.write_all(&body)
        }),
    }
}

/// The conditions of `extra`: base64 of a JSON object.
fn conditions(extra: &str) -> Result<Vec<(String, Value)>, String> {
    if extra.is_empty() {
        return Ok(Vec::new());
    }
    let json = base64::engine::general_purpose::STANDARD.decode(extra);
    let json = json.map_err(|error| format!("extra is not base64: {error}"))?;
    let object: serde_json::Map<String, Value> =
        serde_json::from_slice(&json).map_err(|error| format!("extra is not a JSON object: {error}"))?;
    Ok(object.into_iter().collect())
}

fn envelope(result: bool, code: i64, message: &str, data: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    append(&mut body, &json!({"result": result, "code": code, "message": message, "data": data}));
    body
}

fn refused(code: i64, message: String) -> Response {
    bytes(200, "application/json", envelope(false, code, &message, &json!([])))
}

fn unknown_path() -> Response {
    bytes(404, "text/plain", b"404: Page Not Found".to_vec())
}

fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Response {
    Response { status, content_type, headers: Vec::new(), body: Body::Bytes(body) }
}

fn stream(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Response {
    let body = Body::Stream(Box::new(write));
    Response { status: 200, content_type: "application/json", headers: Vec::new(), body }
}
