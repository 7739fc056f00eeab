//! Duplicates of apps.

use super::Services;
use crate::domain::{APP_NAME_MAX, APP_TITLE_MAX, App, AppName, AppTitle, VersionId};
use crate::error::{AppError, AppResult};
use crate::store::StoreError;

/// Names that are tried for a duplicate.
const ATTEMPTS: u32 = 1_000;

/// The name of the nth duplicate: `tides-2`, and of that `tides-3`.
fn numbered(name: &AppName, n: u32) -> Option<AppName> {
    let (stem, number) = name.as_str().rsplit_once('-').unwrap_or((name.as_str(), ""));
    let is_numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let stem = if is_numbered { stem } else { name.as_str() };
    let suffix = format!("-{n}");
    let stem = &stem[..stem.len().min(APP_NAME_MAX - suffix.len())];
    format!("{}{suffix}", stem.trim_end_matches('-')).parse().ok()
}

/// The title of a duplicate.
fn copied(title: &AppTitle) -> Option<AppTitle> {
    let suffix = " (copy)";
    let kept: String = title.as_str().chars().take(APP_TITLE_MAX - suffix.len()).collect();
    format!("{}{suffix}", kept.trim_end()).parse().ok()
}

impl Services {
    /// A name for a duplicate of an app that is free at this moment.
    pub async fn suggest_copy_name(&self, name: &AppName) -> AppResult<AppName> {
        for candidate in (2..ATTEMPTS).filter_map(|n| numbered(name, n)) {
            match self.platform.store.app(&candidate).await {
                Err(StoreError::NotFound) => return Ok(candidate),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.suggest_name("").await
    }

    /// Creates an app with the newest version's files, the description and the settings of another one. The files
    /// become its first version; history, conversation, attachments and secrets are not copied. Its preview is deployed
    /// if previews are automatic.
    pub async fn duplicate_app(&self, name: &AppName, new_name: Option<AppName>) -> AppResult<App> {
        let app = self.app(name).await?;
        let head = app.head.clone().filter(|_| !app.deleting).ok_or_else(|| {
            AppError::conflict(
                "not_duplicable",
                format!("“{name}” is being created or deleted: it cannot be duplicated."),
            )
        })?;
        let services = self.clone();
        // A duplicate that was started is completed or removed, even if the caller stops waiting.
        let made = tokio::spawn(async move { services.make_duplicate(&app, head, new_name).await });
        made.await.map_err(|error| AppError::internal(&error))?
    }

    async fn make_duplicate(&self, app: &App, head: VersionId, name: Option<AppName>) -> AppResult<App> {
        let number = self.version(app, &head).await?.number;
        let files = self.platform.read_workspace(&app.name, move |workspace| workspace.files_at(&head)).await?;
        let copy = self.insert_copy(app, name).await?;
        let store = &self.platform.store;
        let prepared = async {
            store.copy_settings(app.id, copy.id).await?;
            store.set_title(copy.id, app.title.as_ref().and_then(copied)).await
        };
        if let Err(error) = prepared.await {
            store.remove_app(copy.id, None).await?;
            return Err(error.into());
        }
        self.scaffold(&copy, format!("Start as a copy of {}, version {number}", app.name), files).await?;
        if app.auto_preview
            && let Err(error) = self.deploy_preview(&copy.name, None).await
        {
            // The copy is complete, and its page offers to deploy the preview.
            tracing::warn!(app = %copy.name, %error, "failed to queue the preview of a duplicate");
        }
        self.app(&copy.name).await
    }

    async fn insert_copy(&self, app: &App, name: Option<AppName>) -> AppResult<App> {
        loop {
            let candidate = match &name {
                Some(name) => name.clone(),
                None => self.suggest_copy_name(&app.name).await?,
            };
            let (template, description) = (app.template.clone(), app.description.clone());
            let now = self.platform.clock.now();
            match self.platform.store.insert_app(candidate, template, description, now).await {
                Err(StoreError::Conflict(detail)) if name.is_some() => {
                    return Err(AppError::conflict("name_taken", detail).hint("Choose another name."));
                }
                // Another request took the suggested name meanwhile.
                Err(StoreError::Conflict(_)) => {}
                other => return Ok(other?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_duplicates_are_numbered_and_fit() {
        let name = |text: &str, n| numbered(&text.parse().expect("a name"), n).map(|name| name.to_string());
        assert_eq!(name("tides", 2).as_deref(), Some("tides-2"));
        assert_eq!(name("tides-2", 3).as_deref(), Some("tides-3"));
        assert_eq!(name("brisk-otter", 2).as_deref(), Some("brisk-otter-2"));
        assert_eq!(name(&"a".repeat(40), 12), Some(format!("{}-12", "a".repeat(37))));
    }

    #[test]
    fn titles_of_duplicates_fit() {
        let title = |text: &str| copied(&text.parse().expect("a title")).expect("a title").to_string();
        assert_eq!(title("Bakery"), "Bakery (copy)");
        assert_eq!(title(&"é".repeat(60)), format!("{} (copy)", "é".repeat(53)));
    }
}
