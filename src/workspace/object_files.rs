//! The files that contain a repository's objects: one for each loose object, and packs with their indexes. The order of
//! writing, moving and removing them is such that a process may die after any step.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use git2::{Odb, Oid, Repository};

use super::WorkspaceError;
use crate::bounded_work::Budget;

/// Position of the number of objects in a pack's index: the last entry of the table by the first byte of object names,
/// which follows the signature and the version.
const OBJECT_COUNT_AT: u64 = 8 + 255 * 4;

/// A completed step of a change. A process may die after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    CopyRemoved,
    Prepared,
    PackPlaced,
    IndexPlaced,
    LooseRemoved,
    OldIndexRemoved,
    OldPackRemoved,
}

/// Removes packs without an index: a process died before it placed the index, or after it removed it.
pub(super) fn remove_unfinished_packs(repo: &Repository) -> Result<(), WorkspaceError> {
    let folder = repo.path().join("objects/pack");
    for pack in files_in(&folder)?.into_iter().filter(|file| file.extension() == Some(OsStr::new("pack"))) {
        if !pack.with_extension("idx").exists() {
            remove(&pack)?;
        }
    }
    Ok(())
}

/// The folder of a repository's objects.
pub(super) struct Objects(pub(super) PathBuf);

impl Objects {
    fn pack_folder(&self) -> PathBuf {
        self.0.join("pack")
    }

    pub(super) fn loose_path(&self, id: Oid) -> PathBuf {
        let name = id.to_string();
        self.0.join(&name[..2]).join(&name[2..])
    }

    /// Loose objects whose names start with these two digits.
    pub(super) fn loose_in(&self, digits: &str) -> Result<Vec<Oid>, WorkspaceError> {
        let names = files_in(&self.0.join(digits))?.into_iter().filter_map(|file| {
            let rest = file.file_name()?.to_str()?;
            (rest.len() == 38).then(|| Oid::from_str(&format!("{digits}{rest}")).ok())?
        });
        Ok(names.collect())
    }

    pub(super) fn loose(&self, budget: &Budget) -> Result<HashSet<Oid>, WorkspaceError> {
        let mut all = HashSet::new();
        for digits in 0..=u8::MAX {
            budget.check()?;
            all.extend(self.loose_in(&format!("{digits:02x}"))?);
        }
        Ok(all)
    }

    /// The packs that can be consolidated. Packs that git has to keep are skipped.
    pub(super) fn packs(&self) -> Result<Vec<Pack>, WorkspaceError> {
        let folder = self.pack_folder();
        // It lists packs by name, and would list removed ones.
        if folder.join("multi-pack-index").exists() {
            return Ok(Vec::new());
        }
        let mut packs = Vec::new();
        for index in files_in(&folder)?.into_iter().filter(|file| file.extension() == Some(OsStr::new("idx"))) {
            let has = |extension: &str| index.with_extension(extension).exists();
            if has("pack") && !["keep", "promisor", "mtimes"].into_iter().any(has) {
                packs.push(Pack::of(&index));
            }
        }
        Ok(packs)
    }

    /// Removes loose objects that are also in a pack, after an earlier pass was interrupted.
    pub(super) fn remove_copies(
        &self,
        loose: &mut HashSet<Oid>,
        packed: &Odb<'_>,
        budget: &Budget,
        done: &mut dyn FnMut(Step),
    ) -> Result<(), WorkspaceError> {
        let copies: Vec<Oid> = loose.iter().copied().filter(|id| packed.exists(*id)).collect();
        for id in copies {
            budget.check()?;
            remove(&self.loose_path(id))?;
            loose.remove(&id);
            done(Step::CopyRemoved);
        }
        Ok(())
    }

    /// Moves a new pack to its final folder. Readers look for indexes, so the index is moved last.
    pub(super) fn place(&self, new: &Pack, done: &mut dyn FnMut(Step)) -> Result<(), WorkspaceError> {
        let placed = Pack { name: new.name.clone(), folder: self.pack_folder() };
        // A pack of this name contains the same objects.
        if placed.file("idx").exists() && placed.file("pack").exists() {
            return Ok(());
        }
        fs::rename(new.file("pack"), placed.file("pack"))?;
        done(Step::PackPlaced);
        fs::rename(new.file("idx"), placed.file("idx"))?;
        sync(&placed.folder)?;
        done(Step::IndexPlaced);
        Ok(())
    }
}

/// A pack and its index.
#[derive(Debug, Clone)]
pub(super) struct Pack {
    /// The name of both files, without their extension.
    pub(super) name: String,
    folder: PathBuf,
}

impl Pack {
    pub(super) fn of(index: &Path) -> Self {
        let name = index.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, folder: index.parent().unwrap_or(index).to_path_buf() }
    }

    pub(super) fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.name))
    }

    /// The number of its objects, according to its index.
    pub(super) fn object_count(&self) -> Result<u64, WorkspaceError> {
        let (mut index, mut count) = (File::open(self.file("idx"))?, [0; 4]);
        index.seek(SeekFrom::Start(OBJECT_COUNT_AT))?;
        index.read_exact(&mut count)?;
        Ok(u32::from_be_bytes(count).into())
    }

    /// Removes the index first, because a pack without one is not used.
    pub(super) fn remove(&self, done: &mut dyn FnMut(Step)) -> Result<(), WorkspaceError> {
        remove(&self.file("idx"))?;
        done(Step::OldIndexRemoved);
        for extension in ["rev", "bitmap", "pack"] {
            remove(&self.file(extension))?;
        }
        done(Step::OldPackRemoved);
        Ok(())
    }
}

/// The files of a folder; empty if the folder does not exist.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, WorkspaceError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

pub(super) fn remove(file: &Path) -> Result<(), WorkspaceError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) fn sync(path: &Path) -> Result<(), WorkspaceError> {
    Ok(File::open(path)?.sync_all()?)
}
