//! The draft: the current files of a static site's workspace.

use super::Services;
use crate::domain::{AppName, WorkspacePath};
use crate::error::{AppError, AppResult};
use crate::workspace::WorkspaceError;

/// The only public folder with a leading dot (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// A file of a draft.
#[derive(Debug, Clone)]
pub struct DraftFile {
    /// Its path in the workspace.
    pub path: WorkspacePath,
    /// Its content.
    pub bytes: Vec<u8>,
    /// It is the error page of a missing file: the response is a 404.
    pub missing: bool,
}

impl Services {
    /// The file for a request's (decoded) path: the file itself, a folder's `index.html`, the path
    /// with `.html`, else `404.html`.
    pub async fn draft_file(&self, name: &AppName, url_path: &str) -> AppResult<DraftFile> {
        let app = self.app(name).await?;
        let template = self.template_of(&app)?;
        let Some(root) = template.manifest.draft_root.clone() else {
            return Err(AppError::not_found(&format!("draft of “{name}”: only static sites have one")));
        };
        let wanted = url_path.trim_matches('/').to_owned();
        let as_folder = url_path.ends_with('/') || wanted.is_empty();
        // The server of a deployed site hides names with a leading dot too.
        let hidden = wanted.split('/').any(|part| part.starts_with('.') && part != WELL_KNOWN);
        self.platform
            .read_workspace(name, move |workspace| {
                let mut candidates = Vec::new();
                if !as_folder && !hidden {
                    candidates.push(wanted.clone());
                    candidates.push(format!("{wanted}.html"));
                }
                if !hidden {
                    candidates.push(format!("{wanted}/index.html"));
                }
                candidates.push("404.html".to_owned());
                for (at, candidate) in candidates.iter().enumerate() {
                    let full = format!("{root}/{}", candidate.trim_start_matches('/'));
                    // An invalid path is a missing page.
                    let Ok(path) = full.parse::<WorkspacePath>() else { continue };
                    match workspace.read(&path) {
                        Ok(bytes) => return Ok(DraftFile { path, bytes, missing: at + 1 == candidates.len() }),
                        Err(WorkspaceError::NotFound(_) | WorkspaceError::Refused(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                let path = root
                    .parse()
                    .map_err(|_| WorkspaceError::Refused("The draft's folder is not a valid path.".to_owned()))?;
                Err(WorkspaceError::NotFound(path))
            })
            .await
    }
}
