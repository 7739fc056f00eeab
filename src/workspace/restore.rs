//! Restores an earlier version, completely or not at all.

use std::fs;

use git2::{Index, Repository, Tree};

use super::commit::commit_index;
use super::history::Commit;
use super::index::index_entry;
use super::message::CommitNote;
use super::tree::{files_of, is_tracked};
use super::{Workspace, WorkspaceError, nested, repo};
use crate::domain::{VersionId, WorkspacePath};

/// The file that exists in the repository while the work tree is being changed to another tree.
pub(super) const FOLLOW_MARK: &str = "slipway-following";

impl Workspace {
    /// Restores an earlier version: the work tree gets its files, and a new version on top of the newest one records
    /// that. Uncommitted changes are lost. `None` if the newest version has the same files.
    pub fn restore(&self, version: &VersionId, note: &CommitNote) -> Result<Option<Commit>, WorkspaceError> {
        let repo = self.repo()?;
        let wanted = repo::commit_of(&repo, version)?.tree()?;
        let head = repo::head(&repo)?;
        nested::check([], files_of(&repo, &wanted)?.keys().map(String::as_str))?;
        let restored = self.follow(&repo, &wanted).and_then(|index| commit_index(&repo, &head, index, true, note));
        match restored {
            Ok(commit) => {
                fs::remove_file(repo.path().join(FOLLOW_MARK))?;
                Ok(commit)
            }
            Err(error) => {
                // An incomplete restore is undone: now, or in `recover` if that fails too.
                drop(self.finish_following(&repo));
                Err(error)
            }
        }
    }

    /// Changes the work tree to `wanted`, and returns the matching index. The mark in the repository makes recovery
    /// repair the work tree after a crash.
    pub(super) fn follow(&self, repo: &Repository, wanted: &Tree<'_>) -> Result<Index, WorkspaceError> {
        let files = files_of(repo, &repo::head(repo)?.tree()?)?;
        let wanted_files = files_of(repo, wanted)?;
        fs::write(repo.path().join(FOLLOW_MARK), wanted.id().to_string())?;
        // Without a time limit: an interruption would leave files of both versions.
        let tree = self.tree()?.uncancelled();
        // Deletions first, since a folder may replace a file.
        for found in tree.walk(&|path| is_tracked(&files, path) || is_tracked(&wanted_files, path))? {
            if !wanted_files.contains_key(found.path.as_str()) {
                tree.remove(&found.path)?;
            }
        }
        let mut index = repo::index_at(repo, wanted)?;
        for (path, file) in wanted_files {
            let path: WorkspacePath =
                path.parse().map_err(|error: crate::domain::Invalid| WorkspaceError::Refused(error.0))?;
            let blob = repo.find_blob(file.id)?;
            let stat = match tree.stat(&path)? {
                Some(stat)
                    if stat.bytes == blob.size() as u64
                        && tree.read(&path, stat.bytes)?.as_deref() == Some(blob.content()) =>
                {
                    stat
                }
                _ => tree.write(&path, blob.content())?,
            };
            index.add(&index_entry(&path, stat, file))?;
        }
        Ok(index)
    }

    /// Undoes an interrupted [`Self::follow`]: the work tree becomes that of the newest version.
    pub(super) fn finish_following(&self, repo: &Repository) -> Result<(), WorkspaceError> {
        let mark = repo.path().join(FOLLOW_MARK);
        if !mark.exists() {
            return Ok(());
        }
        self.follow(repo, &repo::head(repo)?.tree()?)?.write()?;
        Ok(fs::remove_file(mark)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::{Bench, note, path};
    use super::*;
    use crate::domain::VersionKind;

    #[test]
    fn an_earlier_version_comes_back_as_a_new_one() {
        let bench = Bench::new(&[("a.txt", "1"), ("b/c.txt", "c"), (".gitignore", "*.log\n")]);
        let app = &bench.app;
        bench.write("a.txt", "2");
        app.delete(&path("b/c.txt")).unwrap();
        bench.write("d.txt", "d");
        let second = app.commit_all(&note("Second")).unwrap().unwrap();
        bench.write("dirty.txt", "never committed");
        fs::write(app.root().join("x.log"), "ignored").unwrap();
        let mut back = note("Restore the first");
        (back.kind, back.turn) = (VersionKind::Restore, None);
        let restored = app.restore(&bench.first, &back).unwrap().unwrap();
        assert_eq!(
            (restored.kind, restored.turn, restored.parent),
            (VersionKind::Restore, None, Some(second.id.clone()))
        );
        assert_eq!(app.tree_at(&restored.id).unwrap(), app.tree_at(&bench.first).unwrap());
        assert_eq!(bench.paths(), [".gitignore", "a.txt", "b/c.txt"]);
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"1");
        assert!(app.root().join("x.log").exists(), "what is ignored is left alone");
        assert!(!app.is_dirty().unwrap());
        bench.check();
        // Another restore creates no version, but still resets the work tree.
        bench.write("a.txt", "dirty");
        assert_eq!(app.restore(&restored.id, &note("x")).unwrap(), None);
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"1");
        app.restore(&second.id, &note("Forward")).unwrap().unwrap();
        assert_eq!(bench.paths(), [".gitignore", "a.txt", "d.txt"]);
        bench.check();
        assert_eq!(app.log_since(None).unwrap().len(), 4);
        let unknown: VersionId = "0123456789".repeat(4).parse().unwrap();
        assert!(matches!(app.restore(&unknown, &note("x")), Err(WorkspaceError::UnknownVersion(id)) if id == unknown));
    }

    #[test]
    fn a_restore_that_cannot_be_done_leaves_things_as_they_were() {
        let bench = Bench::new(&[("a.txt", "1"), ("b.txt", "b"), ("z/z.txt", "z")]);
        let app = &bench.app;
        for name in ["b.txt", "z/z.txt"] {
            app.delete(&path(name)).unwrap();
        }
        bench.write("a.txt", "2");
        let second = app.commit_all(&note("Second")).unwrap().unwrap();
        symlink("/etc", app.root().join("z")).unwrap();
        assert!(matches!(app.restore(&bench.first, &note("x")), Err(WorkspaceError::Refused(_))));
        assert_eq!(app.head().unwrap(), second.id);
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"2");
        assert!(!app.is_dirty().unwrap());
        fs::remove_file(app.root().join("z")).unwrap();
        assert!(app.restore(&bench.first, &note("x")).unwrap().is_some());
    }
}
