//! Packing: replaces the many small files of a repository's objects with one, which uses less disk space and fewer
//! inodes.
//!
//! An object is deleted in one place only after it can be read durably in another, so a process that dies at any step
//! loses nothing, and the next pass continues from there. Concurrent readers are not disturbed: libgit2 looks for new
//! packs before it reports a missing object. Objects that no branch reaches are not moved.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{ObjectType, Odb, Oid, Repository};

use super::object_files::{Objects, Pack, Step, files_in, remove, sync};
use super::{Workspace, WorkspaceError, repo};
use crate::bounded_work::Budget;

/// Prefix of the folders in the repository in which packs are prepared.
pub(super) const ASIDE: &str = "slipway-pack-";
/// The folder of loose objects whose files are counted as a sample: all two-digit prefixes are equally frequent.
const SAMPLE: &str = "17";
/// Maximum number of objects in one pass: 100 MB of names.
const LOOKED_AT_MAX: usize = 1_000_000;

/// The result of packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Number of objects in the new pack.
    pub objects: usize,
    /// Its size in bytes.
    pub bytes: u64,
    /// Number of earlier packs that were merged into it.
    pub packs: usize,
}

/// When packing is worthwhile, and how much is packed at once.
#[derive(Debug, Clone, Copy)]
struct Thresholds {
    /// Minimum number of loose objects in one of 256 folders.
    sample: usize,
    /// Minimum number of reachable loose objects for a new pack.
    loose: usize,
    /// Maximum number of packs that are not consolidated.
    packs: usize,
    /// Maximum number of objects in the packs that are consolidated at once: libgit2 needs about 200 bytes of memory
    /// for each.
    consolidated: u64,
}

/// The thresholds for packs and loose objects are those of `git gc --auto`.
const THRESHOLDS: Thresholds = Thresholds { sample: 6_700 / 256 + 1, loose: 1_000, packs: 50, consolidated: 100_000 };

impl Workspace {
    /// Packs the repository if it has many loose objects or packs; `None` if nothing was packed. The caller ensures
    /// that there is no other writer.
    ///
    /// # Errors
    /// [`WorkspaceError::Stopped`] if the time limit was exceeded. The next pass continues with the work that was done.
    pub fn pack(&self) -> Result<Option<Packed>, WorkspaceError> {
        self.pack_beyond(&THRESHOLDS, &mut |_| ())
    }

    /// `done` is called after each step, for tests of crashes.
    fn pack_beyond(
        &self,
        thresholds: &Thresholds,
        done: &mut dyn FnMut(Step),
    ) -> Result<Option<Packed>, WorkspaceError> {
        let (repo, budget) = (self.repo()?, &self.0.budget);
        let objects = Objects(repo.path().join("objects"));
        let packs = objects.packs()?;
        if objects.loose_in(SAMPLE)?.len() < thresholds.sample && packs.len() <= thresholds.packs {
            return Ok(None);
        }
        let aside = Aside::new(&repo)?;
        let mut loose = objects.loose(budget)?;
        objects.remove_copies(&mut loose, &aside.view("all", &packs)?, budget, done)?;

        let mut old =
            if packs.len() > thresholds.packs { smallest(packs, thresholds.consolidated)? } else { Vec::new() };
        let old_objects = all_of(&aside.view("old", &old)?)?;
        let mut wanted: HashSet<Oid> = loose.union(&old_objects).copied().collect();
        let named = reached(&repo, &mut wanted, budget)?;
        if old.is_empty() && named.len() < thresholds.loose {
            return Ok(None);
        }
        // Unreachable objects stay where they are, packed or loose.
        let unnamed = wanted.into_iter().filter(|id| old_objects.contains(id));
        let new = aside.pack(&repo, &named, unnamed, budget)?;
        done(Step::Prepared);

        objects.place(&new.pack, done)?;
        for id in loose.into_iter().filter(|id| new.objects.contains(id)) {
            remove(&objects.loose_path(id))?;
            done(Step::LooseRemoved);
        }
        old.retain(|pack| pack.name != new.pack.name);
        for pack in &old {
            pack.remove(done)?;
        }
        Ok(Some(Packed { objects: new.objects.len(), bytes: new.bytes, packs: old.len() }))
    }
}

/// A pack that was written, but not moved to its final folder yet.
struct NewPack {
    pack: Pack,
    objects: HashSet<Oid>,
    bytes: u64,
}

/// A folder in the repository for one pass. It is removed when this is dropped, or by the next recovery.
struct Aside(PathBuf);

impl Aside {
    fn new(repo: &Repository) -> Result<Self, WorkspaceError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = Self(repo.path().join(format!("{ASIDE}{}-{number}", std::process::id())));
        fs::create_dir_all(aside.new_packs())?;
        Ok(aside)
    }

    fn new_packs(&self) -> PathBuf {
        self.0.join("new/pack")
    }

    /// A view of the objects in these packs only.
    fn view(&self, name: &str, packs: &[Pack]) -> Result<Odb<'static>, WorkspaceError> {
        let folder = self.0.join(name);
        fs::create_dir_all(folder.join("pack"))?;
        for pack in packs {
            for extension in ["pack", "idx"] {
                let file = pack.file(extension);
                symlink(&file, folder.join("pack").join(file.file_name().unwrap_or_default()))?;
            }
        }
        view_of(&folder)
    }

    /// Writes a pack of these objects. The names help to find similar objects.
    fn pack(
        &self,
        repo: &Repository,
        named: &[(Oid, String)],
        unnamed: impl Iterator<Item = Oid>,
        budget: &Budget,
    ) -> Result<NewPack, WorkspaceError> {
        let mut builder = repo.packbuilder()?;
        builder.set_threads(1);
        for (id, name) in named {
            budget.check()?;
            builder.insert_object(*id, Some(name))?;
        }
        for id in unnamed {
            budget.check()?;
            builder.insert_object(id, None)?;
        }
        let running = budget.clone();
        builder.set_progress_callback(move |_, _, _| !running.is_spent())?;
        let written = builder.write(&self.new_packs(), 0o444);
        budget.check()?;
        written?;

        let mut files = files_in(&self.new_packs())?;
        files.retain(|file| file.extension() == Some(OsStr::new("idx")));
        let [index] = files.as_slice() else { return Err(git2::Error::from_str("no pack was written").into()) };
        let pack = Pack::of(index);
        sync(&pack.file("pack"))?;
        sync(&pack.file("idx"))?;
        let bytes = fs::metadata(pack.file("pack"))?.len();
        // From the index, which was created from the content of the pack.
        let objects = all_of(&view_of(&self.0.join("new"))?)?;
        Ok(NewPack { pack, objects, bytes })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The smallest of these packs that together have at most `objects_max` objects.
fn smallest(packs: Vec<Pack>, objects_max: u64) -> Result<Vec<Pack>, WorkspaceError> {
    let mut counted =
        packs.into_iter().map(|pack| Ok((pack.object_count()?, pack))).collect::<Result<Vec<_>, WorkspaceError>>()?;
    counted.sort_by_key(|(count, _)| *count);
    let mut left = objects_max;
    let mut few = Vec::new();
    for (count, pack) in counted {
        let Some(rest) = left.checked_sub(count) else { break };
        left = rest;
        few.push(pack);
    }
    Ok(few)
}

/// A view of the objects below a folder.
fn view_of(folder: &Path) -> Result<Odb<'static>, WorkspaceError> {
    let odb = Odb::new()?;
    let folder = folder.to_str().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    odb.add_disk_alternate(folder)?;
    Ok(odb)
}

fn all_of(odb: &Odb<'_>) -> Result<HashSet<Oid>, WorkspaceError> {
    let mut all = HashSet::new();
    odb.foreach(|id| {
        all.insert(*id);
        true
    })?;
    Ok(all)
}

/// The objects of `wanted` that a branch or a tag reaches, with the names of files and folders, starting with the
/// newest commits. Removes them from `wanted`, and stops when it is empty.
fn reached(
    repo: &Repository,
    wanted: &mut HashSet<Oid>,
    budget: &Budget,
) -> Result<Vec<(Oid, String)>, WorkspaceError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut walk = repo.revwalk()?;
    walk.push(repo::head(repo)?.id())?;
    walk.push_glob("refs/*")?;
    for commit in walk {
        if wanted.is_empty() {
            break;
        }
        let commit = repo.find_commit(commit?)?;
        found.extend(wanted.take(&commit.id()).map(|id| (id, String::new())));
        let mut trees = vec![(commit.tree_id(), String::new())];
        while let Some((tree, name)) = trees.pop() {
            if !seen.insert(tree) {
                continue;
            }
            budget.check()?;
            if seen.len() > LOOKED_AT_MAX {
                return Err(WorkspaceError::Stopped);
            }
            found.extend(wanted.take(&tree).map(|id| (id, name)));
            for entry in &repo.find_tree(tree)? {
                let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
                match entry.kind() {
                    Some(ObjectType::Tree) => trees.push((entry.id(), name)),
                    Some(ObjectType::Blob) => found.extend(wanted.take(&entry.id()).map(|id| (id, name))),
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
