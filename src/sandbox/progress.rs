//! One line that tells how it goes: in place on a terminal, else a plain one now and then.

use crate::sync::snapshot::{ClusterState, Status};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines of a file or a pipe.
const PLAIN: Duration = Duration::from_secs(5);
/// Between two looks of a terminal's line.
const TERMINAL: Duration = Duration::from_millis(500);

/// The progress line on stdout.
pub(super) struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), shown: None }
    }

    /// Shows where things stand, if it is time to; `status` is asked for only then.
    pub(super) fn show(
        &mut self,
        doing: &str,
        since: Duration,
        changes: u64,
        status: impl FnOnce() -> Status,
    ) {
        let interval = if self.terminal { TERMINAL } else { PLAIN };
        if self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(doing, since, changes, &status());
        // A reader that went away has seen enough.
        let _ = match self.terminal {
            true => write!(io::stdout(), "\r\x1b[K{line}").and_then(|()| io::stdout().flush()),
            false => writeln!(io::stdout(), "{line}"),
        };
    }

    /// Leaves the line.
    pub(super) fn end(&self) {
        if self.terminal && self.shown.is_some() {
            let _ = writeln!(io::stdout());
        }
    }
}

fn line(doing: &str, since: Duration, changes: u64, status: &Status) -> String {
    let live = status.clusters.iter().filter(|cluster| cluster.state == ClusterState::Live).count();
    let sum = |count: fn(&crate::sync::snapshot::PodCounts) -> usize| -> usize {
        status.clusters.iter().map(|cluster| count(&cluster.pods)).sum()
    };
    let mut line = format!(
        "{doing} {} s, {changes} changes: {live}/{} clusters live, storage {}, cmdb {}, pending {}, rejected {}, degraded {}, waiting for a host {}",
        since.as_secs(),
        status.clusters.len(),
        sum(|pods| pods.storage),
        sum(|pods| pods.cmdb),
        sum(|pods| pods.pending),
        sum(|pods| pods.rejected),
        sum(|pods| pods.degraded),
        sum(|pods| pods.unscheduled),
    );
    let problem = status.clusters.iter().find_map(|cluster| cluster.last_error.as_deref());
    if let Some(problem) = problem.or(status.problems.first().map(String::as_str)) {
        line += &format!("; {problem:.80}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::snapshot::Coordination;

    #[test]
    fn the_line_sums_up_and_names_a_problem() {
        let coordination = Coordination { state: "standalone", last_heartbeat_seconds_ago: None };
        let status = Status {
            instance: String::new(),
            version: "",
            started_at: String::new(),
            mode: "standalone",
            role: "master",
            ready: false,
            problems: vec!["no cluster yet".to_owned()],
            instance_problems: Vec::new(),
            coordination,
            clusters: Vec::new(),
        };
        let line = line("churning", Duration::from_secs(3), 7, &status);
        assert!(line.starts_with("churning 3 s, 7 changes: 0/0 clusters live"), "{line}");
        assert!(line.ends_with("; no cluster yet"), "{line}");
    }
}
