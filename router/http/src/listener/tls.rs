//! TLS of the listener: certificate chain, key and, by choice, the authority of client certificates, all
//! as PEM files. They are read again when they change: at most [`RELOAD_EVERY`] later new connections get
//! the new certificate, and those that are open stay. Files that cannot be used, e.g. a new certificate
//! beside the old key, change nothing: the router goes on with what it has and says so in its log.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// How often the files are looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(10);
/// Bytes of one file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its root, in this order; PEM.
    pub cert: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1; PEM.
    pub key: PathBuf,
    /// Certificates of the authorities whose clients alone may connect; PEM. Without, no client is asked.
    pub client_ca: Option<PathBuf>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("the file `{}` cannot be read: {why}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A file that holds something else.
    #[error("the file `{}` holds no {what} as PEM", .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// What rustls cannot use, e.g. a key that does not belong to the certificate.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(String),
}

/// What identifies the bytes of all files.
type Digest = [u8; 32];

/// The settings in use, and how to renew them.
pub(super) struct Tls {
    files: TlsFiles,
    every: Duration,
    state: RwLock<State>,
}

struct State {
    config: Arc<ServerConfig>,
    used: Digest,
    /// Files that were refused, so that each is told of once.
    refused: Option<Digest>,
}

impl Tls {
    pub(super) fn load(files: TlsFiles, every: Duration) -> Result<Self, TlsError> {
        let (bytes, used) = read(&files)?;
        let config = Arc::new(config(&files, &bytes)?);
        Ok(Tls { files, every, state: RwLock::new(State { config, used, refused: None }) })
    }

    /// The settings for the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Reads the files again for ever; dropped with the listener.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.every).await;
            let this = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || this.renew()).await {
                tracing::error!(code = %crate::codes::TLS_FILES, %error, "certificates could not be looked at");
            }
        }
    }

    fn renew(&self) {
        let (bytes, digest) = match read(&self.files) {
            Ok(read) => read,
            Err(error) => return self.refuse(Digest::default(), &error),
        };
        if self.state.read().unwrap_or_else(PoisonError::into_inner).used == digest {
            return;
        }
        match config(&self.files, &bytes) {
            Ok(config) => {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                *state = State { config: Arc::new(config), used: digest, refused: None };
                tracing::info!(cert = %self.files.cert.display(), "certificates were read again");
            }
            Err(error) => self.refuse(digest, &error),
        }
    }

    fn refuse(&self, digest: Digest, error: &TlsError) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.refused.replace(digest) != Some(digest) {
            tracing::error!(code = %crate::codes::TLS_FILES, %error, "changed certificates cannot be used; the router goes on with the old ones");
        }
    }
}

/// The bytes of cert, key and client CA.
struct Bytes {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

fn read(files: &TlsFiles) -> Result<(Bytes, Digest), TlsError> {
    let client_ca = files.client_ca.as_deref().map(read_file).transpose()?;
    let bytes = Bytes { cert: read_file(&files.cert)?, key: read_file(&files.key)?, client_ca };
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [&bytes.cert, &bytes.key].into_iter().chain(&bytes.client_ca) {
        // The length before each, so that no two sets of files are the same bytes in a row.
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = Digest::try_from(hash.finish().as_ref()).unwrap_or_default();
    Ok((bytes, digest))
}

/// Reads a PEM file of at most [`FILE_BYTES_MAX`] bytes.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |why| TlsError::File { path: path.into(), why };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes"))));
    }
    Ok(bytes)
}

/// The certificates in the bytes of a PEM file: at least one.
pub(crate) fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certs: Vec<_> = CertificateDer::pem_slice_iter(bytes).filter_map(Result::ok).collect();
    if certs.is_empty() { Err(TlsError::Pem { path: path.into(), what: "certificate" }) } else { Ok(certs) }
}

/// The private key in the bytes of a PEM file.
pub(crate) fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| TlsError::Pem { path: path.into(), what: "private key" })
}

/// The authorities in the bytes of a PEM file, added to `roots`.
pub(crate) fn authorities(roots: &mut RootCertStore, path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    for cert in certificates(path, bytes)? {
        roots.add(cert).map_err(|e| TlsError::Unusable(format!("`{}`: {e}", path.display())))?;
    }
    Ok(())
}

fn config(files: &TlsFiles, bytes: &Bytes) -> Result<ServerConfig, TlsError> {
    let unusable = |e: &dyn std::fmt::Display| TlsError::Unusable(e.to_string());
    // ring by name: another provider in the same binary must not be chosen by chance.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| unusable(&e))?;
    let builder = match (&files.client_ca, &bytes.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            authorities(&mut roots, path, pem)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| unusable(&e))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let certs = certificates(&files.cert, &bytes.cert)?;
    let key = private_key(&files.key, &bytes.key)?;
    let mut config = builder.with_single_cert(certs, key).map_err(|e| unusable(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
