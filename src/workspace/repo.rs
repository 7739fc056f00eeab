//! Opens and creates the git repository of a workspace.
//!
//! The repository is always opened as a bare one: libgit2 then never reads or writes the work tree, so that filters,
//! attributes or symbolic links of an app have no effect on commits. Only Slipway's own configuration is used: not that
//! of the machine, its user, or the repository.

use std::fs;
use std::path::Path;

use git2::{Commit, Config, ConfigLevel, Index, Oid, Repository, RepositoryInitOptions, Signature, Time, Tree};

use super::WorkspaceError;
use crate::domain::VersionId;

/// The branch of every workspace.
pub(super) const BRANCH: &str = "main";
/// The folder of the repository inside the work tree.
pub(super) const GIT_DIR: &str = ".git";

/// The name of the file, beside the workspaces, that contains [`SETTINGS`].
pub(super) const SETTINGS_FILE: &str = ".git-settings";

/// The git configuration of every workspace, which replaces any other. Objects are synced to the disk before a
/// reference names them, so that a power failure cannot leave a version without its content. There are no reflogs,
/// since they would only repeat the history. Packing uses at most 16 MiB for comparisons, and as much for their
/// results; libgit2's own defaults are 256 MiB and no limit.
pub(super) const SETTINGS: &str = "[core]\n\
\tautocrlf = false\n\
\tfileMode = false\n\
\tlogAllRefUpdates = false\n\
\tfsyncObjectFiles = true\n\
\tattributesFile = /dev/null\n\
[pack]\n\
\twindowMemory = 16m\n\
\tdeltaCacheSize = 16m\n";

/// The configuration of a workspace's repository, for users who run git in it.
const CONFIG: &str = "[core]\n\
\trepositoryformatversion = 0\n\
\tbare = false\n\
\tfileMode = false\n\
\tautocrlf = false\n\
\tlogAllRefUpdates = false\n";

/// Creates an empty repository in the existing folder `root`.
pub(super) fn init(root: &Path, settings: &Path) -> Result<Repository, WorkspaceError> {
    let mut options = RepositoryInitOptions::new();
    options.no_reinit(true).mkdir(false).mkpath(false).external_template(false).initial_head(BRANCH);
    drop(Repository::init_opts(root, &options)?);
    fs::write(root.join(GIT_DIR).join("config"), CONFIG)?;
    open(root, settings)
}

/// Opens the repository in the folder `root` with the configuration in the file `settings`.
pub(super) fn open(root: &Path, settings: &Path) -> Result<Repository, WorkspaceError> {
    // A bare repository also skips the check of the folder's owner, which would prevent access after the data was moved
    // to another user or volume.
    let repo = Repository::open_bare(root.join(GIT_DIR))?;
    let mut config = Config::new()?;
    config.add_file(settings, ConfigLevel::Local, false)?;
    repo.set_config(&config)?;
    Ok(repo)
}

/// The newest commit of the branch.
pub(super) fn head(repo: &Repository) -> Result<Commit<'_>, WorkspaceError> {
    Ok(repo.head()?.peel_to_commit()?)
}

/// The commit of a version.
pub(super) fn commit_of<'r>(repo: &'r Repository, version: &VersionId) -> Result<Commit<'r>, WorkspaceError> {
    repo.find_commit(Oid::from_str(version.as_str())?).map_err(|error| match error.code() {
        git2::ErrorCode::NotFound => WorkspaceError::UnknownVersion(version.clone()),
        _ => error.into(),
    })
}

/// A commit's id as a version.
pub(super) fn version_of(id: Oid) -> VersionId {
    id.to_string().parse().expect("libgit2 writes an id as 40 hexadecimal digits")
}

/// The index on disk with exactly the entries of `tree`. Its data about unchanged files is kept.
pub(super) fn index_at(repo: &Repository, tree: &Tree<'_>) -> Result<Index, WorkspaceError> {
    let mut index = if let Ok(index) = repo.index() {
        index
    } else {
        // The index is only a cache, so a damaged one is removed.
        fs::remove_file(repo.path().join("index"))?;
        repo.index()?
    };
    index.read_tree(tree)?;
    Ok(index)
}

/// Writes a commit on top of `parent` and moves the branch to it.
pub(super) fn commit(
    repo: &Repository,
    parent: Option<&Commit<'_>>,
    tree: Oid,
    message: &str,
    at: jiff::Timestamp,
) -> Result<Oid, WorkspaceError> {
    let author = Signature::new("Slipway", "slipway@localhost", &Time::new(at.as_second(), 0))?;
    let tree = repo.find_tree(tree)?;
    let parents: Vec<&Commit<'_>> = parent.into_iter().collect();
    Ok(repo.commit(Some("HEAD"), &author, &author, message, &tree, &parents)?)
}
