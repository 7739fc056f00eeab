//! The draft: a static site's workspace, served as it is right now.

use super::Services;
use crate::domain::{AppName, WorkspacePath};
use crate::error::{AppError, AppResult};
use crate::workspace::WorkspaceError;

/// The one folder with a dot that is meant to be asked for (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// A file of a draft.
#[derive(Debug, Clone)]
pub struct DraftFile {
    /// Where it stands in the workspace.
    pub path: WorkspacePath,
    /// What stands in it.
    pub bytes: Vec<u8>,
    /// It stands in for a page that is not there: the answer is a 404.
    pub missing: bool,
}

impl Services {
    /// The file that a request's (decoded) path means: itself, a folder's `index.html`, the path
    /// with `.html`, else `404.html`.
    pub async fn draft_file(&self, name: &AppName, url_path: &str) -> AppResult<DraftFile> {
        let app = self.app(name).await?;
        let template = self.template_of(&app)?;
        let Some(root) = template.manifest.draft_root.clone() else {
            return Err(AppError::not_found(&format!("draft of “{name}”: only static sites have one")));
        };
        let wanted = url_path.trim_matches('/').to_owned();
        let as_folder = url_path.ends_with('/') || wanted.is_empty();
        // As the server of a deployed site has it: what begins with a dot is no page.
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
                    // A path that is none of ours is a page that is not there.
                    let Ok(path) = full.parse::<WorkspacePath>() else { continue };
                    match workspace.read(&path) {
                        Ok(bytes) => return Ok(DraftFile { path, bytes, missing: at + 1 == candidates.len() }),
                        Err(WorkspaceError::NotFound(_) | WorkspaceError::Refused(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                let path =
                    root.parse().map_err(|_| WorkspaceError::Refused("The draft's folder is no path.".to_owned()))?;
                Err(WorkspaceError::NotFound(path))
            })
            .await
    }
}
