//! The builder's own record of built versions. Tags and labels are not trusted: builds and other users of the
//! engine can put both on any image. The id of an image is the hash of its content.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::{AppId, VersionId};

/// Builds and the ids of their images; stored in a file, if one is configured.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    file: Option<PathBuf>,
    entries: Arc<Mutex<Entries>>,
}

/// By app, then by version.
type Entries = BTreeMap<i64, BTreeMap<String, Entry>>;

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The image's id in the engine.
    pub(super) image: String,
    /// The id of its base image.
    pub(super) base: String,
}

impl Ledger {
    /// Reads the file; a missing file is empty.
    ///
    /// # Errors
    /// If the file exists and cannot be read. It may be deleted: its versions are then built again.
    pub fn open(file: &Path) -> io::Result<Self> {
        let entries = match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Entries::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file: Some(file.to_owned()), entries: Arc::new(Mutex::new(entries)) })
    }

    pub(super) fn find(&self, app: AppId, version: &VersionId) -> Option<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&app.0)?.get(version.as_str()).cloned()
    }

    pub(super) fn record(&self, app: AppId, version: &VersionId, entry: Entry) {
        self.change(|entries| {
            entries.entry(app.0).or_default().insert(version.as_str().to_owned(), entry);
        });
    }

    /// Removes builds of an app whose images were removed.
    pub(super) fn forget(&self, app: AppId, is_gone: impl Fn(&str) -> bool) {
        self.change(|entries| {
            let builds = entries.entry(app.0).or_default();
            builds.retain(|_, entry| !is_gone(&entry.image));
            if builds.is_empty() {
                entries.remove(&app.0);
            }
        });
    }

    /// Changes the entries and rewrites the file. If the write fails, some versions are built again after
    /// the next start.
    fn change(&self, change: impl FnOnce(&mut Entries)) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entries);
        let Some(file) = &self.file else { return };
        let fresh = file.with_extension("new");
        let written = serde_json::to_vec(&*entries).map_err(io::Error::from);
        let written =
            written.and_then(|bytes| std::fs::write(&fresh, bytes)).and_then(|()| std::fs::rename(&fresh, file));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "failed to write the list of built images");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_survive_a_restart_and_are_removed_with_their_images() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("images.json");
        let version: VersionId = "a".repeat(40).parse().expect("a version");
        let entry = Entry { image: "sha256:1".to_owned(), base: "sha256:0".to_owned() };
        let ledger = Ledger::open(&file).expect("none yet");
        assert_eq!(ledger.find(AppId(1), &version), None);
        ledger.record(AppId(1), &version, entry.clone());
        let again = Ledger::open(&file).expect("it was written");
        assert_eq!(again.find(AppId(1), &version), Some(entry));
        assert_eq!(again.find(AppId(2), &version), None);
        again.forget(AppId(1), |image| image == "sha256:1");
        assert_eq!(Ledger::open(&file).expect("it was written").find(AppId(1), &version), None);
        std::fs::write(&file, "no JSON").expect("a file");
        assert!(Ledger::open(&file).is_err());
    }
}
