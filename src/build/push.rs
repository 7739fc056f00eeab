//! Pushes images to the registry.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::{BuildError, ImageBuilder, repository};
use crate::domain::{AppName, ImageRef, VersionId};
use crate::engine::{self, Fault};

/// Timeout of a push.
const PUSH_LIMIT: Duration = Duration::from_mins(10);

impl ImageBuilder {
    /// Pushes a version's image and returns the name under which nodes pull it, with the registry's
    /// digest. Without a registry the image stays in the engine, and its name is unchanged.
    /// Layers that the registry has are not sent again.
    ///
    /// # Errors
    /// [`BuildError::Push`] with the registry's message; [`BuildError::Cancelled`]; an unavailable engine.
    pub async fn push(
        &self,
        app: &AppName,
        version: &VersionId,
        image: &ImageRef,
        cancel: &CancellationToken,
    ) -> Result<ImageRef, BuildError> {
        let Some(registry) = &self.settings.registry else { return Ok(image.clone()) };
        let name = format!("{registry}/{}", repository(app));
        let options = TagImageOptionsBuilder::new().repo(&name).tag(version.as_str()).build();
        engine::call(engine::QUICK, self.docker.tag_image(image.digest(), Some(options))).await?;
        let pushed = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(BuildError::Cancelled),
            pushed = tokio::time::timeout(PUSH_LIMIT, self.send(&name, version)) => pushed,
        };
        let refused = |message: String| BuildError::Push { registry: registry.clone(), message };
        let digest = match pushed {
            Ok(Ok(digest)) => digest,
            Ok(Err(fault @ (Fault::Unavailable(_) | Fault::DiskFull))) => return Err(fault.into()),
            Ok(Err(Fault::Other(message) | Fault::NotFound(message) | Fault::Conflict(message))) => {
                // The engine has many messages for an unavailable registry or a missing login, so ask the registry itself.
                if let Some(registry) = &self.registry {
                    registry.ping().await?;
                }
                return Err(refused(message));
            }
            Err(_) => return Err(refused("it took longer than ten minutes".to_owned())),
        };
        // The engine pushes a tag, which may have been moved meanwhile; the digest identifies the pushed image.
        let sent = engine::call(engine::QUICK, self.docker.inspect_image(&format!("{name}@{digest}"))).await?;
        if sent.id.as_deref() != Some(image.digest()) {
            return Err(refused("the tag was moved to another image during the push; try again".to_owned()));
        }
        let pull = self.settings.registry_pull.as_ref().unwrap_or(registry);
        format!("{pull}/{}@{digest}", repository(app))
            .parse()
            .map_err(|_| refused(format!("it answered “{digest}”, which is no digest")))
    }

    /// Sends missing layers, and returns the manifest's digest.
    async fn send(&self, name: &str, version: &VersionId) -> Result<String, Fault> {
        let options = PushImageOptionsBuilder::new().tag(version.as_str()).build();
        let login = self.settings.registry_login.as_ref().map(|login| DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.expose_secret().to_owned()),
            serveraddress: self.settings.registry.clone(),
            ..DockerCredentials::default()
        });
        let mut stream = std::pin::pin!(self.docker.push_image(name, Some(options), login));
        let mut digest = None;
        while let Some(progress) = stream.next().await {
            // The last line is `<tag>: digest: sha256:… size: …`.
            let status = progress?.status.unwrap_or_default();
            if let Some((_, rest)) = status.split_once("digest: ") {
                digest = rest.split_whitespace().next().map(str::to_owned);
            }
        }
        digest.ok_or_else(|| Fault::Other("it did not say under which digest it keeps the image".to_owned()))
    }
}
