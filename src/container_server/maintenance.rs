//! What an operator does beside the running server: back the database up, check it, see and reset fences.
//!
//! The first two read only, and see one moment of the database while the server goes on writing.

use super::directory_of;
use super::store::{self, FenceRow, Report, StoreError};
use crate::config::ContainerServerConfig;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Why a backup or a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The database cannot be opened or read.
    #[error("database {}: {source}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// One cannot be read, or the other not be written.
    #[error("backup {} of database {}: {source}", target.display(), path.display())]
    Copy {
        /// The database.
        path: PathBuf,
        /// The backup.
        target: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The backup cannot be written.
    #[error("backup {}: {source}", path.display())]
    Target {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a complete, compact copy of the records to `target`, which must not exist. It has its
/// name only once it is whole and on the disk. Consumers of the change feed notice when it takes the
/// place of the original.
pub fn backup(database: &Path, target: &Path) -> Result<(), MaintenanceError> {
    let refused = |source| MaintenanceError::Target { path: target.to_owned(), source };
    if target.exists() {
        return Err(refused(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name: choose another",
        )));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".");
    // Of its own name: what a backup that was killed has left, or one that runs has not finished, is
    // neither taken nor touched. Gone with its handle.
    let partial = tempfile::Builder::new()
        .prefix(&name)
        .suffix(".partial")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory_of(target))
        .map_err(refused)?;
    store::copy(database, partial.path()).map_err(|source| MaintenanceError::Copy {
        path: database.to_owned(),
        target: target.to_owned(),
        source,
    })?;
    put_in_place(partial, target).map_err(refused)
}

fn put_in_place(partial: NamedTempFile, target: &Path) -> io::Result<()> {
    partial.as_file().sync_all()?;
    partial.persist_noclobber(target)?;
    File::open(directory_of(target))?.sync_all()
}

/// Looks through the whole database.
pub fn check(database: &Path) -> Result<Report, MaintenanceError> {
    store::inspect(database)
        .map_err(|source| MaintenanceError::Database { path: database.to_owned(), source })
}

/// The command `container-server backup FILE`. Returns the exit code.
pub fn run_backup(config: &ContainerServerConfig, target: &Path) -> i32 {
    match backup(&config.database, target) {
        Ok(()) => {
            log::info!("{} is a complete copy of {}", target.display(), config.database.display());
            0
        }
        Err(error) => {
            log::error!("{error}");
            1
        }
    }
}

/// The command `container-server check`: prints what is there, and what is wrong. Returns the exit
/// code: 1 if anything is.
pub fn run_check(config: &ContainerServerConfig, output: &mut dyn Write) -> i32 {
    let report = match check(&config.database) {
        Ok(report) => report,
        Err(error) => {
            log::error!("{error}");
            return 1;
        }
    };
    // A reader that went away has seen enough; the exit code says the rest.
    let _ = print(&report, output);
    i32::from(!report.damage.is_empty())
}

fn print(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "schema version {}, {} changes in the feed", report.version, report.changes)?;
    for (account, biz, count) in &report.pods {
        writeln!(output, "supplier account {account}, business {biz}: {count} pods")?;
    }
    if report.pods.is_empty() {
        writeln!(output, "no pods")?;
    }
    for line in &report.damage {
        writeln!(output, "damaged: {line}")?;
    }
    if report.damage.is_empty() {
        writeln!(output, "the database is sound")?;
    }
    output.flush()
}

/// The command `container-server fences`: prints who wrote for each cluster last, or forgets that of
/// one. Returns the exit code: 1 if there is none to forget.
pub fn run_fences(config: &ContainerServerConfig, reset: Option<&str>, output: &mut dyn Write) -> i32 {
    let fences = match reset {
        Some(cluster) => store::reset_fence(&config.database, cluster),
        None => store::fences(&config.database),
    };
    let fences =
        fences.map_err(|source| MaintenanceError::Database { path: config.database.clone(), source });
    match (fences, reset) {
        (Err(error), _) => {
            log::error!("{error}");
            1
        }
        (Ok(fences), Some(cluster)) if fences.is_empty() => {
            log::error!("there is no fence of cluster {cluster}; `container-server fences` prints all");
            1
        }
        (Ok(fences), reset) => {
            // A reader that went away has seen enough.
            let _ = print_fences(&fences, reset.is_some(), output);
            0
        }
    }
}

fn print_fences(fences: &[FenceRow], reset: bool, output: &mut dyn Write) -> io::Result<()> {
    let done = if reset { ": forgotten" } else { "" };
    for FenceRow { account, token } in fences {
        let second = jiff::Timestamp::from_second(token.number >> 32).unwrap_or_default();
        let (cluster, number) = (&token.cluster, token.number);
        writeln!(output, "{cluster}, supplier account {account}: fence {number}, of {second}{done}")?;
    }
    if fences.is_empty() {
        writeln!(output, "no fences")?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_server::codes;
    use crate::container_server::store::{FenceToken, Scope, Store, Times};

    fn database(directory: &Path) -> (PathBuf, Store) {
        let path = directory.join("a.db");
        let store = Store::open(&path, Times::default()).unwrap();
        (path, store)
    }

    #[test]
    fn a_backup_of_a_running_store_is_a_whole_database() {
        let directory = tempfile::tempdir().unwrap();
        let (path, store) = database(directory.path());
        store.check().unwrap();
        let target = directory.path().join("copy.db");
        backup(&path, &target).unwrap();
        assert_eq!(check(&target).unwrap(), check(&path).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 5, "two, a lock and two logs");
        assert!(Store::open(&target, Times::default()).is_ok());
        assert!(backup(&path, &target).unwrap_err().to_string().contains("choose another"));
    }

    #[test]
    fn a_backup_that_fails_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("copy.db");
        let error = backup(Path::new("/no/such.db"), &target).unwrap_err().to_string();
        assert!(error.contains("/no/such.db") && error.contains("copy.db"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_backup_left_stands_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _store) = database(directory.path());
        let left = directory.path().join("copy.db.partial");
        std::fs::write(&left, "half of a database").unwrap();
        let target = directory.path().join("copy.db");
        backup(&path, &target).unwrap();
        assert!(check(&target).unwrap().damage.is_empty() && left.exists());
    }

    #[test]
    fn a_database_of_another_version_or_of_something_else_is_told_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let (path, store) = database(directory.path());
        drop(store);
        let backed_up =
            |name: &str| backup(&path, &directory.path().join(name)).map_err(|error| error.to_string());
        let looked = || check(&path).map(|report| report.damage).map_err(|error| error.to_string());
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute_batch("DROP TABLE pod_block; PRAGMA user_version = 2").unwrap();
        assert_eq!((looked(), backed_up("older.db")), (Ok(Vec::new()), Ok(())));
        for (version, words) in [(99, "use a later program"), (0, "no container server has written it")] {
            database.pragma_update(None, "user_version", version).unwrap();
            for error in [looked().unwrap_err(), backed_up("copy.db").unwrap_err()] {
                assert!(error.contains(words), "{error}");
            }
        }
    }

    #[test]
    fn an_operator_sees_the_fences_and_resets_one_while_the_server_runs() {
        let directory = tempfile::tempdir().unwrap();
        let (path, store) = database(directory.path());
        let config = serde_json::json!({"database": path, "cmdb_addr": "127.0.0.1"}).to_string();
        let config = ContainerServerConfig::from_json(&config).unwrap();
        let scope = Scope { account: "0".to_owned(), biz: 2 };
        let fence = |cluster: &str, number| {
            let token = FenceToken { cluster: cluster.to_owned(), number };
            store.fence(&scope, token).map_err(|fault| fault.code)
        };
        let said = |reset| {
            let mut output = Vec::new();
            let code = run_fences(&config, reset, &mut output);
            (code, String::from_utf8(output).unwrap())
        };
        assert_eq!(said(None), (0, "no fences\n".to_owned()));
        fence("BCS-K8S-2", 7).unwrap();
        fence("BCS-K8S-1", (1_750_000_000 << 32) + 9).unwrap();
        let first = "BCS-K8S-1, supplier account 0: fence 7516192768000000009, of 2025-06-15T15:06:40Z";
        let second = "BCS-K8S-2, supplier account 0: fence 7, of 1970-01-01T00:00:00Z";
        assert_eq!(said(None), (0, format!("{first}\n{second}\n")));
        assert_eq!(fence("BCS-K8S-1", 5), Err(codes::FENCED));
        assert_eq!(said(Some("BCS-K8S-1")), (0, format!("{first}: forgotten\n")));
        assert_eq!(fence("BCS-K8S-1", 5), Ok(()));
        assert_eq!(fence("BCS-K8S-2", 6), Err(codes::FENCED), "the others hold");
        assert_eq!(said(Some("BCS-K8S-3")), (1, String::new()));
    }

    #[test]
    fn damage_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (path, store) = database(directory.path());
        drop(store);
        assert_eq!(check(&path).unwrap().damage, Vec::<String>::new());
        let mut bytes = std::fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        assert!(check(&path).map_or(true, |report| !report.damage.is_empty()));
    }
}
