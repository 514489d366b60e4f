//! Certificates made on the spot, written as the PEM files a configuration names.

#![allow(dead_code)] // Each test file uses its own part.

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use std::path::PathBuf;
use tempfile::TempDir;

/// A CA with a directory for its files.
pub struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The CA's own certificate.
    pub ca: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, issuer.pem()).unwrap();
        Self { dir, issuer, ca }
    }

    /// A certificate for `name` (a DNS name or an address), and its key; `ca` is left out.
    pub fn issue(&self, name: &str) -> TlsFiles {
        self.issue_between(name, 2000, 4000)
    }

    /// The same, valid from the first day of one year to that of another.
    pub fn issue_between(&self, name: &str, from: i32, until: i32) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.dir.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(path("cert"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        TlsFiles { ca: None, cert: Some(path("cert")), key: Some(path("key")) }
    }

    /// The same, trusting this authority.
    pub fn trusting(&self, files: TlsFiles) -> TlsFiles {
        TlsFiles { ca: Some(self.ca.clone()), ..files }
    }
}
