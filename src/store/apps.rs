//! Apps, their environments and their secrets.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};
use secrecy::{ExposeSecret, SecretString};

use super::{Store, StoreError, row, spending};
use crate::domain::{
    App, AppFilter, AppId, AppName, AppTitle, Cursor, Effort, Environment, EnvironmentState, EnvironmentStatus,
    ModelChoice, ModelId, Page, PageRequest, ReleaseNumber, TemplateName, VersionId,
};

const SELECT: &str = "
    SELECT a.*, p.state AS preview_state, p.release AS preview_release, pr.version AS preview_version,
           pv.number AS preview_number, q.state AS prod_state, q.release AS prod_release, qr.version AS prod_version,
           qv.number AS prod_number
    FROM apps a
    JOIN environments p ON p.app_id = a.id AND p.environment = 'preview'
    JOIN environments q ON q.app_id = a.id AND q.environment = 'prod'
    LEFT JOIN releases pr ON pr.app_id = a.id AND pr.environment = 'preview' AND pr.number = p.release
    LEFT JOIN releases qr ON qr.app_id = a.id AND qr.environment = 'prod' AND qr.number = q.release
    LEFT JOIN versions pv ON pv.app_id = a.id AND pv.id = pr.version
    LEFT JOIN versions qv ON qv.app_id = a.id AND qv.id = qr.version";

fn app(row: &Row<'_>) -> rusqlite::Result<App> {
    let status = |environment: Environment| -> rusqlite::Result<EnvironmentStatus> {
        let column = |name: &str| format!("{environment}_{name}");
        Ok(EnvironmentStatus {
            environment,
            state: row::text(row, &column("state"))?,
            release: row.get::<_, Option<u32>>(column("release").as_str())?.map(ReleaseNumber),
            version: row::text_opt(row, &column("version"))?,
            version_number: row.get(column("number").as_str())?,
        })
    };
    Ok(App {
        id: AppId(row.get("id")?),
        name: row::text(row, "name")?,
        title: row::text_opt(row, "title")?,
        template: row::text(row, "template")?,
        description: row.get("description")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        head: row::text_opt(row, "head")?,
        deleting: row.get("deleting")?,
        model: ModelChoice { model: row::text_opt(row, "model")?, effort: row::text_opt(row, "effort")? },
        auto_preview: row.get("auto_preview")?,
        environments: [status(Environment::Preview)?, status(Environment::Prod)?],
    })
}

/// Sets an app's time of change; for the other files of the store.
pub(super) fn touch(connection: &Connection, app: AppId, at: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE apps SET updated_at = max(updated_at, ?2) WHERE id = ?1")?
        .execute(params![app.0, at.as_millisecond()])?;
    Ok(())
}

/// Sets whether an app is being deleted.
pub fn mark_deleting(t: &Transaction<'_>, app: AppId, deleting: bool) -> Result<(), StoreError> {
    t.prepare_cached("UPDATE apps SET deleting = ?2 WHERE id = ?1")?.execute(params![app.0, deleting])?;
    Ok(())
}

/// Sets an environment's state; the live release stays the same.
pub fn set_environment_state(
    t: &Transaction<'_>,
    app: AppId,
    environment: Environment,
    state: EnvironmentState,
) -> Result<(), StoreError> {
    t.prepare_cached("UPDATE environments SET state = ?3 WHERE app_id = ?1 AND environment = ?2")?.execute(params![
        app.0,
        environment.as_str(),
        state.as_str()
    ])?;
    Ok(())
}

impl Store {
    /// Inserts an app without a version. [`StoreError::Conflict`] if the name is taken.
    pub async fn insert_app(
        &self,
        name: AppName,
        template: TemplateName,
        description: String,
        at: Timestamp,
    ) -> Result<App, StoreError> {
        self.write(move |t| {
            let taken: bool =
                t.query_row("SELECT EXISTS (SELECT 1 FROM apps WHERE name = ?1)", [name.as_str()], |r| r.get(0))?;
            if taken {
                return Err(StoreError::Conflict(format!("There is an app named “{name}” already.")));
            }
            let at = at.as_millisecond();
            t.execute(
                "INSERT INTO apps (name, template, description, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)",
                params![name.as_str(), template.as_str(), description, at],
            )?;
            let id = t.last_insert_rowid();
            for environment in Environment::ALL {
                t.execute(
                    "INSERT INTO environments (app_id, environment) VALUES (?1, ?2)",
                    params![id, environment.as_str()],
                )?;
            }
            Ok(t.query_row(&format!("{SELECT} WHERE a.id = ?1"), [id], app)?)
        })
        .await
    }

    /// The app of this name.
    pub async fn app(&self, name: &AppName) -> Result<App, StoreError> {
        let name = name.clone();
        self.read(move |c| {
            Ok(c.prepare_cached(&format!("{SELECT} WHERE a.name = ?1"))?.query_row([name.as_str()], app)?)
        })
        .await
    }

    /// The app of this id.
    pub async fn app_by_id(&self, id: AppId) -> Result<App, StoreError> {
        self.read(move |c| Ok(c.prepare_cached(&format!("{SELECT} WHERE a.id = ?1"))?.query_row([id.0], app)?)).await
    }

    /// Apps, most recently changed first.
    pub async fn apps(&self, filter: AppFilter, page: PageRequest) -> Result<Page<App>, StoreError> {
        self.read(move |c| {
            let (time, id) = page.cursor.as_ref().and_then(Cursor::keys).unwrap_or((i64::MAX, i64::MAX));
            let search = filter.search.as_deref().map(|text| format!("%{}%", escape_like(text)));
            let rows = c
                .prepare_cached(&format!(
                    "{SELECT}
                     WHERE (a.updated_at, a.id) < (:time, :id)
                       AND (:template IS NULL OR a.template = :template)
                       AND (:only IS NULL OR a.name = :only)
                       AND (:search IS NULL OR a.name LIKE :search ESCAPE '\\' OR a.title LIKE :search ESCAPE '\\'
                            OR a.description LIKE :search ESCAPE '\\')
                     ORDER BY a.updated_at DESC, a.id DESC LIMIT :limit"
                ))?
                .query_map(
                    named_params! {
                        ":time": time, ":id": id, ":search": search, ":limit": page.fetch(),
                        ":template": filter.template.as_ref().map(TemplateName::as_str),
                        ":only": filter.only.as_ref().map(AppName::as_str),
                    },
                    app,
                )?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Page::cut(rows, page.limit, |app| Cursor::from_keys(app.updated_at.as_millisecond(), app.id.0)))
        })
        .await
    }

    /// Number of apps.
    pub async fn count_apps(&self) -> Result<u64, StoreError> {
        self.read(|c| Ok(c.query_row("SELECT count(*) AS n FROM apps", [], |r| row::count(r, "n"))?)).await
    }

    /// Every app's id and name.
    pub async fn app_names(&self) -> Result<Vec<(AppId, AppName)>, StoreError> {
        self.read(|c| {
            let rows = c
                .prepare_cached("SELECT id, name FROM apps ORDER BY id")?
                .query_map([], |r| Ok((AppId(r.get("id")?), row::text(r, "name")?)))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Sets the model of the app.
    pub async fn set_model(&self, id: AppId, choice: ModelChoice) -> Result<(), StoreError> {
        self.write(move |t| {
            let changed = t.execute(
                "UPDATE apps SET model = ?2, effort = ?3 WHERE id = ?1",
                params![id.0, choice.model.as_ref().map(ModelId::as_str), choice.effort.map(Effort::as_str)],
            )?;
            if changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
        })
        .await
    }

    /// Sets whether the app is being deleted; no new job may start then.
    pub async fn mark_deleting(&self, id: AppId, deleting: bool) -> Result<(), StoreError> {
        self.write(move |t| mark_deleting(t, id, deleting)).await
    }

    /// Sets whether each turn automatically deploys the preview.
    pub async fn set_auto_preview(&self, id: AppId, on: bool) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("UPDATE apps SET auto_preview = ?2 WHERE id = ?1", params![id.0, on])?;
            Ok(())
        })
        .await
    }

    /// Sets the title that pages show; `None`: they show the name.
    pub async fn set_title(&self, id: AppId, title: Option<AppTitle>) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("UPDATE apps SET title = ?2 WHERE id = ?1", params![id.0, title.as_ref().map(AppTitle::as_str)])?;
            Ok(())
        })
        .await
    }

    /// Gives an app the settings of another one: its model, automatic previews and locked files.
    pub async fn copy_settings(&self, from: AppId, to: AppId) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "UPDATE apps SET (model, effort, auto_preview) =
                     (SELECT model, effort, auto_preview FROM apps WHERE id = ?1) WHERE id = ?2",
                params![from.0, to.0],
            )?;
            t.execute(
                "INSERT INTO file_locks (app_id, path, created_at)
                 SELECT ?2, path, created_at FROM file_locks WHERE app_id = ?1",
                params![from.0, to.0],
            )?;
            Ok(())
        })
        .await
    }

    /// Removes the app's rows and its events, except those of `job`, which still reports the deletion.
    pub async fn remove_app(&self, id: AppId, job: Option<crate::domain::JobId>) -> Result<(), StoreError> {
        self.write(move |t| {
            spending::keep_of_deleted(t, id)?;
            t.execute("DELETE FROM apps WHERE id = ?1", [id.0])?;
            for table in ["events", "fresh_events"] {
                t.execute(
                    &format!("DELETE FROM {table} WHERE app_id = ?1 AND job_id IS NOT ?2"),
                    params![id.0, job.map(|job| job.0)],
                )?;
            }
            t.execute(
                "DELETE FROM jobs WHERE app_id = ?1 AND id IS NOT ?2 AND state NOT IN ('queued', 'running')",
                params![id.0, job.map(|job| job.0)],
            )?;
            Ok(())
        })
        .await
    }

    /// The secret of this name; the first caller's `fresh` value is stored.
    pub async fn secret_or_insert(
        &self,
        id: AppId,
        environment: Environment,
        name: &'static str,
        fresh: SecretString,
    ) -> Result<SecretString, StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT OR IGNORE INTO secrets (app_id, environment, name, value) VALUES (?1, ?2, ?3, ?4)",
                params![id.0, environment.as_str(), name, fresh.expose_secret()],
            )?;
            let value: String = t.query_row(
                "SELECT value FROM secrets WHERE app_id = ?1 AND environment = ?2 AND name = ?3",
                params![id.0, environment.as_str(), name],
                |r| r.get(0),
            )?;
            Ok(SecretString::from(value))
        })
        .await
    }

    /// Replaces a secret.
    pub async fn replace_secret(
        &self,
        id: AppId,
        environment: Environment,
        name: &'static str,
        value: SecretString,
    ) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT OR REPLACE INTO secrets (app_id, environment, name, value) VALUES (?1, ?2, ?3, ?4)",
                params![id.0, environment.as_str(), name, value.expose_secret()],
            )?;
            Ok(())
        })
        .await
    }

    /// All secrets of an app, of both environments, by their names.
    pub async fn secrets_of(&self, id: AppId) -> Result<Vec<(String, SecretString)>, StoreError> {
        self.read(move |c| {
            let rows = c
                .prepare_cached("SELECT name, value FROM secrets WHERE app_id = ?1 ORDER BY name, environment")?
                .query_map([id.0], |r| Ok((r.get(0)?, SecretString::from(r.get::<_, String>(1)?))))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// The app's newest version in the database.
    pub async fn head(&self, id: AppId) -> Result<Option<VersionId>, StoreError> {
        self.read(move |c| {
            Ok(c.query_row("SELECT head FROM apps WHERE id = ?1", [id.0], |r| row::text_opt(r, "head"))
                .optional()?
                .flatten())
        })
        .await
    }
}

fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        (folder, store)
    }

    async fn add(store: &Store, name: &str, description: &str, millis: i64) -> App {
        let at = Timestamp::from_millisecond(millis).expect("in range");
        store
            .insert_app(name.parse().expect("a name"), "static-site".parse().expect("one"), description.into(), at)
            .await
            .expect("inserted")
    }

    #[tokio::test]
    async fn pages_are_sorted_by_activity_and_complete() {
        let (_folder, store) = store().await;
        for n in 0..25 {
            add(&store, &format!("app-{n}"), "x", n / 3).await;
        }
        let mut seen = Vec::new();
        let mut request = PageRequest::first(10);
        loop {
            let page = store.apps(AppFilter::default(), request.clone()).await.expect("read");
            seen.extend(page.items.into_iter().map(|app| app.name.to_string()));
            // An app that becomes active meanwhile does not shift the pages.
            add(&store, &format!("late-{}", seen.len()), "x", 1_000).await;
            match page.next {
                Some(cursor) => request.cursor = Some(cursor),
                None => break,
            }
        }
        let expected: Vec<_> = (0..25).rev().map(|n| format!("app-{n}")).collect();
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_search_treats_wildcards_as_text() {
        let (_folder, store) = store().await;
        add(&store, "plain", "one hundred", 1).await;
        add(&store, "odd", "100% wool_socks", 2).await;
        for (search, expected) in [("100%", vec!["odd"]), ("_", vec!["odd"]), ("PLAIN", vec!["plain"]), ("\\", vec![])]
        {
            let filter = AppFilter { search: Some(search.into()), ..AppFilter::default() };
            let page = store.apps(filter, PageRequest::first(10)).await.expect("read");
            let names: Vec<_> = page.items.iter().map(|app| app.name.as_str()).collect();
            assert_eq!(names, expected, "{search}");
        }
    }

    #[tokio::test]
    async fn names_are_unique_and_secrets_are_created_once() {
        let (_folder, store) = store().await;
        let app = add(&store, "mine", "x", 1).await;
        let again = store.insert_app(app.name.clone(), app.template.clone(), "y".into(), app.created_at).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))));
        for fresh in ["first", "second"] {
            let secret = store.secret_or_insert(app.id, Environment::Prod, "S", fresh.into()).await.expect("kept");
            assert_eq!(secret.expose_secret(), "first");
        }
        let choice = ModelChoice { model: Some("a/b:c".parse().expect("an id")), effort: Some(Effort::Max) };
        store.set_model(app.id, choice.clone()).await.expect("set");
        assert_eq!(store.app(&app.name).await.expect("read").model, choice);
        store.remove_app(app.id, None).await.expect("removed");
        assert!(matches!(store.app(&app.name).await, Err(StoreError::NotFound)));
        assert!(matches!(store.set_model(app.id, choice).await, Err(StoreError::NotFound)));
    }
}
