//! The private directory of a port's inner sockets: made at the start, removed at the end. What a
//! process that was killed left behind is removed by the next one that starts.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What their names begin with, in the directory for temporary files.
const PREFIX: &str = "bkcmdb-sync-";
/// A socket in it that nobody sends to: bound for as long as the owner lives, however that ends.
const ALIVE: &str = "alive";

/// A directory that only this user may enter; removed when dropped.
pub(super) struct PrivateDirectory {
    path: PathBuf,
    sockets: AtomicU64,
    _alive: UnixDatagram,
}

impl PrivateDirectory {
    /// A new one in the directory for temporary files.
    pub fn create() -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{}", random_token()?));
        let words = |error: io::Error| {
            let text = format!(
                "cannot make the directory {}: {error}; set TMPDIR to a writable one",
                path.display()
            );
            io::Error::new(error.kind(), text)
        };
        // Fails if the name exists: nobody can have prepared it.
        DirBuilder::new().mode(0o700).create(&path).map_err(words)?;
        let alive = UnixDatagram::bind(path.join(ALIVE)).map_err(words)?;
        // What others left is their loss, not ours: without it all works as well.
        let _ = remove_dead(parent, fs::metadata(&path)?.uid());
        Ok(Self { path, sockets: AtomicU64::new(0), _alive: alive })
    }

    /// A path for one more socket.
    pub fn next_socket(&self) -> PathBuf {
        self.path.join(self.sockets.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Removes the directories of this user whose owners have ended. One without the socket may be about
/// to get it, and stays.
fn remove_dead(parent: &Path, user: u32) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_dir() && metadata.uid() == user && is_dead(&path.join(ALIVE)) {
                // Two that start at the same time may both try.
                let _ = fs::remove_dir_all(path);
            }
        }
    }
    Ok(())
}

/// Whether a socket is there and its process is not.
fn is_dead(socket: &Path) -> bool {
    let connected = UnixDatagram::unbound().and_then(|from| from.connect(socket));
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// From a cryptographic source: whoever shares the machine must not guess it.
pub(super) fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_or_is_no_directory_of_ours_stays() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let living = PrivateDirectory::create_in(parent.path()).unwrap();
        let dead = make("bkcmdb-sync-dead");
        drop(UnixDatagram::bind(dead.join(ALIVE)).unwrap());
        fs::write(dead.join("0"), "").unwrap();
        let starting = make("bkcmdb-sync-starting");
        let elsewhere = make("elsewhere");
        drop(UnixDatagram::bind(elsewhere.join(ALIVE)).unwrap());
        let link = parent.path().join("bkcmdb-sync-link");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();

        let next = PrivateDirectory::create_in(parent.path()).unwrap();
        for (path, stays) in [
            (&living.path, true),
            (&next.path, true),
            (&dead, false),
            (&starting, true),
            (&elsewhere, true),
            (&link, true),
        ] {
            assert_eq!(path.exists(), stays, "{}", path.display());
        }
        let path = next.path.clone();
        drop(next);
        assert!(!path.exists() && living.path.exists());
    }
}
