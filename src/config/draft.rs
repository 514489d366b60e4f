//! A configuration in the making: the winning value of every key, typed access to it, and the
//! problems met so far. One pass of checks turns it into a typed configuration.

use super::key::{Fallback, Program};
use super::problem::{Problem, Problems};
use super::source::{Given, Reading, in_words, read_text};
use super::url::parse_base_url;
use super::value::{self, Plain, SecretSource};
use super::{BaseUrl, Environment, Loaded, Secret, TlsFiles};
use crate::http::tls::{self, TlsError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The values and what is wrong with them.
pub struct Draft<'a> {
    program: &'static Program,
    environment: &'a Environment,
    given: BTreeMap<&'static str, Given>,
    /// Keys that already have a problem: what follows from it is not reported again.
    unsound: BTreeSet<String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    /// Files that secrets were asked of.
    secret_files: Vec<PathBuf>,
}

impl<'a> Draft<'a> {
    /// Settles which value of each key wins.
    pub fn new(environment: &'a Environment, reading: Reading) -> Self {
        let Reading { program, given, problems, warnings } = reading;
        let unsound = problems.iter().map(|problem| problem.key.clone()).collect();
        let given = given.into_iter().map(|given| (given.key.name, given)).collect();
        let mut draft =
            Self { program, environment, given, unsound, problems, warnings, secret_files: Vec::new() };
        draft.require();
        draft
    }

    /// The typed configuration if nothing was wrong.
    pub fn finish<T>(self, config: T) -> Result<Loaded<T>, Problems> {
        match self.problems.is_empty() {
            true => Ok(Loaded { config, warnings: self.warnings }),
            false => Err(Problems(self.problems)),
        }
    }

    /// Records that the value of a key is wrong, unless that is known already.
    pub fn refuse(&mut self, name: &str, reason: impl Into<String>) {
        if !self.is_sound(name) {
            return;
        }
        self.unsound.insert(name.to_owned());
        let given = self.given.get(name);
        self.problems.push(Problem {
            key: name.to_owned(),
            reason: reason.into(),
            given: given.and_then(|given| given.shown.clone()),
            origin: given.map(|given| given.origin.clone()),
        });
    }

    /// Records something odd that does no harm.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Whether nothing is known to be wrong with a key, nor with the one it takes its value from.
    pub fn is_sound(&self, name: &str) -> bool {
        let inherited = match self.program.key(name).map(|key| key.default) {
            Some(Fallback::SameAs(other)) if !self.is_given(name) => self.is_sound(other),
            _ => true,
        };
        inherited && !self.unsound.contains(name)
    }

    /// Whether a source other than the defaults gave the key.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// A text, without white space around it.
    pub fn text(&self, name: &str) -> String {
        match self.plain(name) {
            Some(Plain::Text(text)) => text.trim().to_owned(),
            _ => String::new(),
        }
    }

    /// A number, in the range of its key.
    pub fn number<T: TryFrom<i64> + Default>(&self, name: &str) -> T {
        match self.plain(name) {
            Some(Plain::Number(number)) => T::try_from(number).unwrap_or_default(),
            _ => T::default(),
        }
    }

    /// A number of seconds.
    pub fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    /// A boolean.
    pub fn boolean(&self, name: &str) -> bool {
        matches!(self.plain(name), Some(Plain::Boolean(true)))
    }

    /// A list.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.plain(name) {
            Some(Plain::List(list)) => list,
            _ => Vec::new(),
        }
    }

    /// Names of hosts.
    pub fn host_names(&mut self, name: &str) -> Vec<String> {
        let hosts = self.list(name);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if let Some(wrong) = hosts.iter().find(|host| !host.bytes().all(is_name)) {
            self.refuse(name, format!("each must be the name of a host, without scheme and port: {wrong:?}"));
        }
        hosts
    }

    /// A secret, fetched from where it is.
    pub fn secret(&mut self, name: &str) -> Secret {
        let source = match self.plain(name) {
            Some(Plain::Secret(source)) => source,
            _ => return Secret::default(),
        };
        if let SecretSource::File(path) = &source {
            self.secret_files.push(PathBuf::from(path));
            self.warn_if_shared(name, Path::new(path));
        }
        self.fetch(&source).unwrap_or_else(|reason| {
            self.refuse(name, reason);
            Secret::default()
        })
    }

    /// An IP address to listen on.
    pub fn ip_address(&mut self, name: &str) -> std::net::IpAddr {
        let text = self.text(name);
        text.trim_start_matches('[').trim_end_matches(']').parse().unwrap_or_else(|_| {
            self.refuse(name, "must be an IP address");
            std::net::Ipv4Addr::LOCALHOST.into()
        })
    }

    /// A path that may be empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Where a service manager wants a service to keep its files, if it says so.
    pub fn state_directory(&self) -> Option<PathBuf> {
        // systemd names several with colons between them.
        let first = self.environment.get("STATE_DIRECTORY")?.split(':').next()?;
        Some(first).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// A path that may be empty, of a file that can be read.
    pub fn readable(&mut self, name: &str) -> Option<PathBuf> {
        let path = self.path(name)?;
        let opened = File::open(&path).and_then(|file| file.metadata());
        match opened {
            Ok(metadata) if metadata.is_dir() => self.refuse(name, "must be a file, not a directory"),
            Ok(_) => {}
            Err(error) => self.refuse(name, format!("cannot be read: {}", in_words(&error, &path))),
        }
        Some(path)
    }

    /// The address of an HTTP peer that may be empty.
    pub fn base_url(&mut self, name: &str, default_prefix: &str) -> Option<BaseUrl> {
        let text = self.text(name);
        if text.is_empty() {
            return None;
        }
        parse_base_url(&text, default_prefix).map_err(|reason| self.refuse(name, reason)).ok()
    }

    /// The PEM files of one TLS role, by the keys that name them: readable, parsed, and the private
    /// key fits the certificate.
    pub fn tls_files(&mut self, ca: &str, cert: &str, key: &str) -> TlsFiles {
        let files = TlsFiles { ca: self.readable(ca), cert: self.readable(cert), key: self.readable(key) };
        if let Some(path) = files.ca.as_ref().filter(|_| self.is_sound(ca)) {
            tls::check_ca(path).unwrap_or_else(|error| self.refuse(ca, error.to_string()));
        }
        if let Some(path) = &files.key {
            self.warn_if_shared(key, path);
        }
        match (&files.cert, &files.key) {
            (Some(_), None) => self.refuse(key, format!("is required with {cert}")),
            (None, Some(_)) => self.refuse(cert, format!("is required with {key}")),
            (Some(cert_file), Some(key_file)) if self.is_sound(cert) && self.is_sound(key) => {
                tls::check_pair(cert_file, key_file).unwrap_or_else(|error| {
                    let of_cert =
                        matches!(error, TlsError::NoCertificate { .. } | TlsError::BadCertificate { .. });
                    self.refuse(if of_cert { cert } else { key }, error.to_string());
                });
            }
            _ => {}
        }
        files
    }

    /// The PEM files of a listener: as [`Self::tls_files`], and client certificates can only be
    /// asked for over HTTPS.
    pub fn server_tls_files(&mut self) -> TlsFiles {
        let files = self.tls_files("ca_file", "server_cert_file", "server_key_file");
        if files.ca.is_some() && files.cert.is_none() {
            self.refuse("server_cert_file", "is required with ca_file");
        }
        files
    }

    /// The port numbers of one address must differ, unless the system chooses them.
    pub fn ports_differ(&mut self) {
        let (port, metric_port): (u16, u16) = (self.number("port"), self.number("metric_port"));
        if port != 0 && port == metric_port && self.is_sound("port") {
            self.refuse("metric_port", format!("must differ from port, which is {port} too"));
        }
    }

    /// The secret in a file whose path is the value of a key.
    pub fn secret_in_file(&mut self, name: &str) -> Option<Secret> {
        let path = self.path(name)?;
        self.secret_files.push(path.clone());
        self.warn_if_shared(name, &path);
        secret_file(&path).map_err(|reason| self.refuse(name, reason)).ok()
    }

    /// The files that secrets were read from so far.
    pub fn take_secret_files(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.secret_files)
    }

    /// Warns about a file that should be this service's alone and that every user of the machine can
    /// read or write. Its group is the operator's choice.
    fn warn_if_shared(&mut self, name: &str, path: &Path) {
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o006 != 0 {
            let path = path.display();
            self.warn(format!(
                "{name}: every user of this machine can read or write {path}; chmod o= {path}"
            ));
        }
    }

    fn require(&mut self) {
        let program = self.program;
        for key in program.keys.iter().filter(|key| key.default == Fallback::Required) {
            if self.text(key.name).is_empty() {
                self.refuse(key.name, format!("is required: {}", key.help));
            }
        }
    }

    /// The value that holds; none if it was refused already.
    fn plain(&self, name: &str) -> Option<Plain> {
        if let Some(given) = self.given.get(name) {
            return given.plain.clone();
        }
        let key = self.program.key(name)?;
        match key.default {
            Fallback::Required => None,
            Fallback::Text(text) => value::from_text(key.kind, text).ok(),
            Fallback::SameAs(other) => self.plain(other),
        }
    }

    fn fetch(&self, source: &SecretSource) -> Result<Secret, String> {
        match source {
            SecretSource::Plain(secret) => Ok(secret.clone()),
            SecretSource::File(path) => secret_file(Path::new(path)),
            SecretSource::Variable(name) => match self.environment.get(name) {
                Some(text) if !text.is_empty() => Ok(Secret::new(text)),
                _ => Err(format!("environment variable {name} is not set or empty")),
            },
            SecretSource::Credential(name) => {
                if name.contains('/') || name.starts_with('.') {
                    return Err("the credential must be a plain name without a slash".to_owned());
                }
                let directory = self.environment.get("CREDENTIALS_DIRECTORY").ok_or(
                    "there are no credentials: CREDENTIALS_DIRECTORY is not set; systemd sets it with LoadCredential=, in a shell set it to the directory of the files",
                )?;
                secret_file(&Path::new(directory).join(name))
            }
        }
    }
}

/// The first line of a file, which holds nothing else.
fn secret_file(path: &Path) -> Result<Secret, String> {
    // Tokens and passwords; a longer file is some other file.
    const LONGEST: u64 = 64 * 1024;
    let text = read_text(path, LONGEST)
        .map_err(|reason| format!("cannot read the secret from {}: {reason}", path.display()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("the file {} is empty", path.display())),
        secret => Ok(Secret::new(secret)),
    }
}
