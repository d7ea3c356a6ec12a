//! What the files of a certificate hold, and what rustls makes of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// The most bytes of such a file: a chain of certificates takes a few thousand.
const MOST_BYTES: u64 = 1 << 20;

/// Where a certificate and its key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, first, and those that lead from it to a root.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// Where there are some: the roots of clients' certificates, without one of which no client is let in.
    pub client_ca: Option<PathBuf>,
}

/// A certificate, key or root that cannot be used.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    problem: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem)
    }
}

impl std::error::Error for TlsError {}

/// The files' bytes. It has no `Debug`: one of them is a private key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Arc<[u8]>,
    key: Arc<[u8]>,
    client_ca: Option<Arc<[u8]>>,
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

impl Contents {
    /// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    pub(super) fn to_config(&self, files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => problem(&files.key, "there is no private key in it (PEM)"),
            error => problem(&files.key, error),
        })?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| problem(&files.certificate, error))?;
        let config = match (&files.client_ca, &self.client_ca) {
            (Some(file), Some(bytes)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(file, bytes)? {
                    roots.add(root).map_err(|error| problem(file, error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                config.with_client_cert_verifier(verifier.map_err(|error| problem(file, error))?)
            }
            _ => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                problem(&files.key, format!("it is not the key of {}", files.certificate.display()))
            }
            error => problem(&files.certificate, error),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| problem(file, error))?;
    if found.is_empty() {
        return Err(problem(file, "there is no certificate in it (PEM)"));
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Arc<[u8]>, TlsError> {
    let size = std::fs::metadata(file).map_err(|error| problem(file, error))?.len();
    if size > MOST_BYTES {
        return Err(problem(file, format!("it has {size} bytes, more than such a file can need")));
    }
    std::fs::read(file).map(Into::into).map_err(|error| problem(file, error))
}

fn problem(file: &Path, problem: impl fmt::Display) -> TlsError {
    TlsError { file: file.to_owned(), problem: problem.to_string() }
}
