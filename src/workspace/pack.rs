//! Packing: the many small files that hold a repository's objects become one, which takes less of the disk and of its
//! inodes.
//!
//! An object is deleted in one place only after it can be read durably in another, so a process that dies at any step
//! loses nothing, and the next pass goes on from there. Whoever reads meanwhile goes on as well: libgit2 looks for packs
//! again before it says that an object is not there. What no branch reaches stays as it is.

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

/// How the names of the folders begin, in the repository, where packs are prepared.
pub(super) const ASIDE: &str = "slipway-pack-";
/// The folder of loose objects whose files are counted: an object's name begins with any two digits equally often.
const SAMPLE: &str = "17";
/// Objects that are looked at in one pass: 100 MB of names.
const LOOKED_AT_MAX: usize = 1_000_000;

/// What has been packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Objects in the new pack.
    pub objects: usize,
    /// Its size in bytes.
    pub bytes: u64,
    /// Earlier packs that became part of it.
    pub packs: usize,
}

/// When packing is worth its time, and how much is packed at once.
#[derive(Debug, Clone, Copy)]
struct Thresholds {
    /// Loose objects in one of 256 folders.
    sample: usize,
    /// Loose objects that a branch reaches: fewer get no pack of their own.
    loose: usize,
    /// Packs that are not consolidated yet.
    packs: usize,
    /// Objects of the packs that are consolidated at once: libgit2 needs about 200 bytes of memory for each.
    consolidated: u64,
}

/// The numbers of packs and of loose objects are those of `git gc --auto`.
const THRESHOLDS: Thresholds = Thresholds { sample: 6_700 / 256 + 1, loose: 1_000, packs: 50, consolidated: 100_000 };

impl Workspace {
    /// Packs the repository if it has many loose objects or packs; `None` if nothing was packed. Whoever calls is the only
    /// one who changes the workspace meanwhile.
    ///
    /// # Errors
    /// [`WorkspaceError::Stopped`] when the time for it is up; what was done by then is of use to the next pass.
    pub fn pack(&self) -> Result<Option<Packed>, WorkspaceError> {
        self.pack_beyond(&THRESHOLDS, &mut |_| ())
    }

    /// `done` is called after each change, for tests of what a crash leaves.
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
        // What no branch reaches stays packed where it is packed, and loose where it is loose.
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

/// A pack that is written and not in its place yet.
struct NewPack {
    pack: Pack,
    objects: HashSet<Oid>,
    bytes: u64,
}

/// A folder in the repository for one pass; removed when it is dropped, or by the next recovery.
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

    /// The objects of these packs and no others.
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

    /// Writes a pack of these objects. The names help to find objects that are alike.
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
        // As the index says, which was made from what stands in the pack.
        let objects = all_of(&view_of(&self.0.join("new"))?)?;
        Ok(NewPack { pack, objects, bytes })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The packs of `folder`, as many of the smallest as have no more objects than that together.
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

/// The objects below a folder.
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

/// Those of the objects `wanted` that a branch or a tag reaches, with the names of files and folders, newest first as far
/// as commits go. Takes them out of `wanted`, and ends when none is left there.
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
