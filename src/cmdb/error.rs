//! Why a call did not succeed, sorted by what the caller does next (protocol.md 2, codes).

use super::IDENTITY;
use crate::http::HttpError;
use crate::model::Field;

/// Why a call did not succeed, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum CmdbError {
    /// Nothing was written: the CMDB cannot be reached, or a read got no answer. Try again later.
    #[error("CMDB: {0}")]
    Unreachable(HttpError),
    /// It may have been carried out, or may still be: read back.
    #[error("CMDB: {0}; it may have been carried out")]
    Ambiguous(String),
    /// Try again later: busy, a proxy's 5xx, HTML, a database error, the caller's own fault
    /// (1199027 headers, 9900403 permission).
    #[error("CMDB{}: {message}", answered(*code))]
    Later {
        /// `bk_error_code`, or the HTTP status, or 0.
        code: i64,
        /// Its words, or ours.
        message: String,
    },
    /// This record is refused for good.
    #[error("CMDB refused with {code}: {message}")]
    Refused {
        /// `bk_error_code`.
        code: i64,
        /// Its words.
        message: String,
        /// The field it names, if it names one that is not part of the identity.
        field: Option<Field>,
    },
    /// 1199014: a record with the same uuid or the same name exists.
    #[error("CMDB: duplicate: {message}")]
    Duplicate {
        /// Its words.
        message: String,
    },
    /// 1199019: there is no such record.
    #[error("CMDB: no such record")]
    NotFound,
    /// The fence is down, here or in the CMDB's eyes: nothing was written.
    #[error("not written: {0}")]
    Fenced(String),
}

/// Names a code, if there was one.
fn answered(code: i64) -> String {
    if code == 0 { String::new() } else { format!(" answered {code}") }
}

/// What a `bk_error_code` other than 0 means for the caller.
pub(super) fn classify(code: i64, message: String) -> CmdbError {
    match code {
        1199014 => CmdbError::Duplicate { message },
        1199019 => CmdbError::NotFound,
        1118499 => CmdbError::Fenced(format!("the CMDB refuses this writer of the cluster: {message}")),
        // The module is the only thing this code speaks of, whatever else its words name.
        1118401 => CmdbError::Refused { code, message, field: Some(Field::ModuleId) },
        1118403 | 1199006..=1199011 | 1199013 | 1199015 | 1199016 | 1199032 => {
            let field = named_field(&message);
            CmdbError::Refused { code, message, field }
        }
        NO_PERMISSION => CmdbError::Later {
            code,
            message: format!("{message}; let the user of cmdb_user read and edit this business in the CMDB"),
        },
        NO_HEADERS => CmdbError::Later {
            code,
            message: format!(
                "{message}; whatever is between this service and the CMDB must pass BK_User and both supplier headers on"
            ),
        },
        _ => CmdbError::Later { code, message },
    }
}

/// 9900403: the user may not do that (protocol.md 2).
const NO_PERMISSION: i64 = 9_900_403;
/// 1199027: user or supplier headers are missing (protocol.md 2).
const NO_HEADERS: i64 = 1_199_027;

/// The field a message names first. Some names begin with another (`bk_pod_clustertype`,
/// `bk_pod_cluster`): of those at one place the longest counts. `None` where it is part of the
/// identity.
fn named_field(message: &str) -> Option<Field> {
    let names = IDENTITY.into_iter().chain(Field::ALL.map(Field::name));
    let found = names.filter_map(|name| Some((message.find(name)?, std::cmp::Reverse(name.len()), name)));
    found.min().and_then(|(_, _, name)| Field::from_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_named_first_and_longest_is_the_refused_one() {
        let check = |message: &str, field| assert_eq!(named_field(message), field, "{message}");
        check("bk_pod_labels does not match", Some(Field::Labels));
        check("field bk_pod_clustertype too long", Some(Field::ClusterType));
        check("field [bk_pod_cluster] must be set", None);
        check("bk_pod_namespace too long", None);
        check("bk_pod_annotations: bk_pod_workloadname=x", Some(Field::Annotations));
        check("bk_pod_ipbk_pod_status", Some(Field::PodIp));
        check("something else", None);
        check("", None);
    }

    #[test]
    fn every_code_of_the_contract_has_its_class() {
        let class = |code| match classify(code, "bk_pod_ip".to_owned()) {
            CmdbError::Refused { field, .. } => format!("refused {:?}", field.map(Field::name)),
            CmdbError::Later { .. } => "later".to_owned(),
            CmdbError::Duplicate { .. } => "duplicate".to_owned(),
            CmdbError::NotFound => "not found".to_owned(),
            CmdbError::Fenced(_) => "fenced".to_owned(),
            other => format!("{other:?}"),
        };
        for code in [1118403, 1199006, 1199007, 1199008, 1199009, 1199010, 1199011, 1199013, 1199015] {
            assert_eq!(class(code), "refused Some(\"bk_pod_ip\")", "{code}");
        }
        for code in [1199016, 1199032] {
            assert_eq!(class(code), "refused Some(\"bk_pod_ip\")", "{code}");
        }
        assert_eq!(class(1118401), "refused Some(\"bk_module_id\")");
        for code in [
            -1, -2, 1118402, 1118407, 1199000, 1199002, 1199017, 1199018, 1199020, 1199021, 1199027, 1199998,
            1199999, 1101075, 9900403, 0, 42,
        ] {
            assert_eq!(class(code), "later", "{code}");
        }
        assert_eq!(class(1199014), "duplicate");
        assert_eq!(class(1199019), "not found");
        assert_eq!(class(1118499), "fenced");
    }
}
