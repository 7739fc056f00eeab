//! Settings for images: the registry to which they are pushed, and the base images of apps.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::runtime::RuntimeKind;
use super::source::{ConfigError, Key, Sources, key, secret};

pub(super) const KEYS: &[Key] = &[
    key("registry", "SLIPWAY_REGISTRY", "", "Where images are pushed. None: they stay in the engine."),
    key("registry_pull", "SLIPWAY_REGISTRY_PULL", "", "The registry's name as nodes pull from it; default: the same."),
    key("registry_username", "SLIPWAY_REGISTRY_USERNAME", "", "Who logs in to a registry that wants it."),
    secret("registry_password", "SLIPWAY_REGISTRY_PASSWORD", "The password, or the token, for that."),
    key("registry_password_file", "SLIPWAY_REGISTRY_PASSWORD_FILE", "", "A file that holds it instead."),
    key("base_image_python", "SLIPWAY_BASE_IMAGE_PYTHON", "python:3.13-slim", "What Python apps are built on."),
    key(
        "base_image_nginx",
        "SLIPWAY_BASE_IMAGE_NGINX",
        "nginxinc/nginx-unprivileged:alpine-slim",
        "What static sites are built on.",
    ),
];

/// Reads the registry to which images are pushed. A cluster needs one, because its nodes pull from it.
pub(super) fn registry(sources: &Sources, runtime: RuntimeKind) -> Result<Option<String>, ConfigError> {
    let registry = sources.owned("registry");
    if runtime == RuntimeKind::Kubernetes && registry.is_none() {
        return Err(sources.bad(
            "registry",
            "the nodes of a cluster pull images from a registry: set SLIPWAY_REGISTRY, and SLIPWAY_REGISTRY_PULL if \
             they know it by another name",
        ));
    }
    Ok(registry)
}

pub(super) fn registry_login(sources: &Sources) -> Result<Option<(String, SecretString)>, ConfigError> {
    let password = sources.secret_or_file("registry_password", "registry_password_file")?;
    match (sources.text("registry_username"), password) {
        (None, None) => Ok(None),
        (Some(name), Some(password)) => Ok(Some((name.to_owned(), password))),
        (Some(_), None) => Err(sources.bad("registry_password", "expected a password for the registry's user")),
        (None, Some(_)) => Err(sources.bad("registry_username", "expected the user that the password belongs to")),
    }
}

/// Reads the base images, by the name that templates use for them.
pub(super) fn base_images(sources: &Sources) -> BTreeMap<String, String> {
    let images = [("python", sources.owned("base_image_python")), ("nginx", sources.owned("base_image_nginx"))];
    images.into_iter().filter_map(|(word, image)| Some((word.to_owned(), image?))).collect()
}
