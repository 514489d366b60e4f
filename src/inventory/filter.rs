//! `include_clusters` and `exclude_clusters`: which clusters this fleet works on.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// A pattern that is no glob.
#[derive(Debug, thiserror::Error)]
#[error("{key}: \"{pattern}\" is no glob: {reason}")]
pub struct FilterError {
    /// The configuration key.
    pub key: &'static str,
    /// The pattern.
    pub pattern: String,
    /// In words.
    pub reason: String,
}

/// Which cluster ids pass.
#[derive(Clone, Debug)]
pub struct Filter {
    /// `None`: all.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    /// Passes what any pattern of `include` fits (empty: everything) and none of `exclude`.
    ///
    /// # Errors
    /// The first pattern that is no glob, with its key.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, FilterError> {
        let include = match include {
            [] => None,
            patterns => Some(globs("include_clusters", patterns)?),
        };
        Ok(Self { include, exclude: globs("exclude_clusters", exclude)? })
    }

    /// Whether a cluster passes.
    pub fn allows(&self, cluster_id: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(cluster_id))
            && !self.exclude.is_match(cluster_id)
    }
}

fn globs(key: &'static str, patterns: &[String]) -> Result<GlobSet, FilterError> {
    let error = |pattern: &str, error: &globset::Error| FilterError {
        key,
        pattern: pattern.to_owned(),
        reason: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|e| error(pattern, &e))?);
    }
    set.build().map_err(|e| error(&patterns.join(","), &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], allowed: &[&str], refused: &[&str]) {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&own(include), &own(exclude)).unwrap();
        for id in allowed {
            assert!(filter.allows(id), "{id} with {include:?} {exclude:?}");
        }
        for id in refused {
            assert!(!filter.allows(id), "{id} with {include:?} {exclude:?}");
        }
    }

    #[test]
    fn exclude_wins_over_include_and_nothing_means_all() {
        check(&[], &[], &["BCS-K8S-1", "x"], &[]);
        check(&["BCS-K8S-*"], &[], &["BCS-K8S-1"], &["BCS-MESOS-1", "bcs-k8s-1"]);
        check(&["BCS-K8S-1", "*-2"], &[], &["BCS-K8S-1", "BCS-K8S-2"], &["BCS-K8S-12"]);
        check(&["BCS-*"], &["*-1?"], &["BCS-K8S-1"], &["BCS-K8S-12"]);
        check(&[], &["BCS-{K8S,MESOS}-9"], &["BCS-K8S-1"], &["BCS-K8S-9", "BCS-MESOS-9"]);
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_key() {
        let bad = ["BCS-[".to_owned()];
        assert!(Filter::new(&bad, &[]).unwrap_err().to_string().starts_with("include_clusters: \"BCS-[\""));
        assert!(Filter::new(&[], &bad).unwrap_err().to_string().starts_with("exclude_clusters: \"BCS-[\""));
    }
}
