//! Mutual TLS with an engine: each side proves its identity with a certificate of a common authority.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::Invalid;

/// The TLS configuration for one engine.
#[derive(Clone)]
pub(super) struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

// Omits the configuration, which contains the private key.
impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` in `folder`. The engine has to prove that it is `name`, with a
    /// certificate that `ca.pem` has signed. The machine's own certificate authorities are not trusted.
    pub(super) fn read(folder: &Path, name: &str) -> Result<Self, Invalid> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Invalid::new(format!("“{name}” is no host that a certificate could be for.")))?;
        let [ca_file, cert_file, key_file] = ["ca.pem", "cert.pem", "key.pem"].map(|file| folder.join(file));
        let mut roots = RootCertStore::empty();
        for authority in certificates(&ca_file)? {
            roots.add(authority).map_err(|error| unusable(&ca_file, &error.to_string()))?;
        }
        let chain = certificates(&cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|error| unreadable(&key_file, &error))?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    unusable(&key_file, &format!("it is not the key of {}", cert_file.display()))
                }
                other => unusable(&cert_file, &other.to_string()),
            })?;
        Ok(Self { config: Arc::new(config), name })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(file, "there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(file: &Path, error: &pem::Error) -> Invalid {
    match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => unusable(
            file,
            "there is no such file. TLS with the engine needs ca.pem, cert.pem and key.pem in the folder of DOCKER_CERT_PATH",
        ),
        pem::Error::Io(error) => unusable(file, &error.to_string()),
        pem::Error::NoItemsFound => unusable(file, "there is nothing in it that can be used"),
        other => unusable(file, &format!("it is no PEM file ({other})")),
    }
}

fn unusable(file: &Path, reason: &str) -> Invalid {
    Invalid::new(format!("{} cannot be used for TLS with the engine: {reason}.", file.display()))
}

/// Explains a TLS error to the operator of the engine, without a full stop.
pub(super) fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate was not signed by the authority in ca.pem".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another host than DOCKER_HOST names".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
        ) => "it does not accept our certificate (cert.pem): both must come from the same authority".to_owned(),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS: have it listen with --tlsverify, --tlscacert, --tlscert and --tlskey".to_owned()
        }
        other => format!("TLS with it fails: {other}"),
    }
}
