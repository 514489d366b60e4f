//! Certificates that are renewed while the server runs.
//!
//! Looks at the files of the port's certificate, its key and its CA; when one has changed, whoever
//! connects from then on meets what is in them now. Files that cannot be used change nothing.

use crate::config::TlsFiles;
use crate::coordination::Looker;
use crate::front::Front;
use crate::http::tls;
use crossbeam::channel::never;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of the files from another; none: a file cannot be seen.
type Versions = [Option<(u64, u64, i64, i64)>; 3];

/// The thread that looks. Stops when dropped.
pub struct Renewal {
    _looker: Looker,
}

impl Renewal {
    /// Looks after the certificates of a port that speaks TLS by `files`, as they were when `seen` was taken.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(files: TlsFiles, mut seen: Versions, port: Arc<Front>) -> io::Result<Self> {
        let looker = Looker::start("certificates", never(), move || {
            let now = versions(&files);
            if now != seen {
                seen = now;
                renew(&files, &port);
            }
            LOOK
        })?;
        Ok(Self { _looker: looker })
    }
}

fn renew(files: &TlsFiles, port: &Front) {
    match tls::server_config(files) {
        Ok(config) => {
            port.set_tls(config);
            log::info!("the certificate files have changed; they are in force for new connections");
        }
        Err(error) => {
            log::warn!("the certificate files have changed: {error}; what was in them stays in force")
        }
    }
}

/// The files as they are now.
pub fn versions(files: &TlsFiles) -> Versions {
    [&files.ca, &files.cert, &files.key].map(|path| {
        let found = std::fs::metadata(path.as_ref()?).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    })
}
