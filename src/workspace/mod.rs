//! The workspaces: for each app a git repository with its work tree, and all operations that read or change them.
//! Versions, files, differences and archives are created here.
//!
//! Owns `<data>/workspaces/`. Independent of databases, templates, images and the web. It does not decide who may
//! change which file: the callers refuse changes of files that belong to Slipway. All functions block, so asynchronous
//! callers use a blocking thread. Callers ensure that each workspace has one writer at a time; concurrent writers run
//! one after the other or get [`WorkspaceError::Busy`], and never damage the repository. Readers need no lock.
//!
//! A version consists of ordinary files only. Symbolic links, devices and other repositories in a work tree are not
//! followed, listed or committed.

mod archive;
mod batch;
mod commit;
mod compare;
mod diff;
mod error;
mod export;
mod files;
mod find;
mod history;
mod ignore;
mod index;
mod message;
mod nested;
mod object_files;
mod pack;
mod recover;
mod repo;
mod restore;
#[cfg(test)]
mod testing;
mod tree;
mod worktree;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use batch::FileChange;
pub use diff::{DiffLine, FileDiff, FileStatus, LineKind, WorkChanges};
pub use error::WorkspaceError;
pub use files::WriteOutcome;
pub use find::{FindLimits, Found, FoundFile, FoundLine, WANTED_MAX, Wanted};
pub use history::Commit;
pub use message::{BODY_MAX, CommitNote, TITLE_MAX};
pub use pack::Packed;
pub use tree::FileEntry;

use crate::bounded_work::Budget;
use crate::domain::{AppName, VersionId, WorkspacePath};

/// The size limits of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of one file in bytes.
    pub file_bytes: u64,
    /// Maximum number of files of one app.
    pub files: usize,
    /// Maximum size in bytes of all files together.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 1024 * 1024, files: 2000, total_bytes: 64 * 1024 * 1024 }
    }
}

/// A file to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its path.
    pub path: WorkspacePath,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Prefixes of folders that are not complete workspaces: being created, and being removed.
const UNFINISHED: &str = ".new-";
const REMOVED: &str = ".gone-";

/// The folder that holds all workspaces, each under its app's name.
#[derive(Debug, Clone)]
pub struct Workspaces {
    root: PathBuf,
    limits: Limits,
}

impl Workspaces {
    /// Opens the folder `root`: creates it if it does not exist, and removes workspaces that a crash left incomplete.
    /// Only one process may use it at a time.
    pub fn new(root: impl Into<PathBuf>, limits: Limits) -> Result<Self, WorkspaceError> {
        let root = root.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        // Absolute, so that a later change of the current directory has no effect.
        let root = root.canonicalize()?;
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) || name.starts_with(REMOVED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let all = Self { root, limits };
        fs::write(all.settings(), repo::SETTINGS)?;
        Ok(all)
    }

    /// Creates a workspace whose first version contains `files`. After a crash, it is either complete or does not
    /// exist.
    pub fn create(
        &self,
        app: &AppName,
        files: &[NewFile],
        commit: &CommitNote,
    ) -> Result<(Workspace, VersionId), WorkspaceError> {
        if self.path_of(app).exists() {
            return Err(WorkspaceError::Exists(app.clone()));
        }
        self.check_limits(files)?;
        nested::check([], files.iter().map(|file| file.path.as_str()))?;
        let aside = self.aside(UNFINISHED, app);
        DirBuilder::new().mode(0o700).create(&aside)?;
        let made = commit::first_version(&aside, &self.settings(), files, commit).and_then(|version| {
            fs::rename(&aside, self.path_of(app)).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => WorkspaceError::Exists(app.clone()),
                _ => error.into(),
            })?;
            Ok((self.workspace(app, &Budget::unlimited()), version))
        });
        if made.is_err() {
            drop(fs::remove_dir_all(&aside));
        }
        made
    }

    /// The workspace of an app.
    pub fn open(&self, app: &AppName) -> Result<Workspace, WorkspaceError> {
        self.open_within(app, &Budget::unlimited())
    }

    /// The workspace of an app, with a budget. Once it is spent, reading fails with [`WorkspaceError::Stopped`]; a
    /// change that has started is completed.
    pub fn open_within(&self, app: &AppName, budget: &Budget) -> Result<Workspace, WorkspaceError> {
        if self.path_of(app).join(repo::GIT_DIR).is_dir() {
            Ok(self.workspace(app, budget))
        } else {
            Err(WorkspaceError::NoWorkspace(app.clone()))
        }
    }

    /// Removes a workspace with all its history. Succeeds if it does not exist.
    pub fn remove(&self, app: &AppName) -> Result<(), WorkspaceError> {
        let aside = self.aside(REMOVED, app);
        // Renamed first, so that a crash cannot leave an incomplete repository under the app's name.
        match fs::rename(self.path_of(app), &aside) {
            Ok(()) => Ok(fs::remove_dir_all(&aside)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The apps that have a workspace, sorted by name.
    pub fn list(&self) -> Result<Vec<AppName>, WorkspaceError> {
        let mut apps = BTreeSet::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if let Some(Ok(app)) = name.to_str().map(str::parse::<AppName>)
                && self.path_of(&app).join(repo::GIT_DIR).is_dir()
            {
                apps.insert(app);
            }
        }
        Ok(apps.into_iter().collect())
    }

    fn settings(&self) -> PathBuf {
        self.root.join(repo::SETTINGS_FILE)
    }

    fn path_of(&self, app: &AppName) -> PathBuf {
        self.root.join(app.as_str())
    }

    fn aside(&self, prefix: &str, app: &AppName) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.root.join(format!("{prefix}{app}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn workspace(&self, app: &AppName, budget: &Budget) -> Workspace {
        Workspace(Arc::new(Inner {
            app: app.clone(),
            root: self.path_of(app),
            settings: self.settings(),
            limits: self.limits,
            budget: budget.clone(),
        }))
    }

    fn check_limits(&self, files: &[NewFile]) -> Result<(), WorkspaceError> {
        for file in files {
            let bytes = file.bytes.len() as u64;
            if bytes > self.limits.file_bytes {
                return Err(worktree::too_large(&file.path, bytes, self.limits.file_bytes));
            }
        }
        self.limits.check_all(files.len(), files.iter().map(|file| file.bytes.len() as u64).sum())
    }
}

impl Limits {
    /// Checks the number of files and the total size of an app.
    fn check_all(&self, files: usize, bytes: u64) -> Result<(), WorkspaceError> {
        let what = || "The app".to_owned();
        if files > self.files {
            let (actual, limit) = (files as u64, self.files as u64);
            return Err(WorkspaceError::TooLarge { what: what(), actual, limit, unit: "files" });
        }
        if bytes > self.total_bytes {
            let limit = self.total_bytes;
            return Err(WorkspaceError::TooLarge { what: what(), actual: bytes, limit, unit: "bytes" });
        }
        Ok(())
    }
}

/// An app's repository and work tree. Cheap to clone and to open again, since it keeps no files open.
#[derive(Debug, Clone)]
pub struct Workspace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    app: AppName,
    root: PathBuf,
    settings: PathBuf,
    limits: Limits,
    budget: Budget,
}

impl Workspace {
    /// The app of this workspace.
    pub fn app(&self) -> &AppName {
        &self.0.app
    }

    /// The folder of its work tree. Read files in it through this type's methods: they do not follow links.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    fn repo(&self) -> Result<git2::Repository, WorkspaceError> {
        repo::open(&self.0.root, &self.0.settings).map_err(|error| self.or_gone(error))
    }

    fn tree(&self) -> Result<worktree::WorkTree, WorkspaceError> {
        let tree = worktree::WorkTree::open(&self.0.root).map_err(|error| self.or_gone(error))?;
        Ok(tree.within(&self.0.budget))
    }

    /// Replaces an error that was caused by the removal of the workspace.
    fn or_gone(&self, error: WorkspaceError) -> WorkspaceError {
        if self.0.root.join(repo::GIT_DIR).exists() { error } else { WorkspaceError::NoWorkspace(self.0.app.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::testing::{Bench, SMALL, new_file, note, path};
    use super::*;

    fn name(text: &str) -> AppName {
        text.parse().unwrap()
    }

    #[test]
    fn workspaces_are_made_opened_listed_and_removed() {
        let bench = Bench::new(&[("a.txt", "a"), ("b/c.txt", "c"), (".gitignore", "c.txt")]);
        bench.check();
        assert_eq!(bench.app.tree_at(&bench.first).unwrap().len(), 3, "what is scaffolded is never ignored");
        let mode = fs::metadata(bench.folder.path().join("workspaces")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let other = name("other-app");
        assert!(matches!(bench.all.open(&other), Err(WorkspaceError::NoWorkspace(app)) if app == other));
        let (_, version) = bench.all.create(&other, &[], &note("Empty")).unwrap();
        assert_eq!(bench.all.open(&other).unwrap().head().unwrap(), version);
        assert!(matches!(bench.all.create(&other, &[], &note("x")), Err(WorkspaceError::Exists(_))));
        assert_eq!(bench.all.open(&other).unwrap().head().unwrap(), version);
        assert_eq!(bench.all.list().unwrap(), [name("brisk-otter"), other.clone()]);

        let open = bench.all.open(&other).unwrap();
        bench.all.remove(&other).unwrap();
        bench.all.remove(&other).unwrap();
        assert_eq!(bench.all.list().unwrap(), [name("brisk-otter")]);
        assert!(matches!(open.head(), Err(WorkspaceError::NoWorkspace(_))));
        assert!(matches!(open.write(&path("a"), b"a"), Err(WorkspaceError::NoWorkspace(_))));
        assert_eq!(fs::read_dir(bench.folder.path().join("workspaces")).unwrap().count(), 2);
        bench.all.create(&other, &[], &note("Again")).unwrap();
        bench.check();
    }

    #[test]
    fn a_workspace_is_made_whole_or_not_at_all() {
        let bench = Bench::new(&[]);
        let app = name("other-app");
        let huge = NewFile { path: path("big"), bytes: vec![0; usize::try_from(SMALL.file_bytes).unwrap() + 1] };
        assert!(matches!(bench.all.create(&app, &[huge], &note("x")), Err(WorkspaceError::TooLarge { .. })));
        let many: Vec<_> = (0..=SMALL.files).map(|n| new_file(&n.to_string(), "")).collect();
        assert!(matches!(bench.all.create(&app, &many, &note("x")), Err(WorkspaceError::TooLarge { .. })));
        let clash = [new_file("a", "a"), new_file("a/b", "b")];
        assert!(matches!(bench.all.create(&app, &clash, &note("x")), Err(WorkspaceError::Refused(_))));
        assert_eq!(fs::read_dir(bench.folder.path().join("workspaces")).unwrap().count(), 2);
        assert!(matches!(bench.all.open(&app), Err(WorkspaceError::NoWorkspace(_))));
    }

    #[test]
    fn what_a_crash_left_aside_is_cleared_away() {
        let bench = Bench::new(&[]);
        let root = bench.folder.path().join("workspaces");
        let outside = bench.folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        for name in [".new-x-1-1", ".gone-x-1-1"] {
            fs::create_dir_all(root.join(name).join(".git")).unwrap();
            symlink(&outside, root.join(name).join("link")).unwrap();
        }
        fs::write(root.join("not-an-app"), "").unwrap();
        let again = Workspaces::new(root.clone(), SMALL).unwrap();
        assert_eq!(again.list().unwrap(), [name("brisk-otter")]);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 3);
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn only_our_own_configuration_counts() {
        let bench = Bench::new(&[("a.txt", "a")]);
        bench.app_git(&["config", "core.hooksPath", "/evil"]);
        let repo = bench.app.repo().unwrap();
        let config = repo.config().unwrap();
        let mut names = Vec::new();
        config
            .entries(None)
            .unwrap()
            .for_each(|entry| names.push((entry.name().unwrap().to_owned(), entry.level())))
            .unwrap();
        assert!(names.iter().all(|(_, level)| *level == git2::ConfigLevel::Local), "{names:?}");
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"core.fsyncobjectfiles") && !names.contains(&"core.hookspath"), "{names:?}");
        assert!(repo.is_bare(), "libgit2 never touches the work tree");
    }

    #[test]
    fn a_workspace_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + Clone + 'static>() {}
        shared::<Workspace>();
        shared::<Workspaces>();
    }
}
