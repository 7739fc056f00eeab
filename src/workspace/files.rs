//! Reads, writes, deletes and lists files of the work tree.

use std::cell::OnceCell;

use super::tree::{FileEntry, SNIFF_BYTES, TreeFiles, files_of, is_binary, is_tracked};
use super::worktree::{Found, WorkTree, too_large};
use super::{Workspace, WorkspaceError, compare, ignore, nested, repo};
use crate::domain::WorkspacePath;

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Whether the file did not exist before.
    pub created: bool,
    /// Whether the content changed.
    pub changed: bool,
    /// Number of lines added, compared to the earlier content.
    pub additions: u32,
    /// Number of lines removed, compared to the earlier content.
    pub deletions: u32,
}

impl Workspace {
    /// A file's content.
    pub fn read(&self, path: &WorkspacePath) -> Result<Vec<u8>, WorkspaceError> {
        // A file that was not created with `write` may be larger than `write` allows.
        self.tree()?.read(path, self.0.limits.total_bytes)?.ok_or_else(|| WorkspaceError::NotFound(path.to_string()))
    }

    /// Whether there is a file at `path`. Folders and symbolic links do not count.
    pub fn exists(&self, path: &WorkspacePath) -> Result<bool, WorkspaceError> {
        match self.tree()?.stat(path) {
            Ok(stat) => Ok(stat.is_some()),
            Err(WorkspaceError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a file atomically, with its folders. Refuses a path that `.gitignore` excludes, since the file would be
    /// missing from every version, and a `.gitignore` that would exclude existing files.
    pub fn write(&self, path: &WorkspacePath, bytes: &[u8]) -> Result<WriteOutcome, WorkspaceError> {
        let limits = self.0.limits;
        let size = bytes.len() as u64;
        if size > limits.file_bytes {
            return Err(too_large(path, size, limits.file_bytes));
        }
        if path.file_name() == ignore::FILE {
            ignore::check(path, bytes)?;
        }
        let tree = self.tree()?;
        let before = tree.stat(path)?;
        let old = match tree.read(path, limits.total_bytes) {
            // A file that is too large to be read can still be replaced.
            Err(WorkspaceError::TooLarge { .. }) => None,
            old => old?,
        };
        if tree.ignored_by(path)? && !self.tracked()?.contains_key(path.as_str()) {
            return Err(WorkspaceError::refused(format!(
                "“{path}” is left out by a rule in .gitignore, so it would be missing from every version: choose another path or change the rule."
            )));
        }
        if old.as_deref() == Some(bytes) {
            return Ok(WriteOutcome { created: false, changed: false, additions: 0, deletions: 0 });
        }
        if before.is_none() && nested::can_complete(path.as_str()) {
            let found = self.found(&tree)?;
            let there = || found.iter().map(|found| found.path.as_str());
            nested::check(there(), there().chain([path.as_str()]))?;
        }
        if before.is_none_or(|before| size > before.bytes) {
            let others = self.found(&tree)?;
            let others = || others.iter().filter(|found| found.path != *path);
            limits.check_all(others().count() + 1, others().map(|found| found.stat.bytes).sum::<u64>() + size)?;
        }
        let (additions, deletions) = compare::count_lines(&self.repo()?, old.as_deref().unwrap_or_default(), bytes)?;
        self.guarding_rules(&tree, path, old.as_deref(), || tree.write(path, bytes).map(|_| ()))?;
        Ok(WriteOutcome { created: before.is_none(), changed: true, additions, deletions })
    }

    /// Deletes a file, and the folders that are empty then.
    pub fn delete(&self, path: &WorkspacePath) -> Result<(), WorkspaceError> {
        let tree = self.tree()?;
        if tree.stat(path)?.is_none() {
            return Err(WorkspaceError::NotFound(path.to_string()));
        }
        let old = if path.file_name() == ignore::FILE { tree.read(path, self.0.limits.total_bytes)? } else { None };
        self.guarding_rules(&tree, path, old.as_deref(), || tree.remove(path).map(|_| ()))
    }

    /// The work tree's files, sorted by path, without those that `.gitignore` excludes.
    pub fn list(&self) -> Result<Vec<FileEntry>, WorkspaceError> {
        let tree = self.tree()?;
        let found = self.found(&tree)?;
        let entry = |found: Found| {
            let binary = is_binary(&tree.peek(&found.path, SNIFF_BYTES));
            FileEntry { binary, bytes: found.stat.bytes, path: found.path }
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// The app's files in the work tree. Reads the history only if a rule ignores something.
    pub(super) fn found(&self, tree: &WorkTree) -> Result<Vec<Found>, WorkspaceError> {
        let known: OnceCell<TreeFiles> = OnceCell::new();
        tree.walk(&|path| {
            // If the history cannot be read, nothing counts as tracked.
            let files = known.get_or_init(|| self.tracked().unwrap_or_default());
            is_tracked(files, path)
        })
    }

    fn tracked(&self) -> Result<TreeFiles, WorkspaceError> {
        let repo = self.repo()?;
        files_of(&repo, &repo::head(&repo)?.tree()?)
    }

    /// Changes a file. If it is a `.gitignore` whose new rules would exclude existing files, undoes the change and
    /// refuses.
    fn guarding_rules(
        &self,
        tree: &WorkTree,
        path: &WorkspacePath,
        old: Option<&[u8]>,
        change: impl FnOnce() -> Result<(), WorkspaceError>,
    ) -> Result<(), WorkspaceError> {
        if path.file_name() != ignore::FILE {
            return change();
        }
        let before = self.found(tree)?;
        let rules_before = rules_of(tree, &before);
        change()?;
        let undo = || match old {
            Some(old) => tree.write(path, old).map(|_| ()),
            None => tree.remove(path).map(|_| ()),
        };
        let after = match self.found(tree) {
            Ok(after) => after,
            Err(error) => {
                undo()?;
                return Err(error);
            }
        };
        let rules_after = rules_of(tree, &after);
        if rules_after > ignore::TOTAL_MAX.max(rules_before) {
            undo()?;
            let (actual, limit) = (rules_after as u64, ignore::TOTAL_MAX as u64);
            let what = "The app’s .gitignore files together".to_owned();
            return Err(WorkspaceError::TooLarge { what, actual, limit, unit: "rules" });
        }
        let is_there = |path: &WorkspacePath| after.binary_search_by(|found| found.path.cmp(path)).is_ok();
        let vanished: Vec<&str> = before
            .iter()
            .filter(|found| found.path != *path && !is_there(&found.path))
            .map(|found| found.path.as_str())
            .collect();
        if vanished.is_empty() {
            return Ok(());
        }
        undo()?;
        let named = vanished.iter().take(5).map(|path| format!("“{path}”")).collect::<Vec<_>>().join(", ");
        Err(WorkspaceError::refused(format!(
            "These rules would leave out files that are part of the app ({named}): delete those files first, or change the rules."
        )))
    }
}

/// Total number of rules in the app's `.gitignore` files.
pub(super) fn rules_of(tree: &WorkTree, found: &[Found]) -> usize {
    let files = found.iter().filter(|found| found.path.file_name() == ignore::FILE);
    let texts = files.map(|found| tree.peek(&found.path, ignore::RULES_MAX as u64));
    texts.map(|text| ignore::count(&String::from_utf8_lossy(&text))).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::{Bench, SMALL, path};
    use super::*;

    fn refused<T: std::fmt::Debug>(result: Result<T, WorkspaceError>, words: &str) {
        match result {
            Err(WorkspaceError::Refused(sentence)) => assert!(sentence.contains(words), "{sentence}"),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn files_are_written_read_listed_and_deleted() {
        let bench = Bench::new(&[("a.txt", "1\n2\n3\n")]);
        let app = &bench.app;
        let new = app.write(&path("deep/er/b.txt"), b"x\ny\n").unwrap();
        assert_eq!(new, WriteOutcome { created: true, changed: true, additions: 2, deletions: 0 });
        let changed = app.write(&path("a.txt"), b"1\ntwo\n3\n").unwrap();
        assert_eq!(changed, WriteOutcome { created: false, changed: true, additions: 1, deletions: 1 });
        let same = app.write(&path("a.txt"), b"1\ntwo\n3\n").unwrap();
        assert_eq!(same, WriteOutcome { created: false, changed: false, additions: 0, deletions: 0 });
        assert_eq!(app.read(&path("deep/er/b.txt")).unwrap(), b"x\ny\n");
        app.write(&path("z.bin"), b"\0\x01").unwrap();
        app.write(&path("é ü.txt"), b"").unwrap();
        let list = app.list().unwrap();
        let list: Vec<_> = list.iter().map(|entry| (entry.path.as_str(), entry.bytes, entry.binary)).collect();
        assert_eq!(list, [("a.txt", 8, false), ("deep/er/b.txt", 4, false), ("z.bin", 2, true), ("é ü.txt", 0, false)]);

        app.delete(&path("deep/er/b.txt")).unwrap();
        assert!(!app.root().join("deep").exists(), "empty folders go too");
        assert!(!app.exists(&path("deep/er/b.txt")).unwrap());
        assert!(app.exists(&path("a.txt")).unwrap());
        assert!(!app.exists(&path("a.txt/b")).unwrap());
        for gone in ["deep/er/b.txt", "nothing", "a.txt/b"] {
            assert!(matches!(app.delete(&path(gone)), Err(WorkspaceError::NotFound(name)) if name == gone));
            assert!(matches!(app.read(&path(gone)), Err(WorkspaceError::NotFound(_))));
        }
        bench.check();
    }

    #[test]
    fn what_stands_in_the_way_is_refused() {
        let bench = Bench::new(&[("a/b.txt", "b")]);
        let app = &bench.app;
        refused(app.write(&path("a"), b"x"), "is a folder");
        refused(app.read(&path("a")), "is a folder");
        refused(app.delete(&path("a")), "is a folder");
        refused(app.write(&path("a/b.txt/c/d.txt"), b"x"), "“b.txt” is a file");
        refused(app.write(&path(".slipway-tmp-1-1"), b"x"), "Slipway uses itself");
        assert_eq!(bench.paths(), ["a/b.txt"]);
        // A nested repository is neither changed nor listed.
        git2::Repository::init(app.root().join("vendor/lib")).unwrap();
        std::fs::write(app.root().join("vendor/lib/x"), "x").unwrap();
        refused(app.write(&path("vendor/lib/y"), b"y"), "another git repository");
        refused(app.write(&path("vendor/lib/.x/y"), b"y"), "another git repository");
        assert_eq!(bench.paths(), ["a/b.txt"]);
        assert!(path_of_git_is_refused());
    }

    fn path_of_git_is_refused() -> bool {
        [".git/config", ".git", "a/.git/hooks/x", ".GIT/config"]
            .iter()
            .all(|text| text.parse::<WorkspacePath>().is_err())
    }

    #[test]
    fn links_lead_nowhere() {
        let bench = Bench::new(&[("a/b.txt", "b")]);
        let (app, root) = (&bench.app, bench.app.root());
        let outside = bench.folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        symlink(&outside, root.join("out")).unwrap();
        symlink(outside.join("secret"), root.join("a/file")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        // Links inside of the work tree are refused too: this one points to the repository.
        symlink(".git", root.join("inside")).unwrap();
        symlink("b.txt", root.join("a/twin")).unwrap();
        for text in ["out/secret", "out/new", "a/file", "dangling", "inside/config", "inside/hooks/x", "a/twin", "out"]
        {
            refused(app.read(&path(text)), "symbolic link");
            refused(app.write(&path(text), b"x"), "symbolic link");
            refused(app.delete(&path(text)), "symbolic link");
            assert!(!app.exists(&path(text)).unwrap());
        }
        assert_eq!(bench.paths(), ["a/b.txt"]);
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(app.read(&path("a/b.txt")).unwrap(), b"b");
        assert!(!root.join("nowhere").exists());
    }

    #[test]
    fn a_pipe_is_no_file() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let pipe = bench.app.root().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        refused(bench.app.read(&path("pipe")), "no ordinary file");
        refused(bench.app.write(&path("pipe"), b"x"), "no ordinary file");
        assert_eq!(bench.paths(), ["a.txt"]);
        assert!(!bench.app.is_dirty().unwrap());
    }

    #[test]
    fn limits_hold() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let app = &bench.app;
        let full = vec![b'x'; usize::try_from(SMALL.file_bytes).unwrap()];
        let mut over = full.clone();
        over.push(b'x');
        match app.write(&path("big"), &over) {
            Err(WorkspaceError::TooLarge { what, actual: 200_001, limit: 200_000, unit: "bytes" }) => {
                assert_eq!(what, "“big”");
            }
            other => panic!("{other:?}"),
        }
        assert!(!app.exists(&path("big")).unwrap());
        for name in ["1", "2", "3", "4"] {
            app.write(&path(name), &full).unwrap();
        }
        assert!(matches!(app.write(&path("5"), &full), Err(WorkspaceError::TooLarge { limit: 1_000_000, .. })));
        // Making a file smaller is always permitted.
        app.write(&path("4"), b"").unwrap();
        for number in 5..SMALL.files {
            app.write(&path(&number.to_string()), b"").unwrap();
        }
        let error = app.write(&path("more"), b"").unwrap_err();
        assert!(matches!(error, WorkspaceError::TooLarge { actual: 21, limit: 20, unit: "files", .. }), "{error}");
        app.write(&path("5"), b"again").unwrap();
    }

    #[test]
    fn a_huge_file_that_came_in_otherwise_can_be_replaced() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let huge = std::fs::File::create(bench.app.root().join("huge")).unwrap();
        huge.set_len(3_000_000_000).unwrap();
        assert!(matches!(bench.app.read(&path("huge")), Err(WorkspaceError::TooLarge { .. })));
        assert_eq!(bench.app.list().unwrap()[1].bytes, 3_000_000_000);
        assert!(!bench.app.write(&path("huge"), b"small").unwrap().created);
        assert_eq!(bench.app.read(&path("huge")).unwrap(), b"small");
    }

    #[test]
    fn many_rules_are_refused_and_what_stood_there_stays() {
        let bench = Bench::new(&[("a.txt", "a"), (".gitignore", "*.log\n")]);
        let app = &bench.app;
        let rules = |name: &str, count: usize| (0..count).map(|n| format!("{name}{n}\n")).collect::<String>();
        let error = app.write(&path(".gitignore"), rules("x", 10_000).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("“.gitignore” would have 10000 rules, and at most 500 are allowed"), "{error}");
        assert_eq!(app.read(&path(".gitignore")).unwrap(), b"*.log\n");
        // In nested folders, where each file is within its own limit.
        bench.write("a/.gitignore", &rules("a", 500));
        let error = app.write(&path("a/b/.gitignore"), rules("b", 500).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("together would have 1001 rules, and at most 1000 are allowed"), "{error}");
        assert!(!app.exists(&path("a/b/.gitignore")).unwrap());
        bench.write("a/b/.gitignore", &rules("b", 499));
        // Reducing the number of rules is always permitted.
        std::fs::write(app.root().join(".gitignore"), rules("x", 400)).unwrap();
        bench.write("a/.gitignore", &rules("a", 499));
        bench.write("a/b/c.txt", "c");
    }

    #[test]
    fn a_walk_ends_when_its_time_is_up() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let budget = crate::bounded_work::Budget::unlimited();
        let app = bench.all.open_within(bench.app.app(), &budget).unwrap();
        assert_eq!(app.list().unwrap().len(), 1);
        budget.cancel();
        assert!(matches!(app.list(), Err(WorkspaceError::Stopped)));
        assert!(matches!(app.write(&path("b.txt"), b"b"), Err(WorkspaceError::Stopped)));
        assert!(!bench.app.exists(&path("b.txt")).unwrap());
    }

    #[test]
    fn rules_never_make_a_written_file_vanish() {
        let bench = Bench::new(&[("a.txt", "a"), (".gitignore", "*.log\nbuild/\n/here\n")]);
        let app = &bench.app;
        for ignored in ["x.log", "a/x.log", "build/x", "a/build/x/y", "here"] {
            refused(app.write(&path(ignored), b"x"), ".gitignore");
        }
        assert!(!app.root().join("build").exists(), "a refused write makes no folders");
        for kept in ["build", "a/here", "x.log.txt"] {
            app.write(&path(kept), b"x").unwrap();
        }
        // Rules that would exclude existing files, committed or not.
        app.write(&path("new.css"), b"x").unwrap();
        refused(app.write(&path(".gitignore"), b"*.css\n"), "“new.css”");
        app.write(&path("sub/b.txt"), b"x").unwrap();
        refused(app.write(&path("sub/.gitignore"), b"*\n!.gitignore"), "“sub/b.txt”");
        assert!(!app.root().join("sub/.gitignore").exists());
        assert_eq!(app.read(&path(".gitignore")).unwrap(), b"*.log\nbuild/\n/here\n");
        app.write(&path(".gitignore"), b"*.log\nother/\n").unwrap();
        // A committed file stays part of the app, whatever the rules are.
        app.write(&path(".gitignore"), b"a.txt\n").unwrap();
        app.write(&path("a.txt"), b"changed").unwrap();
        assert!(bench.paths().contains(&"a.txt".to_owned()));
    }

    #[test]
    fn text_is_told_from_other_files() {
        assert!(!is_binary(b""));
        assert!(!is_binary("é".as_bytes()));
        assert!(!is_binary(&"é".as_bytes()[..1]), "cut in the middle of a character");
        assert!(is_binary(b"\xff\xfe"));
        assert!(is_binary(b"a\0b"));
    }
}
