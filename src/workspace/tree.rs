//! The ordinary files of a version, and what is told of a file from its path and its first bytes.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Tree};

use super::WorkspaceError;
use crate::domain::WorkspacePath;

/// Mode of an ordinary file in a tree.
pub(super) const MODE_FILE: u32 = 0o100_644;
/// Mode of a file that can be run.
pub(super) const MODE_PROGRAM: u32 = 0o100_755;
/// Bytes that are looked at to guess whether a file is text.
pub(super) const SNIFF_BYTES: u64 = 8000;

/// A file as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where.
    pub path: WorkspacePath,
    /// Its size.
    pub bytes: u64,
    /// Guessed from its beginning: no text in UTF-8.
    pub binary: bool,
}

/// An ordinary file in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeFile {
    pub(super) id: Oid,
    pub(super) mode: u32,
}

/// The ordinary files of a tree by path.
pub(super) type TreeFiles = BTreeMap<String, TreeFile>;

/// The files of a tree whose paths are ours; links and other repositories are left out.
pub(super) fn files_of(repo: &Repository, tree: &Tree<'_>) -> Result<TreeFiles, WorkspaceError> {
    fn collect(repo: &Repository, tree: &Tree<'_>, base: &str, files: &mut TreeFiles) -> Result<(), WorkspaceError> {
        for entry in tree {
            let Ok(name) = entry.name() else { continue };
            let Ok(path) = format!("{base}{name}").parse::<WorkspacePath>() else { continue };
            let mode = u32::try_from(entry.filemode()).unwrap_or_default();
            match entry.kind() {
                Some(ObjectType::Blob) if matches!(mode, MODE_FILE | MODE_PROGRAM) => {
                    files.insert(path.into(), TreeFile { id: entry.id(), mode });
                }
                // A path's depth is limited, so this ends.
                Some(ObjectType::Tree) => collect(repo, &repo.find_tree(entry.id())?, &format!("{path}/"), files)?,
                _ => {}
            }
        }
        Ok(())
    }
    let mut files = TreeFiles::new();
    collect(repo, tree, "", &mut files)?;
    Ok(files)
}

/// Whether a file's path, or a folder's ending in `/`, is in a version.
pub(super) fn is_tracked(files: &TreeFiles, path: &str) -> bool {
    if path.ends_with('/') {
        files.range(path.to_owned()..).next().is_some_and(|(first, _)| first.starts_with(path))
    } else {
        files.contains_key(path)
    }
}

/// Whether the beginning of a file is no text in UTF-8.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(usize::try_from(SNIFF_BYTES).unwrap_or(usize::MAX))];
    // A character cut in two at the end is still text.
    let text = std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    !text || start.contains(&0)
}
