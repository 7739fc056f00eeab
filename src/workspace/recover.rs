//! Repairs a workspace after the process died during a change.

use std::fs;
use std::io;
use std::path::Path;

use super::tree::files_of;
use super::{Workspace, WorkspaceError, export, object_files, pack, repo};

impl Workspace {
    /// Removes what a dead process left (lock files, incomplete files), and checks that the newest version can be read.
    /// Uncommitted changes are kept, but an interrupted restore is completed or undone. The caller ensures that the
    /// workspace is not in use.
    pub fn recover(&self) -> Result<(), WorkspaceError> {
        let repo = self.repo()?;
        let git = repo.path();
        for lock in ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"] {
            remove_file(&git.join(lock))?;
        }
        remove_below(&git.join("refs"), &|name| Path::new(name).extension().is_some_and(|end| end == "lock"))?;
        remove_below(&git.join("objects"), &|name| name.starts_with("tmp_obj") || name.starts_with("tmp_object"))?;
        for entry in fs::read_dir(git)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(export::ASIDE) || name.starts_with(pack::ASIDE) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        object_files::remove_unfinished_packs(&repo)?;
        self.tree()?.remove_temporaries()?;

        let head = repo::head(&repo)?.tree()?;
        for file in files_of(&repo, &head)?.values() {
            repo.odb()?.read_header(file.id)?;
        }
        self.finish_following(&repo)?;
        // The branch may have moved without an update of the index.
        let mut index = repo::index_at(&repo, &head)?;
        Ok(index.write()?)
    }
}

fn remove_file(path: &Path) -> Result<(), WorkspaceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes files below a folder of the repository, by their names.
fn remove_below(folder: &Path, unwanted: &dyn Fn(&str) -> bool) -> Result<(), WorkspaceError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_below(&entry.path(), unwanted)?;
        } else if unwanted(&entry.file_name().to_string_lossy()) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::restore::FOLLOW_MARK;
    use super::super::testing::{Bench, note, path};
    use super::super::worktree::TEMP_PREFIX;
    use super::*;

    #[test]
    fn leftovers_of_a_crash_are_cleared_away() {
        let bench = Bench::new(&[("a.txt", "a"), ("b/c.txt", "c")]);
        let (app, root) = (&bench.app, bench.app.root());
        let git = root.join(".git");
        fs::write(git.join("index.lock"), "").unwrap();
        fs::write(git.join("refs/heads/main.lock"), "").unwrap();
        fs::write(git.join("objects/tmp_object_git2_x"), "").unwrap();
        fs::create_dir_all(git.join("slipway-export-1-1/pack")).unwrap();
        fs::write(root.join(format!("b/{TEMP_PREFIX}1-1")), "half").unwrap();
        fs::write(root.join("a.txt"), "not committed yet").unwrap();
        assert!(matches!(app.commit_all(&note("x")), Err(WorkspaceError::Busy)));
        assert_eq!(bench.paths(), ["a.txt", "b/c.txt"], "half-written files are not shown");

        app.recover().unwrap();
        for gone in [
            ".git/index.lock",
            ".git/refs/heads/main.lock",
            ".git/objects/tmp_object_git2_x",
            ".git/slipway-export-1-1",
        ] {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        assert!(!root.join(format!("b/{TEMP_PREFIX}1-1")).exists());
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"not committed yet");
        assert!(app.commit_all(&note("x")).unwrap().is_some());
        app.recover().unwrap();
        bench.check();
    }

    #[test]
    fn an_index_behind_the_branch_or_broken_is_made_anew() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let index = bench.app.root().join(".git/index");
        let before = fs::read(&index).unwrap();
        bench.write("a.txt", "b");
        bench.write("new.txt", "n");
        bench.app.commit_all(&note("x")).unwrap().unwrap();
        for broken in [before.as_slice(), b"", b"not an index", &before[..before.len() / 2]] {
            fs::write(&index, broken).unwrap();
            assert!(!bench.app.is_dirty().unwrap());
            bench.app.recover().unwrap();
            bench.check();
            fs::write(&index, broken).unwrap();
            assert_eq!(bench.app.commit_all(&note("x")).unwrap(), None);
        }
        fs::remove_file(&index).unwrap();
        assert_eq!(bench.app.commit_all(&note("x")).unwrap(), None);
        bench.app.recover().unwrap();
        bench.check();
    }

    #[test]
    fn a_restore_cut_off_is_ended_or_undone() {
        let bench = Bench::new(&[("a.txt", "1"), ("b.txt", "b")]);
        let app = &bench.app;
        bench.write("a.txt", "2");
        app.delete(&path("b.txt")).unwrap();
        app.commit_all(&note("Second")).unwrap().unwrap();
        let repo = app.repo().unwrap();
        // Died after the files were written and before the commit: the newest version is restored.
        app.follow(&repo, &repo::commit_of(&repo, &bench.first).unwrap().tree().unwrap()).unwrap();
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"1");
        app.recover().unwrap();
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"2");
        assert!(!app.exists(&path("b.txt")).unwrap());
        bench.check();
        // Died after the commit and before the update of the index and the removal of the mark.
        app.restore(&bench.first, &note("Restore")).unwrap().unwrap();
        fs::write(app.root().join(".git").join(FOLLOW_MARK), "x").unwrap();
        fs::remove_file(app.root().join(".git/index")).unwrap();
        fs::write(app.root().join("a.txt"), "half").unwrap();
        app.recover().unwrap();
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"1");
        assert!(!app.root().join(".git").join(FOLLOW_MARK).exists());
        bench.check();
    }

    #[test]
    fn a_repository_that_lost_its_head_is_said() {
        let bench = Bench::new(&[("a.txt", "a")]);
        fs::write(bench.app.root().join(".git/refs/heads/main"), "").unwrap();
        assert!(matches!(bench.app.recover(), Err(WorkspaceError::Git(_))));
        assert!(bench.app.head().is_err());
        assert_eq!(bench.app.read(&path("a.txt")).unwrap(), b"a", "the files can still be read");
    }
}
