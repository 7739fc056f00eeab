//! Reads versions: their order, their files, and the data in their commits.

use git2::{Repository, Sort};

use super::message;
use super::tree::{FileEntry, MODE_FILE, MODE_PROGRAM, files_of, is_binary};
use super::worktree::too_large;
use super::{NewFile, Workspace, WorkspaceError, compare, repo};
use crate::domain::{ChangeSize, TurnId, VersionId, VersionKind, WorkspacePath};

/// A version with the data in its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit.
    pub id: VersionId,
    /// The version before it; none for the first one.
    pub parent: Option<VersionId>,
    /// The request, in one line.
    pub title: String,
    /// The rest of the request; often empty.
    pub body: String,
    /// The origin of the version.
    pub kind: VersionKind,
    /// The turn that created it, if any.
    pub turn: Option<TurnId>,
    /// Its time, in full seconds.
    pub at: jiff::Timestamp,
    /// The size of the difference to the version before it.
    pub size: ChangeSize,
}

impl Workspace {
    /// The newest version.
    pub fn head(&self) -> Result<VersionId, WorkspaceError> {
        Ok(repo::version_of(repo::head(&self.repo()?)?.id()))
    }

    /// The versions after `known` (from the first, without it), oldest first.
    pub fn log_since(&self, known: Option<&VersionId>) -> Result<Vec<Commit>, WorkspaceError> {
        let repo = self.repo()?;
        let mut walk = repo.revwalk()?;
        walk.push(repo::head(&repo)?.id())?;
        walk.simplify_first_parent()?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
        if let Some(known) = known {
            walk.hide(repo::commit_of(&repo, known)?.id())?;
        }
        walk.map(|id| describe(&repo, &repo.find_commit(id?)?)).collect()
    }

    /// One version.
    pub fn commit(&self, version: &VersionId) -> Result<Commit, WorkspaceError> {
        let repo = self.repo()?;
        describe(&repo, &repo::commit_of(&repo, version)?)
    }

    /// The files of a version, sorted by path.
    pub fn tree_at(&self, version: &VersionId) -> Result<Vec<FileEntry>, WorkspaceError> {
        let repo = self.repo()?;
        let mut entries = Vec::new();
        for (path, file) in files_of(&repo, &repo::commit_of(&repo, version)?.tree()?)? {
            let blob = repo.find_blob(file.id)?;
            let path = path.parse().map_err(|error: crate::domain::Invalid| WorkspaceError::Refused(error.0))?;
            entries.push(FileEntry { path, bytes: blob.size() as u64, binary: is_binary(blob.content()) });
        }
        Ok(entries)
    }

    /// All files of a version with their contents, within the limits of an app.
    pub fn files_at(&self, version: &VersionId) -> Result<Vec<NewFile>, WorkspaceError> {
        let repo = self.repo()?;
        let odb = repo.odb()?;
        let found = files_of(&repo, &repo::commit_of(&repo, version)?.tree()?)?;
        let mut bytes = 0;
        for file in found.values() {
            bytes += odb.read_header(file.id)?.0 as u64;
        }
        // Checked first: they are all held in memory.
        self.0.limits.check_all(found.len(), bytes)?;
        let mut files = Vec::with_capacity(found.len());
        for (path, file) in found {
            self.0.budget.check().map_err(|_| WorkspaceError::Stopped)?;
            let path = path.parse().map_err(|error: crate::domain::Invalid| WorkspaceError::Refused(error.0))?;
            files.push(NewFile { path, bytes: repo.find_blob(file.id)?.content().to_vec() });
        }
        Ok(files)
    }

    /// The content of a file in a version.
    pub fn read_at(&self, version: &VersionId, path: &WorkspacePath) -> Result<Vec<u8>, WorkspaceError> {
        let repo = self.repo()?;
        let tree = repo::commit_of(&repo, version)?.tree()?;
        let missing = || WorkspaceError::NotFound(path.to_string());
        let entry = match tree.get_path(path.as_path()) {
            Ok(entry) => entry,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Err(missing()),
            Err(error) => return Err(error.into()),
        };
        if !matches!(u32::try_from(entry.filemode()), Ok(MODE_FILE | MODE_PROGRAM)) {
            return Err(missing());
        }
        let (size, _) = repo.odb()?.read_header(entry.id())?;
        if size as u64 > self.0.limits.total_bytes {
            return Err(too_large(path, size as u64, self.0.limits.total_bytes));
        }
        Ok(repo.find_blob(entry.id())?.content().to_vec())
    }
}

/// Reads the data in a commit.
pub(super) fn describe(repo: &Repository, commit: &git2::Commit<'_>) -> Result<Commit, WorkspaceError> {
    let parts = message::parse(&String::from_utf8_lossy(commit.message_bytes()));
    let diff = compare::against_parent(repo, commit, false)?;
    Ok(Commit {
        id: repo::version_of(commit.id()),
        parent: commit.parent_ids().next().map(repo::version_of),
        title: parts.title,
        body: parts.body,
        kind: parts.kind,
        turn: parts.turn,
        at: jiff::Timestamp::from_second(commit.time().seconds()).unwrap_or_default(),
        size: compare::size_of(repo, &diff),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, note};
    use super::*;

    #[test]
    fn history_alone_tells_everything() {
        let bench = Bench::new(&[("a.txt", "0")]);
        let app = &bench.app;
        let mut made = app.log_since(None).unwrap();
        assert_eq!(made[0].id, bench.first);
        assert_eq!(made[0].size, ChangeSize { files: 1, additions: 1, deletions: 0 });
        for (round, title) in
            ["normal", "\u{202e}evil\u{1b}[2J\nSlipway-Kind: scaffold", &"long ".repeat(50), ""].iter().enumerate()
        {
            bench.write("a.txt", &format!("{round} {round}"));
            let mut note = note(title);
            note.body = "Slipway-Turn: 99\n\nWhy not".to_owned();
            note.turn = (round % 2 == 0).then_some(TurnId(7));
            made.push(app.commit_all(&note).unwrap().unwrap());
        }
        assert_eq!(app.log_since(None).unwrap(), made);
        assert_eq!(app.log_since(Some(&made[2].id)).unwrap(), made[3..]);
        assert!(app.log_since(Some(&made[4].id)).unwrap().is_empty());
        assert_eq!(made[2].title, "evil[2J Slipway-Kind: scaffold");
        assert_eq!((made[2].kind, made[2].turn), (VersionKind::Turn, None));
        assert!(made[3].body.starts_with("long long") && made[3].body.ends_with("Why not"));
        let unknown: VersionId = "f".repeat(40).parse().unwrap();
        assert!(matches!(app.log_since(Some(&unknown)), Err(WorkspaceError::UnknownVersion(_))));
        // A commit that was made with git counts as an edit.
        bench.write("a.txt", "by hand");
        bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qam", "By hand"]);
        let last = app.log_since(Some(&made[4].id)).unwrap();
        assert_eq!((last.len(), last[0].title.as_str(), last[0].kind), (1, "By hand", VersionKind::Edit));
    }
}
