//! Removal of images. Only images with an app's labels are removed.

use std::collections::{HashMap, HashSet};

use bollard::models::ImageSummary;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, PruneImagesOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{BuildError, ImageBuilder, STEP_REPOSITORY};
use crate::domain::{AppId, AppName, ImageRef};
use crate::engine::{self, Fault};

/// Concurrent requests about images.
const LOOKS_AT_ONCE: usize = 8;
/// Number of newest images of build steps that are cached.
const STEPS_KEPT: usize = 24;

/// Disk usage of this builder's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDisk {
    /// Number of images of all apps.
    pub images: usize,
    /// Their size in bytes including their bases; shared layers count once.
    pub bytes: u64,
}

impl ImageBuilder {
    /// Disk usage of all apps' images. Queries the engine for each of them.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn disk(&self) -> Result<ImageDisk, BuildError> {
        let options = ListImagesOptionsBuilder::new().filters(&self.settings.installation.filter()).build();
        let images = engine::call(engine::SLOW, self.docker.list_images(Some(options))).await?;
        let count = images.len();
        let histories = images.into_iter().map(|image| async move {
            match engine::call(engine::QUICK, self.docker.image_history(&image.id)).await {
                Err(Fault::NotFound(_)) => Ok(Vec::new()),
                other => other,
            }
        });
        let histories: Vec<_> = stream::iter(histories).buffer_unordered(LOOKS_AT_ONCE).try_collect().await?;
        // A pulled layer has no id: then its history identifies it.
        let layers = histories.into_iter().flatten().map(|layer| {
            let how = if layer.id == "<missing>" { layer.created_by } else { layer.id };
            (how, layer.created, layer.size)
        });
        let layers: HashSet<_> = layers.collect();
        let bytes = layers.iter().filter_map(|(.., size)| u64::try_from(*size).ok()).sum();
        Ok(ImageDisk { images: count, bytes })
    }

    /// Removes all images of an app from the registry, if there is one. Missing images are not an
    /// error.
    ///
    /// # Errors
    /// If the registry does not answer or refuses.
    pub async fn remove_pushed(&self, app: &AppName) -> Result<(), BuildError> {
        match &self.registry {
            Some(registry) => registry.prune(app, &HashSet::new()).await.map(drop),
            None => Ok(()),
        }
    }

    /// Removes all images of an app from the engine. Missing images are not an error.
    ///
    /// # Errors
    /// If the engine does not answer, or a container still runs from one of them.
    pub async fn remove_app(&self, app: &AppName, app_id: AppId) -> Result<(), BuildError> {
        for image in self.images(app, app_id).await? {
            self.remove(&image.id).await?;
        }
        self.settings.ledger.forget(app_id, |_| true);
        Ok(())
    }

    /// Removes the images of an app that are not in `keep`, and leftovers of its failed builds.
    /// Images of existing containers stay. Returns the freed bytes.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn prune(&self, app: &AppName, app_id: AppId, keep: &[ImageRef]) -> Result<u64, BuildError> {
        let kept: HashSet<&str> = keep.iter().map(ImageRef::digest).collect();
        let mut freed = match &self.registry {
            // The engine has another disk, so continue with it.
            Some(registry) => registry.prune(app, &kept).await.unwrap_or_else(|error| {
                tracing::warn!(%app, %error, "failed to delete old images from the registry");
                0
            }),
            None => 0,
        };
        let mut gone = HashSet::new();
        for image in self.images(app, app_id).await? {
            // Pushed images are identified by the registry's digest, others by their id.
            let is_kept = kept.contains(image.id.as_str())
                || image.repo_digests.iter().filter_map(|d| d.split_once('@')).any(|(_, digest)| kept.contains(digest));
            if is_kept {
                continue;
            }
            let layers = match engine::call(engine::QUICK, self.docker.image_history(&image.id)).await {
                Ok(layers) => layers,
                Err(Fault::NotFound(_)) => continue,
                Err(fault) => return Err(fault.into()),
            };
            let sizes: HashMap<_, _> = layers.into_iter().map(|layer| (layer.id, layer.size)).collect();
            match self.remove(&image.id).await {
                Ok(removed) => {
                    let bytes = removed.iter().filter_map(|id| sizes.get(id));
                    freed += bytes.filter_map(|size| u64::try_from(*size).ok()).sum::<u64>();
                    gone.insert(image.id);
                }
                // In use by a container that is not in `keep`.
                Err(Fault::Conflict(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        if !gone.is_empty() {
            self.settings.ledger.forget(app_id, |id| gone.contains(id));
        }
        self.prune_unfinished_later();
        Ok(freed)
    }

    /// Removes leftovers of failed builds in the background, once no build runs.
    pub(super) fn prune_unfinished_later(&self) {
        let builder = self.clone();
        tokio::spawn(async move {
            if let Err(error) = builder.prune_unfinished().await {
                tracing::debug!(%error, "failed to remove leftovers of failed builds");
            }
        });
    }

    /// Removes images of unfinished builds, and all except the newest images of steps.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn prune_unfinished(&self) -> Result<(), BuildError> {
        // A running build may be about to use them: the last one calls this too.
        let Ok(_alone) = self.building.try_write() else { return Ok(()) };
        let steps = format!("{STEP_REPOSITORY}/{}", self.settings.installation);
        let filter = HashMap::from([("reference", vec![steps.as_str()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filter).build();
        let mut images = engine::call(engine::SLOW, self.docker.list_images(Some(options))).await?;
        images.sort_by_key(|image| std::cmp::Reverse(image.created));
        for name in images.into_iter().skip(STEPS_KEPT).flat_map(|image| image.repo_tags) {
            // Only its name is removed while an app's image is built on it.
            match engine::call(engine::SLOW, self.docker.remove_image(&name, None::<RemoveImageOptions>, None)).await {
                Ok(_) | Err(Fault::NotFound(_) | Fault::Conflict(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        let mut filter = self.settings.installation.filter();
        filter.insert("dangling".to_owned(), vec!["true".to_owned()]);
        let options = PruneImagesOptionsBuilder::new().filters(&filter).build();
        engine::call(engine::SLOW, self.docker.prune_images(Some(options))).await?;
        Ok(())
    }

    async fn images(&self, app: &AppName, app_id: AppId) -> Result<Vec<ImageSummary>, BuildError> {
        let filter = self.settings.installation.app_filter(app, app_id);
        let options = ListImagesOptionsBuilder::new().filters(&filter).build();
        Ok(engine::call(engine::SLOW, self.docker.list_images(Some(options))).await?)
    }

    /// Removes an image with all its tags, and its parents that no other image needs. Returns their ids. While a build
    /// runs the parents stay, because it may be about to use one of them; [`Self::prune_unfinished`] removes them.
    pub(super) async fn remove(&self, id: &str) -> Result<Vec<String>, Fault> {
        let alone = self.building.try_write();
        let options = RemoveImageOptionsBuilder::new().force(true).noprune(alone.is_err()).build();
        match engine::call(engine::SLOW, self.docker.remove_image(id, Some(options), None)).await {
            Ok(removed) => Ok(removed.into_iter().filter_map(|item| item.deleted).collect()),
            Err(Fault::NotFound(_)) => Ok(Vec::new()),
            Err(fault) => Err(fault),
        }
    }
}
