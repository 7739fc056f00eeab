//! Changes several files and creates one version with these changes: all of them or none.

use std::collections::BTreeMap;

use super::commit::commit_index;
use super::files::rules_of;
use super::history::Commit;
use super::index::index_entry;
use super::message::CommitNote;
use super::tree::{MODE_FILE, TreeFile, files_of};
use super::worktree::{WorkTree, too_large};
use super::{Workspace, WorkspaceError, ignore, nested, repo};
use crate::domain::WorkspacePath;

/// A change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// Writes a file with this content.
    Write(WorkspacePath, Vec<u8>),
    /// Moves a file, with its content, to a path where none is.
    Move {
        /// Where it is.
        from: WorkspacePath,
        /// Where it will be.
        to: WorkspacePath,
    },
}

/// What the changes come to: files with new content, each with the file whose permissions it has, and files that go.
struct Plan {
    writes: BTreeMap<WorkspacePath, (Vec<u8>, WorkspacePath)>,
    removals: Vec<WorkspacePath>,
}

impl Workspace {
    /// Changes files and creates a version with these changes only, without other uncommitted changes in the work tree.
    /// `None` if the version would be the same.
    pub fn commit_files(&self, changes: Vec<FileChange>, note: &CommitNote) -> Result<Option<Commit>, WorkspaceError> {
        let limits = self.0.limits;
        let repo = self.repo()?;
        let head = repo::head(&repo)?;
        let tree = self.tree()?;
        let plan = self.plan(&tree, changes)?;

        let before = self.found(&tree)?;
        let rules_before = rules_of(&tree, &before);
        let sizes: BTreeMap<&str, u64> = before.iter().map(|found| (found.path.as_str(), found.stat.bytes)).collect();
        let mut after = sizes.clone();
        after.retain(|path, _| !plan.removals.iter().any(|removed| removed.as_str() == *path));
        after.extend(plan.writes.iter().map(|(path, (bytes, _))| (path.as_str(), bytes.len() as u64)));
        let total = |sizes: &BTreeMap<&str, u64>| sizes.values().sum::<u64>();
        // An app that is over a limit can still become smaller.
        if after.len() > sizes.len() || total(&after) > total(&sizes) {
            limits.check_all(after.len(), total(&after))?;
        }
        nested::check(sizes.keys().copied(), after.keys().copied())?;

        let mut earlier = Vec::new();
        for path in plan.removals.iter().chain(plan.writes.keys()) {
            earlier.push((path.clone(), tree.read(path, limits.total_bytes)?));
        }
        // Once it has begun, it is completed or undone.
        let tree = tree.uncancelled();
        let committed = apply(&tree, &plan).and_then(|()| {
            self.check_rules(&tree, after.keys().copied(), rules_before)?;
            let files = files_of(&repo, &head.tree()?)?;
            let mut index = repo::index_at(&repo, &head.tree()?)?;
            for path in plan.removals.iter().filter(|path| files.contains_key(path.as_str())) {
                index.remove_path(path.as_path())?;
            }
            for (path, (bytes, like)) in &plan.writes {
                let stat = tree.stat(path)?.ok_or(WorkspaceError::Busy)?;
                let mode = files.get(like.as_str()).map_or(MODE_FILE, |file| file.mode);
                index.add(&index_entry(path, stat, TreeFile { id: repo.blob(bytes)?, mode }))?;
            }
            commit_index(&repo, &head, index, true, note)
        });
        if committed.is_err() {
            undo(&tree, &earlier);
        }
        committed
    }

    fn plan(&self, tree: &WorkTree, changes: Vec<FileChange>) -> Result<Plan, WorkspaceError> {
        let limits = self.0.limits;
        let mut plan = Plan { writes: BTreeMap::new(), removals: Vec::new() };
        for change in changes {
            let (path, bytes, like) = match change {
                FileChange::Write(path, bytes) => (path.clone(), bytes, path),
                FileChange::Move { from, to } => {
                    if tree.stat(&to)?.is_some() {
                        return Err(WorkspaceError::refused(format!("There is a file “{to}” already.")));
                    }
                    let missing = || WorkspaceError::NotFound(from.to_string());
                    let bytes = tree.read(&from, limits.total_bytes)?.ok_or_else(missing)?;
                    plan.removals.push(from.clone());
                    (to, bytes, from)
                }
            };
            let size = bytes.len() as u64;
            // A file that came in otherwise may be larger. It can be moved.
            if size > limits.file_bytes && like == path {
                return Err(too_large(&path, size, limits.file_bytes));
            }
            if path.file_name() == ignore::FILE {
                ignore::check(&path, &bytes)?;
            }
            if plan.writes.contains_key(&path) {
                return Err(WorkspaceError::refused(format!("“{path}” is there twice.")));
            }
            plan.writes.insert(path, (bytes, like));
        }
        Ok(plan)
    }

    /// Refuses changes after which a rule in `.gitignore` leaves out one of these files.
    fn check_rules<'a>(
        &self,
        tree: &WorkTree,
        wanted: impl Iterator<Item = &'a str>,
        rules_before: usize,
    ) -> Result<(), WorkspaceError> {
        let found = self.found(tree)?;
        let rules = rules_of(tree, &found);
        if rules > ignore::TOTAL_MAX.max(rules_before) {
            let (actual, limit) = (rules as u64, ignore::TOTAL_MAX as u64);
            let what = "The app’s .gitignore files together".to_owned();
            return Err(WorkspaceError::TooLarge { what, actual, limit, unit: "rules" });
        }
        let is_there = |path: &str| found.binary_search_by(|found| found.path.as_str().cmp(path)).is_ok();
        let left_out: Vec<String> =
            wanted.filter(|path| !is_there(path)).take(5).map(|path| format!("“{path}”")).collect();
        if left_out.is_empty() {
            return Ok(());
        }
        Err(WorkspaceError::refused(format!(
            "A rule in .gitignore leaves out {}, so it would be missing from every version: choose another path or change the rule.",
            left_out.join(", ")
        )))
    }
}

/// Changes the work tree. Files are written before others are removed, so that a crash in between loses nothing, unless a
/// file has to make room for a folder of its name.
fn apply(tree: &WorkTree, plan: &Plan) -> Result<(), WorkspaceError> {
    let inside = |inner: &WorkspacePath, outer: &WorkspacePath| {
        inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
    };
    let in_the_way = |path: &&WorkspacePath| plan.writes.keys().any(|new| inside(new, path));
    let (first, last): (Vec<_>, Vec<_>) = plan.removals.iter().partition(in_the_way);
    for path in first {
        tree.remove(path)?;
    }
    for (path, (bytes, _)) in &plan.writes {
        tree.write(path, bytes)?;
    }
    for path in last {
        tree.remove(path)?;
    }
    Ok(())
}

/// Restores the files as they were, as far as the disk allows.
fn undo(tree: &WorkTree, earlier: &[(WorkspacePath, Option<Vec<u8>>)]) {
    for (path, _) in earlier.iter().filter(|(_, bytes)| bytes.is_none()) {
        drop(tree.remove(path));
    }
    for (path, bytes) in earlier {
        if let Some(bytes) = bytes {
            drop(tree.write(path, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::{Bench, SMALL, note, path};
    use super::*;

    fn write(at: &str, text: &str) -> FileChange {
        FileChange::Write(path(at), text.as_bytes().to_vec())
    }

    fn moved(from: &str, to: &str) -> FileChange {
        FileChange::Move { from: path(from), to: path(to) }
    }

    #[test]
    fn several_files_become_one_version() {
        let bench = Bench::new(&[("a.txt", "a\n"), ("img/old.txt", "old\n")]);
        // What the model has written and not committed stays as it is.
        bench.write("draft.txt", "unfinished");
        let binary = FileChange::Write(path("img/logo.png"), b"\x89PNG\0\xff".to_vec());
        let commit = bench.app.commit_files(vec![write("a.txt", "b\n"), binary], &note("Upload")).unwrap().unwrap();
        let files: Vec<String> =
            bench.app.tree_at(&commit.id).unwrap().into_iter().map(|file| file.path.into()).collect();
        assert_eq!(files, ["a.txt", "img/logo.png", "img/old.txt"]);
        assert_eq!(bench.app.read_at(&commit.id, &path("img/logo.png")).unwrap(), b"\x89PNG\0\xff");
        assert_eq!(bench.app.read(&path("draft.txt")).unwrap(), b"unfinished");
        bench.check();
        assert!(bench.app.commit_files(vec![write("a.txt", "b\n")], &note("Same")).unwrap().is_none());
    }

    #[test]
    fn files_and_folders_are_moved() {
        let bench = Bench::new(&[("a/x.txt", "x\n"), ("a/y.txt", "y\n"), ("b.txt", "b\n")]);
        std::fs::write(bench.app.root().join("run.sh"), "run\n").unwrap();
        bench.app_git(&["add", "run.sh"]);
        bench.app_git(&["update-index", "--chmod=+x", "run.sh"]);
        bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "A program"]);
        let changes = vec![moved("a/x.txt", "c/d/x.txt"), moved("a/y.txt", "c/d/y.txt"), moved("run.sh", "bin/run.sh")];
        bench.app.commit_files(changes, &note("Move")).unwrap().unwrap();
        assert_eq!(bench.paths(), ["b.txt", "bin/run.sh", "c/d/x.txt", "c/d/y.txt"]);
        assert!(!bench.app.root().join("a").exists(), "the empty folder is gone");
        assert!(bench.app_git(&["ls-files", "-s", "bin/run.sh"]).starts_with("100755"), "it is still a program");
        // A file makes room for a folder of its name. A folder does not become a file.
        bench.app.commit_files(vec![moved("b.txt", "b.txt/inner.txt")], &note("Into")).unwrap().unwrap();
        let error = bench.app.commit_files(vec![moved("b.txt/inner.txt", "b.txt")], &note("Out")).unwrap_err();
        assert!(error.to_string().contains("is a folder"), "{error}");
        assert_eq!(bench.app.read(&path("b.txt/inner.txt")).unwrap(), b"b\n");
        bench.check();
    }

    #[test]
    fn all_changes_are_made_or_none() {
        let bench = Bench::new(&[("a.txt", "a\n"), ("b.txt", "b\n"), (".gitignore", "*.log\n")]);
        let app = &bench.app;
        let outside = bench.folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, app.root().join("link")).unwrap();
        let full = "x".repeat(usize::try_from(SMALL.file_bytes).unwrap());
        let many = |count: usize| (0..count).map(|n| write(&format!("n{n}"), "")).collect::<Vec<_>>();
        for (changes, words) in [
            (vec![write("new.txt", "n"), write("x.log", "left out")], ".gitignore"),
            (vec![write("new.txt", "n"), write(".gitignore", "b.txt\nnew.*\n")], "new.txt"),
            (vec![write("new.txt", "n"), write("a.txt/inner", "x")], "is a file"),
            (vec![write("new.txt", "n"), write("link/x", "x")], "symbolic link"),
            (vec![write("new.txt", "n"), write("big", &format!("{full}x"))], "at most 200000"),
            (
                vec![write("1", &full), write("2", &full), write("3", &full), write("4", &full), write("5", &full)],
                "1000000",
            ),
            (many(SMALL.files), "files"),
            (vec![write("r/HEAD", ""), write("r/objects/x", ""), write("r/refs/x", "")], "git repository"),
            (vec![write("new.txt", "1"), write("new.txt", "2")], "twice"),
            (vec![moved("a.txt", "new.txt"), moved("none.txt", "other.txt")], "none.txt"),
            (vec![moved("a.txt", "b.txt")], "already"),
            (vec![moved("a.txt", "new.txt"), moved("b.txt", "new.txt")], "twice"),
            (vec![moved("a.txt", "a.log")], ".gitignore"),
        ] {
            let error = app.commit_files(changes, &note("x")).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
            assert_eq!(bench.paths(), [".gitignore", "a.txt", "b.txt"], "after {words}");
            assert_eq!(app.read(&path("a.txt")).unwrap(), b"a\n");
            assert_eq!(app.head().unwrap(), bench.first);
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
