//! TLS of the client: rustls with ring. The roots are the machine's own (`rustls-native-certs`), because
//! companies add their own authorities there and revoke others, and a list built into the binary ages
//! with it; they are read once in a process. A target may add authorities of its own and show a
//! certificate, both from PEM files: the authorities are read at the start, the certificate again where
//! its file changed, at most [`RELOAD_EVERY`] later and for new connections.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Instant,
};

use rustls::{ClientConfig, RootCertStore, SignatureScheme, client::ResolvesClientCert, sign::CertifiedKey};

use crate::listener::tls::{RELOAD_EVERY, TlsError, authorities, certificates, private_key, read_file};

/// What a target adds to the machine's own roots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// Authorities that are trusted beside the machine's own; PEM.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to who asks for one, and its private key; PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The machine's roots. Without any, `https` fails at its handshake and `http` works.
fn roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(code = %crate::codes::NO_ROOTS, %why, "this machine has no root certificates: an https connection works only to a target with a `ca` of its own");
        }
        roots
    })
}

/// The settings of a client.
///
/// # Errors
/// A file that cannot be read or used.
pub(super) fn config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    // ring by name: another provider in the same binary must not be chosen by chance.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| TlsError::Unusable(e.to_string()))?;
    let mut roots = roots().clone();
    if let Some(ca) = &files.ca {
        authorities(&mut roots, ca, &read_file(ca)?)?;
    }
    let builder = builder.with_root_certificates(roots);
    Ok(match &files.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder.with_client_cert_resolver(Arc::new(Identity::load(cert, key)?)),
    })
}

/// A certificate and its key, read again where they changed.
#[derive(Debug)]
struct Identity {
    cert: PathBuf,
    key: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    used: Arc<CertifiedKey>,
    /// The bytes that were read last, usable or not.
    read: (Vec<u8>, Vec<u8>),
    at: Instant,
}

impl Identity {
    fn load(cert: &std::path::Path, key: &std::path::Path) -> Result<Self, TlsError> {
        let read = (read_file(cert)?, read_file(key)?);
        let (cert, key) = (cert.to_owned(), key.to_owned());
        let used = certified(&cert, &key, &read)?;
        Ok(Identity { cert, key, state: RwLock::new(State { used, read, at: Instant::now() }) })
    }

    /// The certificate for the next connection. Files that cannot be used change nothing.
    fn current(&self) -> Arc<CertifiedKey> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.at.elapsed() < RELOAD_EVERY {
                return state.used.clone();
            }
        }
        let read = read_file(&self.cert).and_then(|cert| Ok((cert, read_file(&self.key)?)));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.at = Instant::now();
        let renewed = match read {
            Ok(read) if read == state.read => return state.used.clone(),
            Ok(read) => {
                let renewed = certified(&self.cert, &self.key, &read);
                state.read = read;
                renewed
            }
            Err(error) => Err(error),
        };
        match renewed {
            Ok(used) => {
                tracing::info!(cert = %self.cert.display(), "the certificate of a target's client was read again");
                state.used = used;
            }
            Err(error) => {
                tracing::error!(code = %crate::codes::TLS_FILES, %error, "a changed client certificate cannot be used; the router goes on with the old one");
            }
        }
        state.used.clone()
    }
}

fn certified(
    cert: &std::path::Path,
    key: &std::path::Path,
    (cert_pem, key_pem): &(Vec<u8>, Vec<u8>),
) -> Result<Arc<CertifiedKey>, TlsError> {
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(certificates(cert, cert_pem)?, private_key(key, key_pem)?, &provider);
    certified.map(Arc::new).map_err(|e| TlsError::Unusable(format!("`{}`: {e}", cert.display())))
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
