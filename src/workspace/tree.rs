//! The ordinary files of a version, and what the path and the first bytes of a file show about it.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Tree};

use super::WorkspaceError;
use crate::domain::WorkspacePath;

/// Mode of an ordinary file in a tree.
pub(super) const MODE_FILE: u32 = 0o100_644;
/// Mode of an executable file.
pub(super) const MODE_PROGRAM: u32 = 0o100_755;
/// Number of bytes that are read to guess whether a file is text.
pub(super) const SNIFF_BYTES: u64 = 8000;

/// A file in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its path.
    pub path: WorkspacePath,
    /// Its size.
    pub bytes: u64,
    /// Whether its first bytes are not UTF-8 text.
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

/// The files of a tree with valid paths. Links and nested repositories are left out.
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
                // The depth of a path is limited, so the recursion is too.
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

/// Whether the path of a file, or of a folder ending in `/`, is in a version.
pub(super) fn is_tracked(files: &TreeFiles, path: &str) -> bool {
    if path.ends_with('/') {
        files.range(path.to_owned()..).next().is_some_and(|(first, _)| first.starts_with(path))
    } else {
        files.contains_key(path)
    }
}

/// Whether the first bytes of a file are not UTF-8 text.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(usize::try_from(SNIFF_BYTES).unwrap_or(usize::MAX))];
    // A character that is cut at the end still counts as text.
    let text = std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    !text || start.contains(&0)
}
