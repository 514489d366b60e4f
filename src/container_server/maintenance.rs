//! What an operator does beside the running server: back the database up, and check it.
//!
//! Both read only, and both see one moment of the database while the server goes on writing.

use super::directory_of;
use super::store::{self, Report, StoreError};
use crate::config::ContainerServerConfig;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let copied = store::copy(database, &partial)
        .map_err(|source| MaintenanceError::Database { path: database.to_owned(), source })
        .and_then(|()| put_in_place(&partial, target).map_err(refused));
    if copied.is_err() {
        // What is left of a failed copy is of no use; that it may not be there is fine.
        let _ = std::fs::remove_file(&partial);
    }
    copied
}

fn put_in_place(partial: &Path, target: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, target)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_server::store::{Store, Times};

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
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 4, "two files, and two of the log");
        assert!(Store::open(&target, Times::default()).is_ok());
        assert!(backup(&path, &target).unwrap_err().to_string().contains("choose another"));
    }

    #[test]
    fn a_backup_that_fails_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("copy.db");
        assert!(matches!(backup(Path::new("/no/such.db"), &target), Err(MaintenanceError::Database { .. })));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
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
