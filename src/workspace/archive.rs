//! A version as a tar stream, from which an image is built.

use std::collections::BTreeMap;
use std::io::Write;

use git2::Repository;
use tar::{Builder, EntryType, Header};

use super::tree::files_of;
use super::{NewFile, Workspace, WorkspaceError, nested, repo};
use crate::domain::VersionId;

/// Files by path, with their modes.
type Content = BTreeMap<String, (Vec<u8>, u32)>;

impl Workspace {
    /// The files of a version as an uncompressed tar stream, never those of the work tree. `extra` replaces files at
    /// its paths, or is added. The same version and `extra` give the same bytes: entries are sorted, belong to user 0,
    /// and have the time of the version. The stream has no links, and does not contain the repository.
    pub fn archive(&self, version: &VersionId, extra: &[NewFile]) -> Result<Vec<u8>, WorkspaceError> {
        let repo = self.repo()?;
        let commit = repo::commit_of(&repo, version)?;
        let files = self.content(&repo, &commit, extra)?;
        let size = files.values().map(|(bytes, _)| bytes.len() + 1024).sum::<usize>() + 4096;
        let mut tar = Stream::new(Vec::with_capacity(size), commit.time().seconds());
        tar.files("", &files)?;
        tar.finish()
    }

    /// The current files of the work tree, in the form of [`Self::archive`].
    pub fn archive_work(&self, extra: &[NewFile]) -> Result<Vec<u8>, WorkspaceError> {
        let mut content = Content::new();
        let mut total = 0;
        for entry in self.list()? {
            if extra.iter().any(|extra| in_the_way(entry.path.as_str(), extra.path.as_str())) {
                continue;
            }
            total += entry.bytes;
            self.0.limits.check_all(content.len() + 1, total)?;
            content.insert(entry.path.as_str().to_owned(), (self.read(&entry.path)?, 0o644));
        }
        for file in extra {
            content.insert(file.path.as_str().to_owned(), (file.bytes.clone(), 0o644));
        }
        let mut tar = Stream::new(Vec::new(), 0);
        tar.files("", &content)?;
        tar.finish()
    }

    /// The files of a commit, with `extra` replacing those at its paths. If git would treat a folder as a repository,
    /// the folder's `HEAD` is left out: exports and builds never contain a nested repository.
    pub(super) fn content(
        &self,
        repo: &Repository,
        commit: &git2::Commit<'_>,
        extra: &[NewFile],
    ) -> Result<Content, WorkspaceError> {
        let mut content = Content::new();
        let mut total = 0;
        let files = files_of(repo, &commit.tree()?)?;
        let repositories = nested::repositories(files.keys().map(String::as_str));
        for (path, file) in files {
            if nested::makes_one(&path, &repositories) {
                continue;
            }
            if extra.iter().any(|extra| in_the_way(&path, extra.path.as_str())) {
                continue;
            }
            let (size, _) = repo.odb()?.read_header(file.id)?;
            total += size as u64;
            self.0.limits.check_all(content.len() + 1, total)?;
            content.insert(path, (repo.find_blob(file.id)?.content().to_vec(), file.mode & 0o777));
        }
        for file in extra {
            content.insert(file.path.as_str().to_owned(), (file.bytes.clone(), 0o644));
        }
        Ok(content)
    }
}

/// Whether a file at `path` conflicts with one at `extra`: both paths are the same, or one is a folder of the other.
fn in_the_way(path: &str, extra: &str) -> bool {
    let below = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    path == extra || below(path, extra) || below(extra, path)
}

/// A tar stream whose entries all have the same time and belong to user 0.
pub(super) struct Stream<W: Write> {
    tar: Builder<W>,
    seconds: u64,
}

impl<W: Write> Stream<W> {
    /// A stream into `writer`. The time of its entries is `seconds` after the Unix epoch.
    pub(super) fn new(writer: W, seconds: i64) -> Self {
        Self { tar: Builder::new(writer), seconds: u64::try_from(seconds).unwrap_or_default() }
    }

    /// Adds files below `prefix` (empty, or ending in `/`) with their folders.
    pub(super) fn files(&mut self, prefix: &str, files: &Content) -> Result<(), WorkspaceError> {
        let mut last_folder = "";
        for (path, (bytes, mode)) in files {
            for (at, _) in path.match_indices('/') {
                let folder = &path[..=at];
                // Paths are sorted, so all files of a folder are consecutive, and no folder is added twice.
                if !last_folder.starts_with(folder) {
                    self.folder(&format!("{prefix}{folder}"))?;
                    last_folder = folder;
                }
            }
            self.file(&format!("{prefix}{path}"), bytes, *mode)?;
        }
        Ok(())
    }

    /// Adds one file.
    pub(super) fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), WorkspaceError> {
        let mut header = self.header(EntryType::Regular, mode);
        header.set_size(bytes.len() as u64);
        Ok(self.tar.append_data(&mut header, path, bytes)?)
    }

    /// Adds one folder; its path ends in `/`.
    pub(super) fn folder(&mut self, path: &str) -> Result<(), WorkspaceError> {
        let mut header = self.header(EntryType::Directory, 0o755);
        header.set_size(0);
        Ok(self.tar.append_data(&mut header, path, std::io::empty())?)
    }

    /// Ends the stream.
    pub(super) fn finish(self) -> Result<W, WorkspaceError> {
        Ok(self.tar.into_inner()?)
    }

    fn header(&self, kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.seconds);
        header
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::testing::{Bench, new_file, note, path};

    /// Path, mode, time and content of every entry.
    fn entries(tar: &[u8]) -> Vec<(String, u32, u64, String)> {
        let mut archive = tar::Archive::new(tar);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let header = entry.header().clone();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                let name = entry.path().unwrap().to_str().unwrap().to_owned();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (name, header.mode().unwrap(), header.mtime().unwrap(), text)
            })
            .collect()
    }

    #[test]
    fn an_archive_is_the_version_and_not_the_work_tree() {
        let bench =
            Bench::new(&[("a.txt", "committed"), ("b/c/d.txt", "d"), ("b/c-e.txt", "e"), ("Dockerfile", "theirs")]);
        bench.write("a.txt", "dirty");
        bench.write("new.txt", "dirty");
        bench.app.delete(&path("b/c/d.txt")).unwrap();
        let extra = [new_file("Dockerfile", "ours"), new_file("b/nginx.conf", "conf")];
        let tar = bench.app.archive(&bench.first, &extra).unwrap();
        let at = 1_772_600_767;
        let file = |name: &str, text: &str| (name.to_owned(), 0o644, at, text.to_owned());
        let folder = |name: &str| (name.to_owned(), 0o755, at, String::new());
        assert_eq!(
            entries(&tar),
            [
                file("Dockerfile", "ours"),
                file("a.txt", "committed"),
                folder("b/"),
                file("b/c-e.txt", "e"),
                folder("b/c/"),
                file("b/c/d.txt", "d"),
                file("b/nginx.conf", "conf"),
            ]
        );
        assert_eq!(bench.app.archive(&bench.first, &extra).unwrap(), tar, "the same bytes every time");
    }

    #[test]
    fn long_paths_and_what_is_in_the_way() {
        let long = format!("{}/{}.txt", "folder".repeat(16), "é".repeat(60));
        let bench = Bench::new(&[(&long, "long"), ("a/b.txt", "b"), ("c", "c"), ("c-d", "kept")]);
        let commit = bench.app.commit_all(&note("x")).unwrap();
        assert_eq!(commit, None);
        let tar = bench.app.archive(&bench.first, &[new_file("a", "file"), new_file("c/d", "d")]).unwrap();
        let all = entries(&tar);
        let names: Vec<&str> = all.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["a", "c-d", "c/", "c/d", &long[..97], &long]);
    }

    #[test]
    fn programs_stay_programs() {
        let bench = Bench::new(&[("run.sh", "#!/bin/sh\n")]);
        bench.app_git(&["update-index", "--chmod=+x", "run.sh"]);
        bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "Run"]);
        bench.write("run.sh", "#!/bin/sh\necho\n");
        let commit = bench.app.commit_all(&note("x")).unwrap().unwrap();
        let all = entries(&bench.app.archive(&commit.id, &[]).unwrap());
        assert_eq!((all[0].0.as_str(), all[0].1), ("run.sh", 0o755));
    }
}
