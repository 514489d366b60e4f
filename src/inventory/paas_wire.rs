//! What paas-cc says (protocol.md 4), in both of its list shapes.

use super::is_plain_id;
use crate::http::{Loose, excerpt};
use crate::model::{Cluster, ClusterKind};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Why an answer is no list. The texts are the peer's, of any length and content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoList {
    /// It says no.
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// It is not what was agreed; why.
    Malformed(String),
}

/// A list, or the first part of one. Elements are looked at one by one later, so that a bad one
/// costs only itself.
#[derive(Debug)]
pub(super) struct List<'a> {
    /// The elements, as JSON.
    pub(super) items: Vec<&'a str>,
    /// How many there are in all, if it says.
    pub(super) count: Option<usize>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    code: Loose<'a>,
    #[serde(borrow, default)]
    result: Loose<'a>,
    #[serde(borrow, default)]
    message: Loose<'a>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Paged<'a> {
    #[serde(borrow, default)]
    count: Loose<'a>,
    #[serde(borrow, default)]
    results: Option<Vec<&'a RawValue>>,
}

/// The list in an answer. A missing list is an error and never an empty one; `results: null` is
/// an empty one where `count` does not contradict.
pub(super) fn list(body: &[u8]) -> Result<List<'_>, NoList> {
    let malformed = |error: serde_json::Error| NoList::Malformed(error.to_string());
    let missing = |what: &str| NoList::Malformed(what.to_owned());
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(malformed)?;
    let code = envelope.code.int();
    if envelope.result.flag() == Some(false) && !envelope.result.is_absent() || code.is_some_and(|c| c != 0) {
        let message = envelope.message.into_text();
        return Err(NoList::Refused { code: code.unwrap_or_default(), message });
    }
    if code.is_none() && envelope.result.flag() != Some(true) {
        return Err(missing("neither code nor result says how it went"));
    }
    let data = envelope.data.map_or("null", RawValue::get);
    if data.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(data).map_err(malformed)?;
        return Ok(List { items: items.into_iter().map(RawValue::get).collect(), count: None });
    }
    let paged: Paged<'_> = serde_json::from_str(data).map_err(malformed)?;
    let count = paged.count.int().and_then(|count| usize::try_from(count).ok());
    if count.is_none() && paged.results.is_none() {
        return Err(missing("data has neither count nor results"));
    }
    let items = paged.results.unwrap_or_default().into_iter().map(RawValue::get).collect();
    Ok(List { items, count })
}

/// A project whose clusters concern us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) id: String,
    /// The CMDB business it is bound to.
    pub(super) biz: i64,
}

/// What an element of a list comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    /// Take it.
    Take(T),
    /// Leave it, as agreed: offlined, disabled, not bound, of another environment.
    Skip,
    /// It was never usable and is not going to be missed; in words.
    Refuse(String),
    /// It cannot be read, so the list is not known as a whole; in words.
    Unreadable(String),
}

#[derive(Deserialize)]
struct WireProject<'a> {
    #[serde(borrow, default)]
    project_id: Loose<'a>,
    #[serde(borrow, default)]
    cc_app_id: Loose<'a>,
    #[serde(borrow, default)]
    is_offlined: Loose<'a>,
}

/// A project of the list.
pub(super) fn project(item: &str) -> Verdict<Project> {
    let Ok(wire) = serde_json::from_str::<WireProject<'_>>(item) else {
        return Verdict::Unreadable(format!("not a project: {}", excerpt(item.as_bytes())));
    };
    let id = wire.project_id.text();
    let shown = excerpt(id.as_bytes());
    if wire.project_id.is_absent() {
        return Verdict::Unreadable(format!("a project without project_id: {}", excerpt(item.as_bytes())));
    }
    if !is_plain_id(&id) {
        return Verdict::Refuse(format!("project id \"{shown}\" has characters that ids do not have"));
    }
    let biz = if wire.cc_app_id.is_absent() { Some(0) } else { wire.cc_app_id.int() };
    match (wire.is_offlined.flag(), biz) {
        (Some(true), _) | (_, Some(0)) => Verdict::Skip,
        (Some(false), Some(biz)) if biz > 0 => Verdict::Take(Project { id: id.into_owned(), biz }),
        (None, _) => Verdict::Unreadable(format!("is_offlined of project {shown} is neither true nor false")),
        _ => Verdict::Unreadable(format!("cc_app_id of project {shown} is not the id of a business")),
    }
}

#[derive(Deserialize)]
struct WireCluster<'a> {
    #[serde(borrow, default)]
    cluster_id: Loose<'a>,
    #[serde(borrow, default)]
    environment: Loose<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Loose<'a>,
    #[serde(borrow, default)]
    disabled: Loose<'a>,
}

/// A cluster of a project's list; `environment` empty: of every environment.
pub(super) fn cluster(item: &str, project: &Project, environment: &str) -> Verdict<Cluster> {
    let Ok(wire) = serde_json::from_str::<WireCluster<'_>>(item) else {
        return Verdict::Unreadable(format!("not a cluster: {}", excerpt(item.as_bytes())));
    };
    let id = wire.cluster_id.text();
    let shown = excerpt(id.as_bytes());
    if wire.cluster_id.is_absent() {
        return Verdict::Unreadable(format!("a cluster without cluster_id: {}", excerpt(item.as_bytes())));
    }
    if !is_plain_id(&id) {
        return Verdict::Refuse(format!("cluster id \"{shown}\" has characters that ids do not have"));
    }
    let kind = match wire.kind.text().to_ascii_lowercase().as_str() {
        "k8s" => ClusterKind::K8s,
        "mesos" => ClusterKind::Mesos,
        "" => ClusterKind::from_id(&id),
        other => {
            let other = excerpt(other.as_bytes());
            return Verdict::Refuse(format!("cluster {shown} is of type \"{other}\", not k8s or mesos"));
        }
    };
    match wire.disabled.flag() {
        None => return Verdict::Unreadable(format!("disabled of cluster {shown} is neither true nor false")),
        Some(true) => return Verdict::Skip,
        Some(false) => {}
    }
    if !environment.is_empty() && wire.environment.text() != environment {
        return Verdict::Skip;
    }
    Verdict::Take(Cluster {
        id: id.into_owned(),
        project_id: project.id.clone(),
        bk_biz_id: project.biz,
        kind,
        previous_bk_biz_ids: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(json: &str) -> Result<(usize, Option<usize>), NoList> {
        list(json.as_bytes()).map(|list| (list.items.len(), list.count))
    }

    #[test]
    fn both_list_shapes_are_lists() {
        let check = |json: &str, expected| assert_eq!(listed(json), Ok(expected), "{json}");
        check(r#"{"code":0,"result":true,"data":[{},1]}"#, (2, None));
        check(r#"{"code":0,"data":{"count":7,"results":[{}]}}"#, (1, Some(7)));
        check(r#"{"result":true,"data":{"count":"0","results":null}}"#, (0, Some(0)));
        check(r#"{"code":"0","result":true,"data":{"results":[]}}"#, (0, None));
    }

    #[test]
    fn a_missing_list_is_never_an_empty_one() {
        for json in [
            "",
            "null",
            "<html>",
            r#"{"code":0,"result":true}"#,
            r#"{"code":0,"result":true,"data":null}"#,
            r#"{"code":0,"result":true,"data":{}}"#,
            r#"{"code":0,"result":true,"data":"x"}"#,
            r#"{"code":0,"result":true,"data":{"count":1,"results":{}}}"#,
            r#"{"code":0,"result":true,"data":[1"#,
            r#"{"data":[]}"#,
        ] {
            assert!(matches!(listed(json), Err(NoList::Malformed(_))), "{json}");
        }
        assert!(matches!(list(b"{\"code\":0,\"data\":[\"\xff\"]}"), Err(NoList::Malformed(_))));
    }

    #[test]
    fn a_refusal_is_told_by_result_or_code() {
        let refused = |code| Err(NoList::Refused { code, message: "no".to_owned() });
        assert_eq!(listed(r#"{"result":false,"code":2001400,"message":"no","data":[]}"#), refused(2_001_400));
        assert_eq!(listed(r#"{"result":false,"message":"no","data":[]}"#), refused(0));
        assert_eq!(listed(r#"{"result":true,"code":5,"message":"no","data":[]}"#), refused(5));
    }

    #[test]
    fn projects_are_taken_skipped_or_named() {
        let check = |fields: &str, expected: &str| {
            let shown = match project(&format!(r#"{{"project_id":"p1",{fields}}}"#)) {
                Verdict::Take(project) => format!("take {}", project.biz),
                Verdict::Skip => "skip".to_owned(),
                Verdict::Refuse(_) => "refuse".to_owned(),
                Verdict::Unreadable(_) => "unreadable".to_owned(),
            };
            assert_eq!(shown, expected, "{fields}");
        };
        check(r#""cc_app_id":2,"is_offlined":false,"kind":1"#, "take 2");
        check(r#""cc_app_id":"2""#, "take 2");
        check(r#""cc_app_id":0"#, "skip");
        check(r#""cc_app_id":null"#, "skip");
        check(r#""cc_app_id":2,"is_offlined":true"#, "skip");
        check(r#""cc_app_id":-2"#, "unreadable");
        check(r#""cc_app_id":[]"#, "unreadable");
        check(r#""cc_app_id":2,"is_offlined":"maybe""#, "unreadable");
        assert!(matches!(project("7"), Verdict::Unreadable(_)));
        assert!(matches!(project("{}"), Verdict::Unreadable(_)));
        assert!(matches!(project(r#"{"project_id":"../x","cc_app_id":2}"#), Verdict::Refuse(_)));
    }

    #[test]
    fn clusters_are_taken_skipped_or_named() {
        let owner = Project { id: "p1".to_owned(), biz: 2 };
        let check = |item: &str, expected: &str| {
            let shown = match cluster(item, &owner, "prod") {
                Verdict::Take(cluster) => format!("take {}", cluster.kind.as_str()),
                Verdict::Skip => "skip".to_owned(),
                Verdict::Refuse(reason) => format!("refuse {reason}"),
                Verdict::Unreadable(_) => "unreadable".to_owned(),
            };
            assert!(shown.starts_with(expected), "{item}: {shown}");
        };
        check(r#"{"cluster_id":"BCS-K8S-1","environment":"prod","type":"k8s","status":"x"}"#, "take k8s");
        check(r#"{"cluster_id":"BCS-MESOS-1","environment":"prod"}"#, "take mesos");
        check(r#"{"cluster_id":"BCS-MESOS-1","environment":"prod","type":null}"#, "take mesos");
        check(r#"{"cluster_id":"BCS-K8S-1","environment":"prod","type":"Mesos"}"#, "take mesos");
        check(r#"{"cluster_id":"BCS-K8S-1","environment":"prod","type":"eks"}"#, "refuse cluster BCS-K8S-1");
        check(r#"{"cluster_id":"BCS-K8S-1","environment":"stag"}"#, "skip");
        check(r#"{"cluster_id":"BCS-K8S-1"}"#, "skip");
        check(r#"{"cluster_id":"BCS-K8S-1","environment":"prod","disabled":true}"#, "skip");
        check(r#"{"cluster_id":"BCS-K8S-1","environment":"prod","disabled":[]}"#, "unreadable");
        check(r#"{"cluster_id":"a/../b","environment":"prod"}"#, "refuse cluster id \"a/../b\"");
        check("{}", "unreadable");
        check("[]", "unreadable");
        assert!(matches!(cluster(r#"{"cluster_id":"C"}"#, &owner, ""), Verdict::Take(_)));
    }
}
