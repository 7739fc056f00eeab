//! The data directory: created, private to its owner, and locked by one builder.
//!
//! It holds sessions, tokens, apps' secrets and what people wrote, so nobody else on the machine may read it. What
//! cannot be closed is refused with the command that helps. Knows nothing of what lies in it.

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::Mode;

/// Its owner alone: list, enter, change.
const PRIVATE: u32 = 0o700;

/// Who else may reach the file system that the data directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// Everybody with an account on this machine.
    Shared,
    /// The containers of our own pod. A cluster mounts a volume so that it belongs to root, and lets us in by its
    /// group (`fsGroup`): we may not change its mode, and need not.
    OfPod,
}

/// From now on files that this process makes are for its owner alone, unless it says otherwise.
pub fn only_owner_reads() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// Creates the data directory if necessary, makes it private, and locks it: no second builder works
/// on it for as long as the answer lives.
///
/// # Errors
/// A sentence that says what to do: it cannot be made, closed or written to, or belongs to another user.
pub fn take(folder: &Path, volume: Volume) -> anyhow::Result<File> {
    let shown = folder.display();
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(folder)
        .with_context(|| format!("cannot make the data directory {shown}"))?;
    close(folder, volume)?;
    let lock =
        File::create(folder.join("lock")).with_context(|| format!("cannot write to the data directory {shown}"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another Slipway is using the data directory {shown}: stop it, or choose another with --data-dir")
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {shown}")),
    }
}

/// Makes sure that only our user has access to the folder.
fn close(folder: &Path, volume: Volume) -> anyhow::Result<()> {
    if volume == Volume::OfPod {
        return Ok(());
    }
    let shown = folder.display();
    let found = folder.metadata().with_context(|| format!("cannot look at the data directory {shown}"))?;
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    if let Some(refusal) = refusal(folder, owner, us) {
        bail!(refusal);
    }
    let mode = found.mode() & 0o7777;
    if mode != PRIVATE {
        std::fs::set_permissions(folder, Permissions::from_mode(PRIVATE)).with_context(|| {
            format!("the data directory {shown} is open to others (mode {mode:04o}): run `chmod 0700 {shown}`")
        })?;
        tracing::warn!("the data directory {shown} was open to others (mode {mode:04o}); now its mode is 0700");
    }
    Ok(())
}

/// Its owner reads what we write there, whatever its mode.
fn refusal(folder: &Path, owner: u32, us: u32) -> Option<String> {
    let shown = folder.display();
    (owner != us).then(|| {
        format!(
            "the data directory {shown} belongs to user {owner}, and Slipway runs as user {us}: run \
             `chown -R {us} {shown}`, start Slipway as its owner, or choose another with --data-dir"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(folder: &Path) -> u32 {
        folder.metadata().expect("it is there").mode() & 0o7777
    }

    #[test]
    fn a_folder_that_was_there_is_closed_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = folder.path().join("open");
        DirBuilder::new().create(&open).expect("made");
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).expect("opened");
        let lock = take(&open, Volume::Shared).expect("taken");
        assert_eq!(mode(&open), PRIVATE);
        assert!(take(&open, Volume::Shared).expect_err("it is taken").to_string().contains("another Slipway"));
        drop(lock);

        let foreign = refusal(&open, 1000, 0).expect("another user's");
        assert!(foreign.contains("belongs to user 1000") && foreign.contains("chown -R 0 "), "{foreign}");
        assert_eq!(refusal(&open, 1000, 1000), None);

        let fresh = folder.path().join("a/b");
        take(&fresh, Volume::Shared).expect("made");
        assert_eq!(mode(&fresh), PRIVATE);

        let mounted = folder.path().join("mounted");
        DirBuilder::new().create(&mounted).expect("made");
        std::fs::set_permissions(&mounted, Permissions::from_mode(0o2775)).expect("opened");
        take(&mounted, Volume::OfPod).expect("taken");
        assert_eq!(mode(&mounted), 0o2775, "a cluster's volume stays as the cluster made it");
    }
}
