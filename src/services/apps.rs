//! Apps: create, list, read, delete.

use std::sync::Arc;

use super::{Services, names};
use crate::catalog::Template;
use crate::domain::{
    App, AppFilter, AppId, AppName, AppSettings, AppTitle, Environment, HostName, Job, JobKind, ModelId, Page,
    PageRequest, TemplateName, VersionId, VersionKind, WorkspacePath,
};
use crate::error::{AppError, AppResult};
use crate::store::StoreError;
use crate::workspace::{CommitNote, NewFile, WorkspaceError};

/// Maximum length of a description, in characters.
pub const DESCRIPTION_MAX: usize = 20_000;

/// Data of a new app.
#[derive(Debug, Clone)]
pub struct CreateApp {
    /// The user's description.
    pub description: String,
    /// Default: the template that fits the description best.
    pub template: Option<TemplateName>,
    /// Default: a suggested name.
    pub name: Option<AppName>,
    /// Each turn automatically deploys the preview.
    pub auto_preview: bool,
}

/// Attempts with a name from the description. The rest are random names.
const DESCRIBED_ATTEMPTS: u32 = 20;

/// A name for an app of this description.
fn suggestion(description: &str, attempt: u32) -> AppName {
    let described = if attempt < DESCRIBED_ATTEMPTS { names::of_description(description, attempt) } else { None };
    described.unwrap_or_else(|| names::random(attempt))
}

impl Services {
    /// Creates an app and commits the template's files. No turn is started.
    pub async fn create_app(&self, new: CreateApp) -> AppResult<App> {
        let description = new.description.trim().to_owned();
        if description.is_empty() {
            return Err(AppError::invalid("Describe in a sentence what the app should be."));
        }
        if description.chars().count() > DESCRIPTION_MAX {
            return Err(AppError::invalid(format!("A description can have at most {DESCRIPTION_MAX} characters.")));
        }
        let template = match &new.template {
            Some(name) => self.template(name)?,
            None => self.suggest_template(&description)?,
        };
        let app = self.insert_app(new.name, &template, description).await?;
        let files =
            template.files.iter().map(|(path, bytes)| NewFile { path: path.clone(), bytes: bytes.clone() }).collect();
        self.scaffold(&app, format!("Start from the {} template", app.template), files).await?;
        if new.auto_preview { self.app(&app.name).await } else { self.set_auto_preview(&app.name, false).await }
    }

    /// Creates the repository of a new app. If that fails, the app is removed, so that its name is free again.
    pub(super) async fn scaffold(&self, app: &App, title: String, files: Vec<NewFile>) -> AppResult<()> {
        let made = self.create_workspace(app, title, files).await;
        if made.is_err() {
            let (workspaces, name) = (self.platform.workspaces.clone(), app.name.clone());
            let removed = tokio::task::spawn_blocking(move || workspaces.remove(&name)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(app = %app.name, %error, "failed to remove the repository of an app that was not created");
            }
            self.platform.store.remove_app(app.id, None).await?;
        }
        made
    }

    async fn insert_app(&self, name: Option<AppName>, template: &Template, description: String) -> AppResult<App> {
        let store = &self.platform.store;
        let mut attempt = 0;
        loop {
            let candidate = name.clone().unwrap_or_else(|| suggestion(&description, attempt));
            let inserted = store
                .insert_app(candidate, template.name.clone(), description.clone(), self.platform.clock.now())
                .await;
            match inserted {
                Err(StoreError::Conflict(detail)) if name.is_some() => {
                    return Err(AppError::conflict("name_taken", detail).hint("Choose another name."));
                }
                Err(StoreError::Conflict(_)) => attempt += 1,
                other => return Ok(other?),
            }
        }
    }

    async fn create_workspace(&self, app: &App, title: String, files: Vec<NewFile>) -> AppResult<()> {
        let note = CommitNote {
            title,
            body: app.description.clone(),
            kind: VersionKind::Scaffold,
            turn: None,
            at: self.platform.clock.now(),
        };
        let (workspaces, name) = (self.platform.workspaces.clone(), app.name.clone());
        let made = tokio::task::spawn_blocking(move || {
            // Remove leftovers of a deleted app with the same name.
            workspaces.remove(&name)?;
            workspaces.create(&name, &files, &note).map(|_| ())
        });
        made.await.map_err(|error| AppError::internal(&error))??;
        self.platform.record_versions(app.id, &app.name).await?;
        Ok(())
    }

    /// The app of this name.
    pub async fn app(&self, name: &AppName) -> AppResult<App> {
        self.platform.store.app(name).await.map_err(|error| match error {
            StoreError::NotFound => AppError::not_found(&format!("app named “{name}”")),
            other => other.into(),
        })
    }

    /// The app of this id.
    pub async fn app_by_id(&self, id: AppId) -> AppResult<App> {
        self.platform.store.app_by_id(id).await.map_err(|error| match error {
            StoreError::NotFound => AppError::not_found("app of this number"),
            other => other.into(),
        })
    }

    /// Apps, most recently changed first.
    pub async fn list_apps(&self, filter: AppFilter, page: PageRequest) -> AppResult<Page<App>> {
        Ok(self.platform.store.apps(filter, page).await?)
    }

    /// Number of apps.
    pub async fn count_apps(&self) -> AppResult<u64> {
        Ok(self.platform.store.count_apps().await?)
    }

    /// Queues the deletion of an app and its data. Idempotent.
    pub async fn delete_app(&self, name: &AppName) -> AppResult<Job> {
        let app = self.app(name).await?;
        let store = &self.platform.store;
        let open = store.open_jobs(Some(app.id)).await?;
        if let Some(job) = open.iter().find(|job| job.kind == JobKind::Delete) {
            return Ok(job.clone());
        }
        store.mark_deleting(app.id, true).await?;
        let job = self.jobs.enqueue(&app, JobKind::Delete, self.author).await?;
        for other in open {
            self.jobs.cancel(other.id).await?;
        }
        Ok(job)
    }

    /// A name that is free at this moment; a random one without a description.
    pub async fn suggest_name(&self, description: &str) -> AppResult<AppName> {
        for attempt in 0.. {
            let name = suggestion(description, attempt);
            match self.platform.store.app(&name).await {
                Err(StoreError::NotFound) => return Ok(name),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the loop ends only with a return")
    }

    /// Sets whether each turn automatically deploys the preview, and failures are sent to the model for repair.
    pub async fn set_auto_preview(&self, name: &AppName, on: bool) -> AppResult<App> {
        let app = self.app(name).await?;
        self.platform.store.set_auto_preview(app.id, on).await?;
        self.app(name).await
    }

    /// Sets the title that pages show instead of the app's name; an empty one removes it. Addresses stay as they are.
    pub async fn set_title(&self, name: &AppName, title: &str) -> AppResult<App> {
        let app = self.app(name).await?;
        let title = Some(title.trim()).filter(|title| !title.is_empty()).map(str::parse::<AppTitle>).transpose()?;
        self.platform.store.set_title(app.id, title).await?;
        self.platform.events.changes().note(app.id);
        self.app(name).await
    }

    /// The template that fits a description best.
    pub fn suggest_template(&self, description: &str) -> AppResult<Arc<Template>> {
        let recorded = self.recorded_template(description);
        let suggested = recorded.or_else(|| self.platform.catalog.suggest(description)).cloned();
        suggested.ok_or_else(|| AppError::conflict("no_templates", "There are no templates."))
    }

    /// All templates, by name.
    pub fn templates(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.platform.catalog.iter()
    }

    /// The template of this name.
    pub fn template(&self, name: &TemplateName) -> AppResult<Arc<Template>> {
        self.platform.catalog.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.templates().map(|template| template.name.to_string()).collect();
            AppError::invalid(format!("There is no template “{name}”."))
                .hint(format!("Available templates: {}.", known.join(", ")))
        })
    }

    /// The template that an app was created from.
    pub fn template_of(&self, app: &App) -> AppResult<Arc<Template>> {
        self.platform.template(app).cloned()
    }

    /// The settings in the app's `app.toml`; defaults if there is no such file.
    pub async fn settings(&self, app: &App) -> AppResult<AppSettings> {
        let path: WorkspacePath = "app.toml".parse()?;
        let read = self.platform.read_workspace(&app.name, move |workspace| match workspace.read(&path) {
            Err(WorkspaceError::NotFound(_)) => Ok(Vec::new()),
            other => other,
        });
        Ok(AppSettings::parse(&String::from_utf8_lossy(&read.await?))?)
    }

    /// The settings in the `app.toml` of a version; defaults if it has no such file.
    pub async fn settings_of_version(&self, app: &App, version: &VersionId) -> AppResult<AppSettings> {
        let path: WorkspacePath = "app.toml".parse()?;
        let version = version.clone();
        let read = self.platform.read_workspace(&app.name, move |workspace| match workspace.read_at(&version, &path) {
            Err(WorkspaceError::NotFound(_)) => Ok(Vec::new()),
            other => other,
        });
        Ok(AppSettings::parse(&String::from_utf8_lossy(&read.await?))?)
    }

    /// The URL of a static site's draft.
    pub fn draft_url(&self, app: &App) -> Option<String> {
        let template = self.platform.catalog.get(&app.template)?;
        template.manifest.draft_root.as_ref().map(|_| self.url(&HostName::Draft(app.name.clone())))
    }

    /// The URL of an app's environment; none for a scheduled job.
    pub fn environment_url(&self, app: &App, environment: Environment) -> Option<String> {
        self.platform.environment_url(app, environment)
    }

    /// Whether the demo model answers, and the default model's id.
    pub fn model(&self) -> (bool, ModelId) {
        let model = self.platform.model();
        (model.is_demo, model.id.clone())
    }
}
