//! TLS on rustls with ring: what the configuration names becomes a client or a server config.
//!
//! Owns the reading of PEM files and the check of the peer's chain. A certificate of bcs-storage
//! carries no usable host name (protocol.md 1), so names are compared only where that is asked for;
//! the chain is always verified. TLS 1.2 and 1.3, nothing older.

use crate::config::TlsFiles;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
/// Bundles of all public CAs are below 300 KiB; a larger file is not what was meant.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// Why certificates or keys cannot be used; each says which file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{}: {error}; the service's user has to be able to read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// It holds no PEM certificate.
    #[error("{}: no certificate in it; a PEM file with BEGIN CERTIFICATE is expected", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in it makes no sense.
    #[error("{}: not a usable certificate: {reason}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// It holds no PEM private key.
    #[error("{}: no private key in it; a PEM file with BEGIN PRIVATE KEY is expected", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key needs a passphrase, and a service has nobody to ask.
    #[error(
        "{path}: the private key is encrypted; write it without a passphrase with \
         `openssl pkey -in {path} -out plain-key.pem` and name that file, readable by the service only",
        path = path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate do not belong together, or the key is of a kind nobody uses.
    #[error("{}: does not fit the certificate in {}: {reason}", key.display(), cert.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
        /// In words.
        reason: String,
    },
    /// One of certificate and key is given without the other.
    #[error("{}: is given without its {missing}; give both or none", given.display())]
    Half {
        /// The file that is given.
        given: PathBuf,
        /// `certificate` or `private key`.
        missing: &'static str,
    },
    /// A listener has no certificate.
    #[error("HTTPS needs a certificate and its private key")]
    NoServerCertificate,
    /// The machine trusts nobody.
    #[error("this machine has no root certificates ({reason}); install ca-certificates, or name a CA file")]
    NoRoots {
        /// In words.
        reason: String,
    },
    /// rustls refuses the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// A client: trusts `files.ca`, or the machine's roots if there is none, and shows `files.cert` if
/// there is one. Names in certificates count only with `verify_hostname`.
pub fn client_config(files: &TlsFiles, verify_hostname: bool) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &files.ca {
        Some(path) => roots_of(path)?,
        None => machine_roots()?,
    };
    client(identity(files)?, if verify_hostname { Trust::Named(roots) } else { Trust::Chain(roots) })
}

/// A client for a listener with the same `files`, whoever signed its certificate: trusts that very
/// certificate, and shows it.
pub fn client_of_own_listener(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let identity = identity(files)?.ok_or(TlsError::NoServerCertificate)?;
    let own = identity.0.first().cloned().ok_or(TlsError::NoServerCertificate)?;
    client(Some(identity), Trust::Only(own))
}

fn client(identity: Option<Identity>, trust: Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&VERSIONS)
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = match trust {
        Trust::Named(roots) => builder.with_root_certificates(roots),
        trust => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(WithoutName { trust, algorithms }))
        }
    };
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Setup(error.to_string()))?
        }
    };
    Ok(Arc::new(config))
}

/// A listener with `files.cert`; with `files.ca` it wants a client certificate that CA signed.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let (chain, key) = identity(files)?.ok_or(TlsError::NoServerCertificate)?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&VERSIONS)
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = match &files.ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots_of(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::Setup(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| TlsError::Setup(error.to_string()))?;
    Ok(Arc::new(config))
}

/// Whether both files can be used, and together.
pub fn check_pair(cert: &Path, key: &Path) -> Result<(), TlsError> {
    pair(cert, key).map(drop)
}

/// Whether the file holds certificates to trust.
pub fn check_ca(path: &Path) -> Result<(), TlsError> {
    roots_of(path).map(drop)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(files: &TlsFiles) -> Result<Option<Identity>, TlsError> {
    match (&files.cert, &files.key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => pair(cert, key).map(Some),
        (Some(cert), None) => Err(TlsError::Half { given: cert.clone(), missing: "private key" }),
        (None, Some(key)) => Err(TlsError::Half { given: key.clone(), missing: "certificate" }),
    }
}

fn pair(cert: &Path, key: &Path) -> Result<Identity, TlsError> {
    let chain = certificates(cert)?;
    let private = private_key(key)?;
    // A key that ring cannot read, and one that belongs to another certificate, both end here.
    CertifiedKey::from_der(chain.clone(), private.clone_key(), &ring::default_provider()).map_err(
        |error| match error {
            rustls::Error::InvalidCertificate(_) => {
                TlsError::BadCertificate { path: cert.to_owned(), reason: error.to_string() }
            }
            _ => TlsError::KeyMismatch {
                key: key.to_owned(),
                cert: cert.to_owned(),
                reason: error.to_string(),
            },
        },
    )?;
    Ok((chain, private))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LIMIT).read_to_end(&mut bytes))
        .map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })?;
    Ok(bytes)
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.to_owned();
    match CertificateDer::pem_slice_iter(&read(&path)?).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::NoCertificate { path }),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(TlsError::BadCertificate { path, reason: error.to_string() }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let path = path.to_owned();
    let holds = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    // PKCS #8 says it in its label, the older form in a header.
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::EncryptedKey { path });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey { path })
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::BadCertificate { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(roots)
}

fn machine_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = found.errors.first().map_or("none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots { reason });
    }
    Ok(roots)
}

/// Whom a client trusts.
#[derive(Debug)]
enum Trust {
    /// Who has a chain up to these roots, and the name that was dialled.
    Named(RootCertStore),
    /// Who has a chain up to these roots.
    Chain(RootCertStore),
    /// Who has this certificate.
    Only(CertificateDer<'static>),
}

/// Verifies the chain up to our roots, dates and purpose included, and leaves the name alone; or that
/// the certificate is the one that is known.
#[derive(Debug)]
struct WithoutName {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for WithoutName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = match &self.trust {
            Trust::Named(roots) | Trust::Chain(roots) => roots,
            Trust::Only(known) if known == end_entity => return Ok(ServerCertVerified::assertion()),
            Trust::Only(_) => {
                return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
            }
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
