//! The repository's index as a cache, which shows that files of the work tree are unchanged without reading them.

use std::fs;

use git2::{Index, IndexEntry, IndexTime, Oid, Repository};

use super::tree::TreeFile;
use super::worktree::{Found, Stat};
use crate::domain::WorkspacePath;

/// The content of the index on disk.
pub(super) struct Known {
    index: Option<Index>,
    written: (i64, i64),
}

impl Known {
    pub(super) fn of(repo: &Repository) -> Self {
        use std::os::unix::fs::MetadataExt;
        // An empty cache makes it slower, but never wrong.
        let written = fs::metadata(repo.path().join("index")).map_or((0, 0), |m| (m.mtime(), m.mtime_nsec()));
        Self { index: Index::open(&repo.path().join("index")).ok(), written }
    }

    /// The id of a file's content, if the file is certainly unchanged since it was committed last.
    pub(super) fn id_of(&self, found: &Found) -> Option<Oid> {
        // A file that changed at the time when the index was written may have changed again after it.
        if found.stat.modified >= self.written {
            return None;
        }
        let entry = self.index.as_ref()?.get_path(found.path.as_path(), 0)?;
        let same = index_entry(&found.path, found.stat, TreeFile { id: entry.id, mode: entry.mode });
        let alike = entry.mtime == same.mtime
            && entry.ctime == same.ctime
            && (entry.dev, entry.ino, entry.file_size) == (same.dev, same.ino, same.file_size);
        alike.then_some(entry.id)
    }
}

/// Creates an index entry. Like git, the index keeps the lower 32 bits of each number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the index's format keeps 32 bits of each")]
pub(super) fn index_entry(path: &WorkspacePath, stat: Stat, file: TreeFile) -> IndexEntry {
    let time = |(seconds, nanoseconds): (i64, i64)| IndexTime::new(seconds as i32, nanoseconds as u32);
    IndexEntry {
        ctime: time(stat.changed),
        mtime: time(stat.modified),
        dev: stat.device as u32,
        ino: stat.inode as u32,
        mode: file.mode,
        uid: 0,
        gid: 0,
        file_size: stat.bytes as u32,
        id: file.id,
        flags: 0,
        flags_extended: 0,
        path: path.as_str().as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use git2::ObjectType;

    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn a_file_as_young_as_the_index_is_read_again() {
        let bench = Bench::new(&[("a.txt", "0000")]);
        let app = &bench.app;
        let repo = app.repo().unwrap();
        let index = fs::File::open(repo.path().join("index")).unwrap();
        let age = fs::metadata(app.root().join("a.txt")).unwrap().modified().unwrap();
        let found = app.found(&app.tree().unwrap()).unwrap().remove(0);
        let second = std::time::Duration::from_secs(1);
        index.set_modified(age + second).unwrap();
        let id = Oid::hash_object(ObjectType::Blob, b"0000").unwrap();
        assert_eq!(Known::of(&repo).id_of(&found), Some(id));
        for moment in [age, age - second] {
            index.set_modified(moment).unwrap();
            assert_eq!(Known::of(&repo).id_of(&found), None);
        }
        index.set_modified(age + second).unwrap();
        for change in [
            (|stat: &mut Stat| stat.bytes += 1) as fn(&mut Stat),
            |stat| stat.inode += 1,
            |stat| stat.changed.1 += 1,
            |stat| stat.modified.0 -= 1,
        ] {
            let mut other = Found { path: found.path.clone(), stat: found.stat };
            change(&mut other.stat);
            assert_eq!(Known::of(&repo).id_of(&other), None);
        }
    }
}
