//! Access to files of the work tree. Every path is opened folder by folder, without following symbolic links, so that
//! no path leads out of the work tree or into the repository.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};

use super::WorkspaceError;
use super::ignore::{self, Rules};
use super::repo::GIT_DIR;
use crate::bounded_work::Budget;
use crate::domain::WorkspacePath;

/// Prefix of the names of files that are being written.
pub(super) const TEMP_PREFIX: &str = ".slipway-tmp-";
/// Maximum number of entries that a walk reads.
const WALK_MAX: u64 = 50_000;

/// An open work tree.
pub(super) struct WorkTree {
    root: Dir,
    budget: Budget,
}

/// A file that a walk found.
pub(super) struct Found {
    pub(super) path: WorkspacePath,
    pub(super) stat: Stat,
}

/// The metadata that shows, without reading it, that a file is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) bytes: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Whether a path belongs to the app although a rule ignores it. Called with a file's path, or a folder's path ending
/// in `/`.
pub(super) type Tracked<'a> = &'a dyn Fn(&str) -> bool;

impl WorkTree {
    /// Opens the work tree at `root`.
    pub(super) fn open(root: &Path) -> Result<Self, WorkspaceError> {
        let root = Dir::open_ambient_dir(root, ambient_authority())?;
        Ok(Self { root, budget: Budget::unlimited() })
    }

    /// Limits the walks by a budget.
    #[must_use]
    pub(super) fn within(self, budget: &Budget) -> Self {
        Self { budget: budget.clone(), ..self }
    }

    /// Removes the limit of walks, for a change that must not be interrupted.
    #[must_use]
    pub(super) fn uncancelled(self) -> Self {
        Self { budget: Budget::unlimited(), ..self }
    }

    /// Reads a file. `None` if it does not exist.
    pub(super) fn read(&self, path: &WorkspacePath, limit: u64) -> Result<Option<Vec<u8>>, WorkspaceError> {
        let Some(folder) = self.folder_of(path, false)? else { return Ok(None) };
        let Some(stat) = check_file(&folder, path)? else { return Ok(None) };
        if stat.bytes > limit {
            return Err(too_large(path, stat.bytes, limit));
        }
        let file = open_file(&folder, path.file_name())?;
        let mut bytes = Vec::with_capacity(usize::try_from(stat.bytes).unwrap_or_default());
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(too_large(path, bytes.len() as u64, limit));
        }
        Ok(Some(bytes))
    }

    /// The first bytes of a file, to guess its type. Empty if it cannot be read.
    pub(super) fn peek(&self, path: &WorkspacePath, limit: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(Some(folder)) = self.folder_of(path, false)
            && let Ok(Some(_)) = check_file(&folder, path)
            && let Ok(file) = open_file(&folder, path.file_name())
            && file.take(limit).read_to_end(&mut bytes).is_err()
        {
            bytes.clear();
        }
        bytes
    }

    /// The metadata of a file. `None` if it does not exist.
    pub(super) fn stat(&self, path: &WorkspacePath) -> Result<Option<Stat>, WorkspaceError> {
        match self.folder_of(path, false)? {
            Some(folder) => check_file(&folder, path),
            None => Ok(None),
        }
    }

    /// Writes a file atomically: a reader sees either the old content or the new one.
    pub(super) fn write(&self, path: &WorkspacePath, bytes: &[u8]) -> Result<Stat, WorkspaceError> {
        let written = self.write_in_place(path, bytes);
        if written.is_err() {
            // Folders that were created only for this file are removed again.
            self.prune(path);
        }
        written
    }

    fn write_in_place(&self, path: &WorkspacePath, bytes: &[u8]) -> Result<Stat, WorkspaceError> {
        let folder = self.folder_of(path, true)?.ok_or_else(|| WorkspaceError::NotFound(path.to_string()))?;
        check_file(&folder, path)?;
        let temporary = temporary_name();
        let written =
            write_new(&folder, &temporary, bytes).and_then(|()| folder.rename(&temporary, &folder, path.file_name()));
        if let Err(error) = written {
            drop(folder.remove_file(&temporary));
            return Err(error.into());
        }
        check_file(&folder, path)?.ok_or_else(|| WorkspaceError::NotFound(path.to_string()))
    }

    /// Deletes a file, and the folders that are empty then. Returns false if it did not exist.
    pub(super) fn remove(&self, path: &WorkspacePath) -> Result<bool, WorkspaceError> {
        let Some(folder) = self.folder_of(path, false)? else { return Ok(false) };
        if check_file(&folder, path)?.is_none() {
            return Ok(false);
        }
        folder.remove_file(path.file_name())?;
        self.prune(path);
        Ok(true)
    }

    /// Removes empty folders above `path`, starting with the innermost one.
    fn prune(&self, path: &WorkspacePath) {
        let mut text = path.as_str();
        while let Some((parent, _)) = text.rsplit_once('/') {
            let Ok(parent_path) = parent.parse::<WorkspacePath>() else { return };
            let Ok(Some(folder)) = self.folder_of(&parent_path, false) else { return };
            if folder.remove_dir(parent_path.file_name()).is_err() {
                return;
            }
            text = parent;
        }
    }

    /// All files that belong to the app, sorted by path: without the repository, symbolic links and devices, and
    /// without untracked files that `.gitignore` excludes.
    pub(super) fn walk(&self, tracked: Tracked<'_>) -> Result<Vec<Found>, WorkspaceError> {
        let mut walk = Walk { stack: Vec::new(), seen: 0, tracked, found: Vec::new(), budget: &self.budget };
        walk.folder(&self.root, "", false)?;
        let mut found = walk.found;
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Whether a rule excludes an untracked file at `path` from the app.
    pub(super) fn ignored_by(&self, path: &WorkspacePath) -> Result<bool, WorkspaceError> {
        let text = path.as_str();
        let mut stack = Vec::new();
        push_rules(&mut stack, &self.root, "");
        let mut folder = self.root.try_clone()?;
        let mut open = true;
        for (at, _) in text.match_indices('/') {
            let parent = &text[..at];
            if ignore::is_ignored(&stack, parent, true) {
                return Ok(true);
            }
            let name = parent.rsplit('/').next().unwrap_or_default();
            match open.then(|| open_folder(&folder, name)) {
                Some(Ok(inner)) => {
                    push_rules(&mut stack, &inner, &text[..=at]);
                    folder = inner;
                }
                // The folder does not exist yet, so it has no rules.
                _ => open = false,
            }
        }
        Ok(ignore::is_ignored(&stack, text, false))
    }

    /// Removes temporary files that an interrupted write left.
    pub(super) fn remove_temporaries(&self) -> Result<(), WorkspaceError> {
        fn clean(folder: &Dir, depth: usize) -> Result<(), WorkspaceError> {
            for entry in folder.entries()? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let kind = entry.file_type()?;
                if kind.is_file() && name.starts_with(TEMP_PREFIX) {
                    folder.remove_file(&name)?;
                } else if kind.is_dir() && name != GIT_DIR && depth < crate::domain::path::DEPTH_MAX {
                    clean(&open_folder(folder, &name)?, depth + 1)?;
                }
            }
            Ok(())
        }
        clean(&self.root, 0)
    }

    /// The folder of a path. `None` if it does not exist and is not to be created.
    fn folder_of(&self, path: &WorkspacePath, make: bool) -> Result<Option<Dir>, WorkspaceError> {
        if path.as_str().split('/').any(|part| part.starts_with(TEMP_PREFIX)) {
            return Err(WorkspaceError::refused(format!(
                "“{path}” has a name that Slipway uses itself: choose another."
            )));
        }
        let mut folder = self.root.try_clone()?;
        let mut parts = path.as_str().split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                break;
            }
            match folder.symlink_metadata(part) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) if metadata.is_symlink() => return Err(through_link(path)),
                Ok(_) if make => {
                    return Err(WorkspaceError::refused(format!(
                        "“{path}” cannot be written: “{part}” is a file, not a folder. Delete that file or choose another path."
                    )));
                }
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => match folder.create_dir(part) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                    _ => {}
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            folder = match open_folder(&folder, part) {
                Ok(folder) => folder,
                Err(error) if is_link_refusal(&error) => return Err(through_link(path)),
                Err(error) => return Err(error.into()),
            };
            if folder.symlink_metadata(GIT_DIR).is_ok() {
                return Err(WorkspaceError::refused(format!(
                    "“{path}” is inside another git repository, which is not part of this app."
                )));
            }
        }
        Ok(Some(folder))
    }
}

/// A walk through the work tree.
struct Walk<'a> {
    /// The rules of the current folder and its parents, starting with the outermost.
    stack: Vec<Rules>,
    /// Number of entries that were read.
    seen: u64,
    tracked: Tracked<'a>,
    found: Vec<Found>,
    budget: &'a Budget,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Dir, base: &str, ignored: bool) -> Result<(), WorkspaceError> {
        push_rules(&mut self.stack, folder, base);
        for entry in folder.entries()? {
            self.budget.check()?;
            self.seen += 1;
            if self.seen > WALK_MAX {
                return Err(WorkspaceError::TooLarge {
                    what: "The app".into(),
                    actual: self.seen,
                    limit: WALK_MAX,
                    unit: "files and folders",
                });
            }
            let entry = entry?;
            // Files with names that are not valid in Slipway's paths are not part of the app.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(path) = format!("{base}{name}").parse::<WorkspacePath>() else { continue };
            if name.starts_with(TEMP_PREFIX) {
                continue;
            }
            let metadata = match folder.symlink_metadata(&name) {
                Ok(metadata) => metadata,
                // It was removed during the walk.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if metadata.is_file() {
                if (ignored || ignore::is_ignored(&self.stack, path.as_str(), false)) && !(self.tracked)(path.as_str())
                {
                    continue;
                }
                self.found.push(Found { path, stat: Stat::of(&metadata) });
            } else if metadata.is_dir() {
                let inner_base = format!("{path}/");
                let inner_ignored = ignored || ignore::is_ignored(&self.stack, path.as_str(), true);
                if inner_ignored && !(self.tracked)(&inner_base) {
                    continue;
                }
                let inner = match open_folder(folder, &name) {
                    Ok(inner) => inner,
                    Err(error) if error.kind() == io::ErrorKind::NotFound || is_link_refusal(&error) => continue,
                    Err(error) => return Err(error.into()),
                };
                // A nested repository is not part of the app.
                if inner.symlink_metadata(GIT_DIR).is_err() {
                    self.folder(&inner, &inner_base, inner_ignored)?;
                }
            }
        }
        self.stack.pop();
        Ok(())
    }
}

/// Adds a folder's rules, unless the total number of rules would be too large.
fn push_rules(stack: &mut Vec<Rules>, folder: &Dir, base: &str) {
    let rules = read_rules(folder, base);
    let before: usize = stack.iter().map(Rules::len).sum();
    stack.push(if before + rules.len() > ignore::TOTAL_MAX { Rules::default() } else { rules });
}

fn read_rules(folder: &Dir, base: &str) -> Rules {
    let read = || -> io::Result<Vec<u8>> {
        if !folder.symlink_metadata(ignore::FILE)?.is_file() {
            return Ok(Vec::new());
        }
        let mut text = Vec::new();
        open_file(folder, ignore::FILE)?.take(ignore::RULES_MAX as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    Rules::parse(base, &read().unwrap_or_default())
}

/// The metadata of the file at `path` in its folder; none if it does not exist. Everything except a file is refused.
fn check_file(folder: &Dir, path: &WorkspacePath) -> Result<Option<Stat>, WorkspaceError> {
    match folder.symlink_metadata(path.file_name()) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Stat::of(&metadata))),
        Ok(metadata) if metadata.is_symlink() => Err(through_link(path)),
        Ok(metadata) if metadata.is_dir() => {
            Err(WorkspaceError::refused(format!("“{path}” is a folder: name a file in it.")))
        }
        Ok(_) => Err(WorkspaceError::refused(format!("“{path}” is no ordinary file: choose another path."))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn through_link(path: &WorkspacePath) -> WorkspaceError {
    WorkspaceError::refused(format!(
        "“{path}” goes through a symbolic link, and those are not used here: choose another path."
    ))
}

pub(super) fn too_large(path: &WorkspacePath, actual: u64, limit: u64) -> WorkspaceError {
    WorkspaceError::TooLarge { what: format!("“{path}”"), actual, limit, unit: "bytes" }
}

fn is_link_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR))
}

fn open_folder(parent: &Dir, name: &str) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    Ok(Dir::from_std_file(parent.open_with(name, &options)?.into_std()))
}

fn open_file(folder: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK, a pipe that replaced the file would block without an end.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    folder.open_with(name, &options)
}

fn write_new(folder: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    folder.open_with(name, &options)?.write_all(bytes)
}

fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{TEMP_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
