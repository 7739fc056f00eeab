//! Creates versions from the work tree.

use std::path::Path;

use git2::{Index, ObjectType, Oid, Repository};

use super::history::{Commit, describe};
use super::index::{Known, index_entry};
use super::message::CommitNote;
use super::tree::{MODE_FILE, TreeFile, TreeFiles, files_of, is_tracked};
use super::worktree::{WorkTree, too_large};
use super::{NewFile, Workspace, WorkspaceError, nested, repo};
use crate::domain::{VersionId, WorkspacePath};

/// Creates the repository in the empty folder `root` and commits `files`.
pub(super) fn first_version(
    root: &Path,
    settings: &Path,
    files: &[NewFile],
    note: &CommitNote,
) -> Result<VersionId, WorkspaceError> {
    let repo = repo::init(root, settings)?;
    let tree = WorkTree::open(root)?;
    let mut index = repo.index()?;
    for file in files {
        let stat = tree.write(&file.path, &file.bytes)?;
        index.add(&index_entry(&file.path, stat, TreeFile { id: repo.blob(&file.bytes)?, mode: MODE_FILE }))?;
    }
    let id = repo::commit(&repo, None, index.write_tree()?, &note.message(), note.at)?;
    index.write()?;
    Ok(repo::version_of(id))
}

impl Workspace {
    /// Whether the work tree differs from the newest version.
    pub fn is_dirty(&self) -> Result<bool, WorkspaceError> {
        let repo = self.repo()?;
        let files = files_of(&repo, &repo::head(&repo)?.tree()?)?;
        let tree = self.tree()?;
        let found = tree.walk(&|path| is_tracked(&files, path))?;
        if found.len() != files.len() {
            return Ok(true);
        }
        let known = Known::of(&repo);
        for found in found {
            let Some(file) = files.get(found.path.as_str()) else { return Ok(true) };
            if known.id_of(&found) == Some(file.id) {
                continue;
            }
            match tree.read(&found.path, self.0.limits.total_bytes)? {
                Some(bytes) if Oid::hash_object(ObjectType::Blob, &bytes)? == file.id => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Creates a version from the current work tree. `None` if nothing changed.
    pub fn commit_all(&self, note: &CommitNote) -> Result<Option<Commit>, WorkspaceError> {
        let limits = self.0.limits;
        let repo = self.repo()?;
        let head = repo::head(&repo)?;
        let files = files_of(&repo, &head.tree()?)?;
        let tree = self.tree()?;
        let found = tree.walk(&|path| is_tracked(&files, path))?;
        limits.check_all(found.len(), found.iter().map(|found| found.stat.bytes).sum())?;
        nested::check(files.keys().map(String::as_str), found.iter().map(|found| found.path.as_str()))?;

        let known = Known::of(&repo);
        let mut index = repo::index_at(&repo, &head.tree()?)?;
        let mut gone: TreeFiles = files.clone();
        let mut index_is_news = false;
        for found in found {
            let old = gone.remove(found.path.as_str());
            if old.is_some_and(|old| known.id_of(&found) == Some(old.id)) {
                continue;
            }
            // Deleted after the walk.
            let Some(bytes) = tree.read(&found.path, limits.total_bytes)? else {
                gone.extend(old.map(|old| (found.path.to_string(), old)));
                continue;
            };
            let id = Oid::hash_object(ObjectType::Blob, &bytes)?;
            if old.is_none_or(|old| old.id != id) {
                if bytes.len() as u64 > limits.file_bytes {
                    return Err(too_large(&found.path, bytes.len() as u64, limits.file_bytes));
                }
                repo.blob(&bytes)?;
            }
            let mode = old.map_or(MODE_FILE, |old| old.mode);
            index.add(&index_entry(&found.path, found.stat, TreeFile { id, mode }))?;
            index_is_news = true;
        }
        for path in gone.keys() {
            index.remove_path(Path::new(path))?;
        }
        commit_index(&repo, &head, index, index_is_news, note)
    }

    /// Writes a file (or deletes it, without `bytes`) and creates a version with this change only, without other
    /// uncommitted changes in the work tree. `None` if the version would be the same.
    pub fn commit_file(
        &self,
        path: &WorkspacePath,
        bytes: Option<&[u8]>,
        note: &CommitNote,
    ) -> Result<Option<Commit>, WorkspaceError> {
        let repo = self.repo()?;
        let head = repo::head(&repo)?;
        let files = files_of(&repo, &head.tree()?)?;
        let old = files.get(path.as_str());
        let before = match self.read(path) {
            Ok(before) => Some(before),
            Err(WorkspaceError::NotFound(_) | WorkspaceError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(bytes) = bytes {
            self.write(path, bytes)?;
        } else {
            match self.delete(path) {
                // It was deleted before, without a commit.
                Err(WorkspaceError::NotFound(_)) if old.is_some() => {}
                deleted => deleted?,
            }
        }
        let committed = self.commit_path(&repo, &head, path, bytes, old, note);
        if committed.is_err() {
            // The change was not committed, so it is undone in the work tree too, as far as the disk allows.
            let tree = self.tree()?;
            match before {
                Some(before) => drop(tree.write(path, &before)),
                None => drop(tree.remove(path)),
            }
        }
        committed
    }

    /// The part of [`Self::commit_file`] in the repository: commits the file that is in the work tree.
    fn commit_path(
        &self,
        repo: &Repository,
        head: &git2::Commit<'_>,
        path: &WorkspacePath,
        bytes: Option<&[u8]>,
        old: Option<&TreeFile>,
        note: &CommitNote,
    ) -> Result<Option<Commit>, WorkspaceError> {
        let mut index = repo::index_at(repo, &head.tree()?)?;
        match bytes {
            Some(bytes) => {
                let stat = self.tree()?.stat(path)?.ok_or(WorkspaceError::Busy)?;
                let file = TreeFile { id: repo.blob(bytes)?, mode: old.map_or(MODE_FILE, |old| old.mode) };
                index.add(&index_entry(path, stat, file))?;
            }
            None if old.is_some() => index.remove_path(path.as_path())?,
            None => {}
        }
        commit_index(repo, head, index, true, note)
    }
}

/// Commits the content of the index, unless it is the same as that of `head`.
pub(super) fn commit_index(
    repo: &Repository,
    head: &git2::Commit<'_>,
    mut index: Index,
    index_is_news: bool,
    note: &CommitNote,
) -> Result<Option<Commit>, WorkspaceError> {
    let tree = index.write_tree()?;
    let made = if tree == head.tree_id() {
        None
    } else {
        Some(repo::commit(repo, Some(head), tree, &note.message(), note.at)?)
    };
    if made.is_some() || index_is_news {
        // The index is only a cache: the version is complete even if it cannot be written.
        drop(index.write());
    }
    let Some(id) = made else { return Ok(None) };
    Ok(Some(describe(repo, &repo.find_commit(id)?)?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::testing::{Bench, SMALL, note, path};
    use super::*;
    use crate::domain::{ChangeSize, TurnId, VersionKind};

    #[test]
    fn changes_become_versions() {
        let bench = Bench::new(&[("a.txt", "1\n"), ("b/c.txt", "c\n")]);
        let app = &bench.app;
        assert_eq!(app.head().unwrap(), bench.first);
        assert!(!app.is_dirty().unwrap());
        assert_eq!(app.commit_all(&note("nothing")).unwrap(), None);
        bench.check();

        bench.write("a.txt", "1\n2\n");
        bench.write("new/d.txt", "d\n");
        app.delete(&path("b/c.txt")).unwrap();
        assert!(app.is_dirty().unwrap());
        let commit = app.commit_all(&note("Change three files")).unwrap().unwrap();
        assert_eq!(commit.size, ChangeSize { files: 3, additions: 2, deletions: 1 });
        assert_eq!(commit.parent.as_ref(), Some(&bench.first));
        assert_eq!(
            (commit.title.as_str(), commit.kind, commit.turn),
            ("Change three files", VersionKind::Turn, Some(TurnId(3)))
        );
        assert_eq!(commit.at.to_string(), "2026-03-04T05:06:07Z");
        assert_eq!(app.head().unwrap(), commit.id);
        assert_eq!(app.commit(&commit.id).unwrap(), commit);
        assert!(!app.is_dirty().unwrap());
        bench.check();
        let said = bench.app_git(&["log", "-1", "--format=%an <%ae>|%cI|%(trailers:key=Slipway-Kind,valueonly)|%B"]);
        assert!(said.starts_with("Slipway <slipway@localhost>|2026-03-04T05:06:07Z|turn"), "{said}");
        assert_eq!(bench.app_git(&["branch", "--show-current"]).trim(), "main");
        let tree: Vec<String> = app.tree_at(&commit.id).unwrap().into_iter().map(|entry| entry.path.into()).collect();
        assert_eq!(tree, ["a.txt", "new/d.txt"]);
        assert_eq!(app.read_at(&bench.first, &path("b/c.txt")).unwrap(), b"c\n");
        assert!(matches!(app.read_at(&commit.id, &path("b/c.txt")), Err(WorkspaceError::NotFound(_))));
        assert!(matches!(app.read_at(&commit.id, &path("new")), Err(WorkspaceError::NotFound(_))));
    }

    #[test]
    fn a_change_of_the_same_size_is_seen() {
        let bench = Bench::new(&[("a.txt", "0000")]);
        let file = bench.app.root().join("a.txt");
        for round in 1..20 {
            // Written in place, so that the file keeps its inode.
            fs::write(&file, format!("{round:04}")).unwrap();
            assert!(bench.app.is_dirty().unwrap(), "round {round}");
            assert!(bench.app.commit_all(&note("round")).unwrap().is_some(), "round {round}");
        }
        bench.check();
    }

    #[test]
    fn files_and_folders_take_each_others_place() {
        let bench = Bench::new(&[("a", "file"), ("b/c", "c")]);
        let app = &bench.app;
        app.delete(&path("a")).unwrap();
        app.delete(&path("b/c")).unwrap();
        bench.write("a/x", "x");
        bench.write("b", "file");
        let commit = app.commit_all(&note("swap")).unwrap().unwrap();
        assert_eq!(app.tree_at(&commit.id).unwrap().len(), 2);
        bench.check();
        app.restore(&bench.first, &note("back")).unwrap().unwrap();
        assert_eq!(bench.paths(), ["a", "b/c"]);
        bench.check();
    }

    #[test]
    fn one_file_is_committed_while_others_are_dirty() {
        let bench = Bench::new(&[("a.txt", "a"), ("b.txt", "b"), ("c.txt", "c")]);
        let app = &bench.app;
        bench.write("b.txt", "dirty");
        bench.write("new.txt", "dirty");
        let commit = app.commit_file(&path("a.txt"), Some(b"edited"), &note("Edit")).unwrap().unwrap();
        assert_eq!(commit.size.files, 1);
        assert_eq!(app.read_at(&commit.id, &path("b.txt")).unwrap(), b"b");
        assert_eq!(app.read_at(&commit.id, &path("a.txt")).unwrap(), b"edited");
        assert_eq!(app.read(&path("b.txt")).unwrap(), b"dirty");
        assert_eq!(app.commit_file(&path("a.txt"), Some(b"edited"), &note("Again")).unwrap(), None);
        let deleted = app.commit_file(&path("c.txt"), None, &note("Delete")).unwrap().unwrap();
        assert_eq!(deleted.size, ChangeSize { files: 1, additions: 0, deletions: 1 });
        assert!(!app.exists(&path("c.txt")).unwrap());
        assert!(matches!(app.commit_file(&path("c.txt"), None, &note("x")), Err(WorkspaceError::NotFound(_))));
        // It was already deleted in the work tree.
        app.delete(&path("a.txt")).unwrap();
        assert!(app.commit_file(&path("a.txt"), None, &note("Delete")).unwrap().is_some());
        // It was never committed.
        assert_eq!(app.commit_file(&path("new.txt"), None, &note("Delete")).unwrap(), None);
        assert!(!app.exists(&path("new.txt")).unwrap());
        let fresh = app.commit_file(&path("x/y.txt"), Some(b"y"), &note("New")).unwrap().unwrap();
        assert_eq!(app.tree_at(&fresh.id).unwrap().len(), 2);
        assert_eq!(bench.app_git(&["status", "--porcelain"]), " M b.txt\n");
        bench.check();
    }

    #[test]
    fn a_file_that_cannot_be_committed_is_not_written() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let app = &bench.app;
        let lock = app.root().join(".git/index.lock");
        let branch = app.root().join(".git/refs/heads/main.lock");
        for lock in [&lock, &branch] {
            fs::write(lock, "").unwrap();
        }
        for (name, content) in [("a.txt", Some(b"b".as_slice())), ("new/b.txt", Some(b"b")), ("a.txt", None)] {
            let result = app.commit_file(&path(name), content, &note("x"));
            assert!(matches!(result, Err(WorkspaceError::Busy)), "{result:?}");
        }
        app.recover().unwrap();
        assert_eq!(bench.paths(), ["a.txt"]);
        assert_eq!(app.read(&path("a.txt")).unwrap(), b"a");
        assert!(!app.root().join("new").exists());
        bench.check();
    }

    #[test]
    fn links_and_ignored_files_are_not_committed() {
        let bench = Bench::new(&[("a.txt", "a"), ("b.txt", "b"), (".gitignore", "*.log\nnode_modules\n")]);
        let (app, root) = (&bench.app, bench.app.root());
        let secret = bench.folder.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, root.join("link")).unwrap();
        symlink(bench.folder.path(), root.join("folder")).unwrap();
        fs::write(root.join("x.log"), "log").unwrap();
        fs::create_dir(root.join("node_modules")).unwrap();
        fs::write(root.join("node_modules/x"), "x").unwrap();
        git2::Repository::init(root.join("nested")).unwrap();
        fs::write(root.join("nested/x"), "x").unwrap();
        assert!(!app.is_dirty().unwrap());
        assert_eq!(app.commit_all(&note("x")).unwrap(), None);
        // A link replaces the file, so the file counts as deleted.
        fs::remove_file(root.join("b.txt")).unwrap();
        symlink(&secret, root.join("b.txt")).unwrap();
        let commit = app.commit_all(&note("x")).unwrap().unwrap();
        assert_eq!(commit.size, ChangeSize { files: 1, additions: 0, deletions: 1 });
        let all = bench.app_git(&["ls-tree", "-r", "--name-only", "HEAD"]);
        assert_eq!(all, ".gitignore\na.txt\n");
    }

    #[test]
    fn a_link_that_somebody_committed_is_neither_followed_nor_lost() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let (app, root) = (&bench.app, bench.app.root());
        symlink("/etc/passwd", root.join("link")).unwrap();
        bench.app_git(&["add", "link"]);
        bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "Link"]);
        let linked = app.head().unwrap();
        assert_eq!(app.tree_at(&linked).unwrap().len(), 1);
        assert!(matches!(app.read_at(&linked, &path("link")), Err(WorkspaceError::NotFound(_))));
        bench.write("a.txt", "b");
        let next = app.commit_all(&note("x")).unwrap().unwrap();
        assert_eq!(next.size.files, 1);
        assert!(bench.app_git(&["ls-tree", "HEAD"]).contains("120000"));
        app.restore(&linked, &note("x")).unwrap().unwrap();
        assert_eq!(bench.paths(), ["a.txt"]);
        let tar = app.archive(&linked, &[]).unwrap();
        let mut tar = tar::Archive::new(tar.as_slice());
        let names: Vec<_> = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [Path::new("a.txt")]);
    }

    #[test]
    fn content_is_committed_byte_for_byte() {
        // With these attributes, git would convert line endings and insert ids.
        let attributes = "* text eol=crlf ident\n*.x filter=evil\n";
        let bench = Bench::new(&[(".gitattributes", attributes), ("a.txt", "old")]);
        bench.app_git(&["config", "filter.evil.clean", "touch evil; cat"]);
        let content = b"$Id$\r\nmixed\nends\r\n";
        bench.app.write(&path("a.txt"), content).unwrap();
        bench.app.write(&path("b.x"), content).unwrap();
        let commit = bench.app.commit_all(&note("x")).unwrap().unwrap();
        for name in ["a.txt", "b.x"] {
            assert_eq!(bench.app.read_at(&commit.id, &path(name)).unwrap(), content);
        }
        bench.app.restore(&bench.first, &note("x")).unwrap();
        bench.app.restore(&commit.id, &note("x")).unwrap();
        assert_eq!(bench.app.read(&path("a.txt")).unwrap(), content);
        assert!(!bench.app.root().join("evil").exists());
        assert!(!bench.app.is_dirty().unwrap());
    }

    #[test]
    fn a_huge_or_crowded_work_tree_is_not_committed() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let (app, root) = (&bench.app, bench.app.root());
        fs::write(root.join("big"), vec![b'x'; usize::try_from(SMALL.file_bytes).unwrap() + 1]).unwrap();
        let error = app.commit_all(&note("x")).unwrap_err();
        assert!(matches!(&error, WorkspaceError::TooLarge { what, .. } if what == "“big”"), "{error}");
        fs::remove_file(root.join("big")).unwrap();
        for number in 0..SMALL.files {
            fs::write(root.join(number.to_string()), "x").unwrap();
        }
        assert!(matches!(app.commit_all(&note("x")), Err(WorkspaceError::TooLarge { unit: "files", .. })));
        assert_eq!(app.head().unwrap(), bench.first);
    }

    #[test]
    fn hooks_do_not_run() {
        use std::os::unix::fs::PermissionsExt;
        let bench = Bench::new(&[("a.txt", "a")]);
        let hooks = bench.app.root().join(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        for hook in ["pre-commit", "post-commit", "reference-transaction"] {
            fs::write(hooks.join(hook), "#!/bin/sh\ntouch ran; exit 1\n").unwrap();
            fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
        }
        bench.write("a.txt", "b");
        assert!(bench.app.commit_all(&note("x")).unwrap().is_some());
        assert!(!bench.app.root().join("ran").exists());
    }

    #[test]
    fn two_writers_do_not_break_the_repository() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let made = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let app = bench.app.clone();
                    scope.spawn(move || {
                        let mut made = 0;
                        for round in 0..10 {
                            let file = path(&format!("{writer}.txt"));
                            match app.commit_file(&file, Some(format!("{round}").as_bytes()), &note("x")) {
                                Ok(Some(_)) => made += 1,
                                Ok(None) | Err(WorkspaceError::Busy) => {}
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                        made
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum::<usize>()
        });
        assert!(made > 0);
        bench.app.recover().unwrap();
        bench.app.commit_all(&note("the rest")).unwrap();
        bench.check();
    }
}
