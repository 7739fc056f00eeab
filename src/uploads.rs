//! Files that came with messages: `uploads/<app>/<SHA-256>` in the data directory.
//!
//! Each app has a folder of its own, by its number, so that what is the app's goes with it. The same
//! bytes are kept once. Knows nothing of messages, of the database or of what the bytes mean.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::domain::{AppId, AttachmentId};

/// The folder of all of them. Cheap to clone; every call waits for the disk.
#[derive(Debug, Clone)]
pub struct Uploads(PathBuf);

impl Uploads {
    /// In this folder, which is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Keeps these bytes; says what they come to. Either all of them are there afterwards, or nothing new.
    pub fn keep(&self, app: AppId, bytes: &[u8]) -> io::Result<AttachmentId> {
        let id: AttachmentId = hex::encode(Sha256::digest(bytes)).parse().expect("64 hexadecimal digits");
        let folder = self.folder(app);
        let path = folder.join(id.as_str());
        if path.exists() {
            return Ok(id);
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        // A name of its own, so that two who bring the same do not write into each other's.
        let part = folder.join(format!("{id}.{:08x}.part", rand::random::<u32>()));
        let written = write(&part, bytes).and_then(|()| fs::rename(&part, &path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written.map(|()| id)
    }

    /// The bytes; none if they are not there.
    pub fn read(&self, app: AppId, id: &AttachmentId) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.folder(app).join(id.as_str())) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes all of an app's; none there is fine.
    pub fn remove(&self, app: AppId) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(app)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn folder(&self, app: AppId) -> PathBuf {
        self.0.join(app.0.to_string())
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_once_until_its_app_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::new(folder.path().join("uploads"));
        let (one, two) = (AppId(1), AppId(2));
        let id = uploads.keep(one, b"abc").expect("kept");
        assert_eq!(id.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(uploads.keep(one, b"abc").expect("kept again"), id);
        assert_eq!(fs::read_dir(folder.path().join("uploads/1")).expect("there").count(), 1);
        assert_eq!(uploads.read(one, &id).expect("read").as_deref(), Some(b"abc".as_slice()));
        assert_eq!(uploads.read(two, &id).expect("read"), None, "another app's are its own");
        uploads.keep(two, b"abc").expect("kept");
        uploads.remove(one).expect("removed");
        uploads.remove(one).expect("gone already");
        assert_eq!(uploads.read(one, &id).expect("read"), None);
        assert!(uploads.read(two, &id).expect("read").is_some());
    }
}
