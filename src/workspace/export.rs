//! Exports an app: its repository with all its history, and its files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{Index, Repository, Tree};

use super::archive::Stream;
use super::{NewFile, Workspace, WorkspaceError, repo};
use crate::domain::WorkspacePath;

/// Prefix of the folders in the repository in which exports are prepared.
pub(super) const ASIDE: &str = "slipway-export-";

/// The configuration of an exported repository.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n";

impl Workspace {
    /// Writes a tar stream with a git repository that contains every version, and the newest version's files, all below
    /// the folder `prefix`. `extra` replaces files or is added, without being committed. The stream contains nothing
    /// that was never part of a version.
    pub fn export(&self, writer: impl Write, prefix: &str, extra: &[NewFile]) -> Result<(), WorkspaceError> {
        prefix.parse::<WorkspacePath>().map_err(|error| WorkspaceError::Refused(error.0))?;
        let repo = self.repo()?;
        let head = repo::head(&repo)?;
        let content = self.content(&repo, &head, extra)?;
        let aside = Aside::new(&repo)?;
        aside.pack(&repo, head.id())?;
        aside.index(&head.tree()?)?;

        let mut tar = Stream::new(writer, head.time().seconds());
        let git = format!("{prefix}/{}/", repo::GIT_DIR);
        tar.folder(&format!("{prefix}/"))?;
        for folder in ["", "objects/", "objects/info/", "objects/pack/", "refs/", "refs/heads/", "refs/tags/"] {
            tar.folder(&format!("{git}{folder}"))?;
        }
        tar.file(&format!("{git}HEAD"), format!("ref: refs/heads/{}\n", repo::BRANCH).as_bytes(), 0o644)?;
        tar.file(&format!("{git}config"), CONFIG.as_bytes(), 0o644)?;
        tar.file(&format!("{git}refs/heads/{}", repo::BRANCH), format!("{}\n", head.id()).as_bytes(), 0o644)?;
        for file in aside.packs()? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            tar.file(&format!("{git}objects/pack/{name}"), &fs::read(&file)?, 0o444)?;
        }
        tar.file(&format!("{git}index"), &fs::read(aside.0.join("index"))?, 0o644)?;
        tar.files(&format!("{prefix}/"), &content)?;
        Ok(tar.finish()?.flush()?)
    }
}

/// A folder in the repository for one export. It is removed when this is dropped.
struct Aside(PathBuf);

impl Aside {
    fn new(repo: &Repository) -> Result<Self, WorkspaceError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = Self(repo.path().join(format!("{ASIDE}{}-{number}", std::process::id())));
        fs::create_dir_all(aside.pack_folder())?;
        Ok(aside)
    }

    fn pack_folder(&self) -> PathBuf {
        self.0.join("pack")
    }

    /// Writes all objects that the commit reaches as one pack. Objects that are in no version are left out.
    fn pack(&self, repo: &Repository, head: git2::Oid) -> Result<(), WorkspaceError> {
        let mut walk = repo.revwalk()?;
        walk.push(head)?;
        let mut builder = repo.packbuilder()?;
        builder.insert_walk(&mut walk)?;
        Ok(builder.write(&self.pack_folder(), 0o444)?)
    }

    /// Writes an index with the content of `tree`, so that the exported work tree is clean.
    fn index(&self, tree: &Tree<'_>) -> Result<(), WorkspaceError> {
        let mut index = Index::open(&self.0.join("index"))?;
        index.read_tree(tree)?;
        Ok(index.write()?)
    }

    fn packs(&self) -> Result<Vec<PathBuf>, WorkspaceError> {
        let mut files = fs::read_dir(self.pack_folder())?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| matches!(file.extension().and_then(|end| end.to_str()), Some("pack" | "idx")));
        files.sort();
        Ok(files)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // The next recovery removes it if it cannot be removed now.
        drop(fs::remove_dir_all(Path::new(&self.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, new_file, note, path};
    use super::*;

    #[test]
    fn an_export_is_a_repository_with_all_its_history() {
        let bench = Bench::new(&[("a.txt", "1\n"), ("b/c.txt", "c\n")]);
        let app = &bench.app;
        for round in 2..20 {
            bench.write("a.txt", &format!("{round}\n"));
            app.commit_all(&note(&format!("Round {round}"))).unwrap().unwrap();
        }
        // Uncommitted files and unreachable objects are not exported.
        bench.write("dirty.txt", "secret");
        app.repo().unwrap().blob(b"forgotten secret").unwrap();
        fs::write(app.root().join(".git/hooks.txt"), "ours").unwrap();

        let mut tar = Vec::new();
        app.export(&mut tar, "brisk-otter", &[new_file("k8s/app.yaml", "kind: X\n")]).unwrap();
        let there = bench.folder.path().join("there");
        tar::Archive::new(tar.as_slice()).unpack(&there).unwrap();
        let out = there.join("brisk-otter");
        bench.git(&out, &["fsck", "--strict", "--full"]);
        assert_eq!(bench.git(&out, &["status", "--porcelain"]), "?? k8s/\n");
        assert_eq!(bench.git(&out, &["log", "--format=%H %s%n%b"]), bench.app_git(&["log", "--format=%H %s%n%b"]));
        assert_eq!(bench.git(&out, &["log", "--format=%s"]).lines().count(), 19);
        assert_eq!(fs::read(out.join("a.txt")).unwrap(), b"19\n");
        assert_eq!(bench.git(&out, &["count-objects", "-v"]).lines().next(), Some("count: 0"));
        let forgotten = git2::Oid::hash_object(git2::ObjectType::Blob, b"forgotten secret").unwrap();
        assert!(git2::Repository::open_bare(out.join(".git")).unwrap().find_blob(forgotten).is_err());
        assert!(!out.join("dirty.txt").exists() && !out.join(".git/hooks.txt").exists());
        bench.git(&there, &["clone", "-q", "brisk-otter", "clone"]);
        assert_eq!(fs::read(there.join("clone/b/c.txt")).unwrap(), b"c\n");

        let left = fs::read_dir(app.root().join(".git")).unwrap();
        assert!(left.map(|entry| entry.unwrap().file_name()).all(|name| !name.to_string_lossy().starts_with(ASIDE)));
        assert_eq!(app.read(&path("dirty.txt")).unwrap(), b"secret");
        bench.check();
    }

    #[test]
    fn a_bad_prefix_is_refused_and_a_broken_writer_said() {
        let bench = Bench::new(&[("a.txt", "a")]);
        for bad in ["", "..", "/x", "a/../b"] {
            assert!(matches!(bench.app.export(Vec::new(), bad, &[]), Err(WorkspaceError::Refused(_))), "{bad}");
        }
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(matches!(bench.app.export(full, "x", &[]), Err(WorkspaceError::DiskFull)));
    }
}
