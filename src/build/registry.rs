//! Removes unused manifests from a registry. The registry frees
//! their layers at its next garbage collection.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{BuildError, RegistryLogin, repository};
use crate::domain::AppName;

/// Timeout of one request.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Media types of a manifest of one platform.
const MANIFEST: &str =
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";

/// A client of a registry's HTTP API.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    host: String,
    login: Option<RegistryLogin>,
    client: Client,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Layer,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
    #[serde(default)]
    size: u64,
}

/// The manifest of a tag.
struct Kept {
    digest: String,
    layers: Vec<Layer>,
}

impl Registry {
    pub(super) fn new(host: &str, login: Option<&RegistryLogin>) -> Self {
        let client = Client::builder()
            .timeout(CALL_LIMIT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("the TLS provider is installed at start");
        Self { host: host.to_owned(), login: login.cloned(), client }
    }

    /// Removes all manifests of an app except those in `keep`, by digest. Returns the bytes of the layers
    /// that no remaining one needs. Missing manifests are not an error.
    pub(super) async fn prune(&self, app: &AppName, keep: &HashSet<&str>) -> Result<u64, BuildError> {
        let repository = repository(app);
        let Some(found) = self.manifests(&repository).await? else { return Ok(0) };
        let (kept, unneeded): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|manifest| keep.contains(manifest.digest.as_str()));
        let mut counted: HashSet<String> = kept.into_iter().flat_map(|kept| kept.layers).map(|l| l.digest).collect();
        let (mut freed, mut removed) = (0, HashSet::new());
        for manifest in unneeded {
            if !removed.insert(manifest.digest.clone()) {
                continue;
            }
            let path = format!("{repository}/manifests/{}", manifest.digest);
            let answer = self.ask(Method::DELETE, &path).await?;
            match answer.status() {
                StatusCode::METHOD_NOT_ALLOWED => {
                    return Err(self.refused("it does not allow images to be deleted: set storage.delete.enabled"));
                }
                status if status.is_success() || status == StatusCode::NOT_FOUND => {}
                status => return Err(self.refused(&format!("it answered {status} to the deletion of an image"))),
            }
            for layer in manifest.layers {
                if counted.insert(layer.digest) {
                    freed += layer.size;
                }
            }
        }
        Ok(freed)
    }

    /// Checks that the registry answers and accepts the login.
    pub(super) async fn ping(&self) -> Result<(), BuildError> {
        let answer = self.send(Method::GET, "").await?;
        // A registry with a token server always requests a token, which the engine gets itself.
        if answer.status() == StatusCode::UNAUTHORIZED && !wants_token(&answer) {
            return Err(self.wants_login(&answer));
        }
        Ok(())
    }

    /// The manifest of each tag of a repository; empty if there is no such repository.
    async fn manifests(&self, repository: &str) -> Result<Option<Vec<Kept>>, BuildError> {
        let answer = self.ask(Method::GET, &format!("{repository}/tags/list")).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let tags: Tags = self.read(answer).await?;
        let mut found = Vec::new();
        for tag in tags.tags.unwrap_or_default() {
            let answer = self.ask(Method::GET, &format!("{repository}/manifests/{tag}")).await?;
            // Its manifest was removed with another tag.
            if answer.status() == StatusCode::NOT_FOUND {
                continue;
            }
            let digest = answer.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
            let Some(digest) = digest.map(str::to_owned) else { continue };
            let manifest: Manifest = self.read(answer).await?;
            let mut layers = manifest.layers;
            layers.push(manifest.config);
            found.push(Kept { digest, layers });
        }
        Ok(Some(found))
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Response, BuildError> {
        let answer = self.send(method, path).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(self.wants_login(&answer));
        }
        Ok(answer)
    }

    async fn send(&self, method: Method, path: &str) -> Result<Response, BuildError> {
        let mut last = None;
        // Like the engine: TLS if the registry supports it, else plain HTTP on private networks.
        for scheme in schemes(&self.host, self.login.is_some()) {
            let url = format!("{scheme}://{}/v2/{path}", self.host);
            let mut request = self.client.request(method.clone(), url).header("Accept", MANIFEST);
            if let Some(login) = &self.login {
                request = request.basic_auth(&login.username, Some(login.password.expose_secret()));
            }
            match request.send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        // The innermost cause; outer errors only name the library's layers.
        let innermost = |error: &dyn std::error::Error| {
            std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string)
        };
        let message = last.and_then(|error| innermost(&error)).unwrap_or_default();
        Err(BuildError::RegistryAway { registry: self.host.clone(), message })
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, answer: Response) -> Result<T, BuildError> {
        if !answer.status().is_success() {
            return Err(self.refused(&format!("it answered {}", answer.status())));
        }
        answer.json().await.map_err(|error| self.refused(&format!("its answer cannot be read: {error}")))
    }

    fn wants_login(&self, answer: &Response) -> BuildError {
        self.refused(if wants_token(answer) {
            "it wants a token for this, which Slipway cannot get"
        } else if self.login.is_some() {
            "it does not know the user of SLIPWAY_REGISTRY_USERNAME with the password that is set"
        } else {
            "it wants a login: set SLIPWAY_REGISTRY_USERNAME and SLIPWAY_REGISTRY_PASSWORD"
        })
    }

    fn refused(&self, message: &str) -> BuildError {
        BuildError::Registry { registry: self.host.clone(), message: message.to_owned() }
    }
}

/// Whether it refers to a token server.
fn wants_token(answer: &Response) -> bool {
    let challenge = answer.headers().get(WWW_AUTHENTICATE).and_then(|challenge| challenge.to_str().ok());
    challenge.and_then(|challenge| challenge.get(..6)).is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
}

/// The schemes to try, in order. Plain HTTP is allowed for loopback, a cluster's own Services and, if no login is
/// sent, private networks.
fn schemes(host: &str, with_secret: bool) -> &'static [&'static str] {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let labels: Vec<&str> = name.split('.').collect();
    let is_service = matches!(labels.as_slice(), [.., "svc"] | [.., "svc", "cluster", "local"]);
    match name.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => &["http", "https"],
        Ok(IpAddr::V4(ip)) if ip.is_private() && !with_secret => &["https", "http"],
        _ if name == "localhost" || is_service => &["http", "https"],
        _ => &["https"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_limited_to_private_networks() {
        for near in ["127.0.0.1:5000", "localhost:5000", "registry.builder-system.svc.cluster.local:5000"] {
            assert_eq!(schemes(near, true)[0], "http", "{near}");
        }
        assert_eq!(schemes("10.96.27.176:5000", false), ["https", "http"]);
        assert_eq!(schemes("10.96.27.176:5000", true), ["https"], "a password is not sent in plain text");
        for far in ["registry.example.com", "203.0.113.4:5000", "registry.svc.example.com"] {
            assert_eq!(schemes(far, false), ["https"], "{far}");
        }
    }
}
