//! Calls about several files at once: finding text, and moving a file or a folder.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, Path, Query};
use super::versions::VersionJson;
use crate::domain::{AppName, WorkspacePath};
use crate::error::AppResult;
use crate::services::Services;
use crate::workspace::Wanted;

/// What to find.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The text to find, in at most 200 characters.
    text: String,
    /// Upper case differs from lower case; default `false`.
    #[serde(default)]
    match_case: bool,
    /// The text is a regular expression; default `false`.
    #[serde(default)]
    regex: bool,
}

/// What was found.
#[derive(Serialize, ToSchema)]
#[schema(as = SearchResult)]
pub struct SearchJson {
    /// The lines that match, by path and line; at most 300.
    lines: Vec<FoundLineJson>,
    /// How many text files were searched.
    files_searched: usize,
    /// How many files were skipped because they are larger than 1 MiB.
    files_skipped: usize,
    /// There are more matches.
    more: bool,
    /// The search ended early because of its time limit of two seconds.
    late: bool,
}

/// A line that matches.
#[derive(Serialize, ToSchema)]
#[schema(as = FoundLine)]
struct FoundLineJson {
    /// The file.
    #[schema(value_type = String, example = "public/index.html")]
    path: WorkspacePath,
    /// Its number, counted from 1.
    line: usize,
    /// Its text, shortened around the match to about 200 characters.
    text: String,
}

/// Find text in files.
///
/// Searches the text files of the newest version. Binary files and files over 1 MiB are not searched.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/search", tag = "Files",
    params(("app" = String, Path, description = "The app's name."), SearchQuery),
    responses((status = 200, description = "The lines that match.", body = SearchJson)),
)]
pub async fn search(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(query): Query<SearchQuery>,
) -> AppResult<axum::Json<SearchJson>> {
    let app = services.app(&name).await?;
    let wanted = Wanted { text: query.text, match_case: query.match_case, pattern: query.regex };
    let found = services.find_in_files(&app, wanted).await?;
    let mut lines = Vec::new();
    for file in found.files {
        for line in file.lines.into_iter().filter(|line| !line.matches.is_empty()) {
            lines.push(FoundLineJson { path: file.path.clone(), line: line.number, text: line.text });
        }
    }
    Ok(axum::Json(SearchJson {
        lines,
        files_searched: found.searched,
        files_skipped: found.skipped,
        more: found.more,
        late: found.late,
    }))
}

/// Request to move a file or a folder.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The path of a file or of a folder.
    #[schema(value_type = String, example = "public/old.html")]
    from: WorkspacePath,
    /// Its new path.
    #[schema(value_type = String, example = "public/new.html")]
    to: WorkspacePath,
}

/// Move a file or a folder.
///
/// As one version. Nothing is replaced: 409 `files_exist` if there is a file at the new path. 409 `file_locked` if a file is
/// locked, 409 `turn_running` while the model changes files.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/moves", tag = "Files",
    params(("app" = String, Path, description = "The app's name.")),
    request_body = Move,
    responses((status = 200, description = "The version with the new paths.", body = VersionJson)),
)]
pub async fn move_files(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Json(request): Json<Move>,
) -> AppResult<axum::Json<VersionJson>> {
    Ok(axum::Json(services.move_files(&name, &request.from, &request.to).await?.into()))
}
