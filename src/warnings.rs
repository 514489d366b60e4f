//! What works today and will not, or should not, stay so: certificates that end soon, workers of
//! different versions, clocks that disagree. Looked at now and then, shown as problems.

use crate::config::{Config, TlsFiles};
use crate::coordination::{AssignmentView, Coordination, Looker};
use crate::http::expiry;
use crate::sync::snapshot::ProblemStatus;
use crossbeam::channel::never;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// A certificate that ends within this time is worth a word.
const SOON: i64 = 30 * DAY;
/// Seconds.
const DAY: i64 = 24 * 3600;
/// Clocks may differ by this much: less happens to machines with NTP.
const CLOCK_MS: i64 = 5_000;

/// A certificate file that is watched.
struct Watched {
    key: &'static str,
    path: PathBuf,
    /// Of several certificates the last one counts, not the first.
    trusted: bool,
}

/// The looks. Stop when dropped.
pub struct Warnings {
    found: Arc<Mutex<Vec<ProblemStatus>>>,
    files: Arc<Mutex<Vec<Watched>>>,
    _looker: Looker,
}

impl Warnings {
    /// Starts to look.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(config: &Config, coordination: Arc<dyn Coordination>) -> io::Result<Self> {
        let files = Arc::new(Mutex::new(files(config)));
        let watched = Arc::clone(&files);
        let found: Arc<Mutex<Vec<ProblemStatus>>> = Arc::default();
        let shown = Arc::clone(&found);
        let looker = Looker::start("warnings", never(), move || {
            let now = Timestamp::now();
            let ending: Vec<String> = watched.lock().iter().filter_map(|file| file.warning(now)).collect();
            let mut all: Vec<ProblemStatus> =
                ending.into_iter().map(|message| problem("certificate", message)).collect();
            all.extend(versions(&coordination.assignment()).map(|message| problem("versions", message)));
            all.extend(clock(coordination.status().clock_ahead_ms).map(|message| problem("clock", message)));
            take(&mut shown.lock(), all);
            LOOK
        })?;
        Ok(Self { found, files, _looker: looker })
    }

    /// Looks at the certificates of another configuration from now on.
    pub fn watch(&self, config: &Config) {
        *self.files.lock() = files(config);
    }

    /// What there is to warn of.
    pub fn all(&self) -> Vec<ProblemStatus> {
        self.found.lock().clone()
    }
}

/// Shows what was found; what is new is logged. Numbers in a message grow, so its kind counts.
fn take(shown: &mut Vec<ProblemStatus>, found: Vec<ProblemStatus>) {
    for ProblemStatus { kind, message } in &found {
        let count = |list: &[ProblemStatus]| list.iter().filter(|other| other.kind == *kind).count();
        if count(shown) < count(&found) {
            log::warn!("{message}");
        }
    }
    *shown = found;
}

fn problem(kind: &'static str, message: String) -> ProblemStatus {
    ProblemStatus { kind, message }
}

fn files(config: &Config) -> Vec<Watched> {
    let of = |files: &TlsFiles, ca, cert| {
        let ca = files.ca.clone().map(|path| Watched { key: ca, path, trusted: true });
        let cert = files.cert.clone().map(|path| Watched { key: cert, path, trusted: false });
        ca.into_iter().chain(cert)
    };
    let storage = of(&config.storage_tls, "storage_ca", "storage_cert");
    storage.chain(of(&config.server_tls, "ca_file", "server_cert_file")).collect()
}

impl Watched {
    fn warning(&self, now: Timestamp) -> Option<String> {
        let end = if self.trusted { expiry::of_last(&self.path) } else { expiry::of_first(&self.path) }?;
        let left = end.as_second() - now.as_second();
        let when = match left {
            ..0 => format!("ended on {end}"),
            0..SOON => format!("ends in {} days, on {end}", left / DAY),
            _ => return None,
        };
        Some(format!("{}: the certificate in {} {when}; renew it", self.key, self.path.display()))
    }
}

/// Workers of different versions, if there are.
fn versions(view: &AssignmentView) -> Option<String> {
    let mut workers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for worker in view.workers.iter().filter(|worker| worker.alive && !worker.version.is_empty()) {
        workers.entry(&worker.version).or_default().push(&worker.instance);
    }
    if workers.len() < 2 {
        return None;
    }
    let list: Vec<String> =
        workers.iter().map(|(version, who)| format!("{version} on {}", who.join(", "))).collect();
    Some(format!("the workers run different versions: {}; finish the upgrade", list.join("; ")))
}

/// This machine's clock, if it disagrees with ZooKeeper's.
fn clock(ahead_ms: Option<i64>) -> Option<String> {
    let ahead = ahead_ms.filter(|ahead| ahead.abs() >= CLOCK_MS)?;
    let where_to = if ahead > 0 { "ahead of" } else { "behind" };
    Some(format!(
        "the clock of this machine is {} s {where_to} ZooKeeper's: let both keep the time by NTP, or the times in logs \
         and journals mislead",
        ahead.abs() / 1000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::WorkerView;

    #[test]
    fn certificates_that_end_within_thirty_days_are_named_with_their_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2027, 3, 4);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(file.path(), made.pem()).unwrap();
        let watched = Watched { key: "storage_cert", path: file.path().to_owned(), trusted: false };
        let warning = |now: &str| watched.warning(now.parse().unwrap());
        assert_eq!(warning("2027-02-01T00:00:00Z"), None);
        assert!(warning("2027-02-10T00:00:00Z").unwrap().contains("ends in 22 days, on 2027-03-04"));
        let ended = warning("2027-03-05T00:00:00Z").unwrap();
        assert!(ended.starts_with("storage_cert: ") && ended.contains("ended on 2027-03-04"), "{ended}");
    }

    #[test]
    fn living_workers_of_different_versions_are_named() {
        let worker = |instance: &str, version: &str, alive| WorkerView {
            instance: instance.to_owned(),
            version: version.to_owned(),
            alive,
            clusters: Vec::new(),
        };
        let check = |workers: &[WorkerView], wanted: Option<&str>| {
            let view = AssignmentView { workers: workers.to_vec(), ..AssignmentView::default() };
            assert_eq!(versions(&view).as_deref(), wanted);
        };
        check(&[], None);
        check(&[worker("a", "1", true), worker("b", "1", true), worker("c", "2", false)], None);
        check(
            &[worker("a", "1", true), worker("b", "2", true), worker("c", "1", true)],
            Some("the workers run different versions: 1 on a, c; 2 on b; finish the upgrade"),
        );
    }

    #[test]
    fn a_clock_that_disagrees_is_told_with_its_direction() {
        for (ahead, wanted) in [(None, None), (Some(4_999), None), (Some(-4_999), None)] {
            assert_eq!(clock(ahead), wanted);
        }
        assert!(clock(Some(61_500)).unwrap().contains("61 s ahead of"));
        assert!(clock(Some(-7_000)).unwrap().contains("7 s behind"));
    }
}
