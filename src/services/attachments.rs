//! Attachments of messages: check, store, read.

use super::Services;
use crate::domain::attachment::{file_name, recognise};
use crate::domain::{App, Attachment, AttachmentId, AttachmentKind, Turn};
use crate::error::{AppError, AppResult, ErrorKind};

/// Maximum number of files of one message.
pub const FILES_MAX: usize = 8;
/// Maximum bytes of all files of one message.
pub const BYTES_MAX: usize = 16_000_000;
/// Maximum bytes of all texts of one message: each request sends them whole.
pub const TEXTS_MAX: usize = 384 * 1024;

/// An uploaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttachment {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Rejects files that cannot be attached, with an error that names the file.
pub fn check(files: &[NewAttachment]) -> AppResult<()> {
    if files.len() > FILES_MAX {
        return Err(AppError::invalid(format!("A message can have at most {FILES_MAX} files.")));
    }
    let total: usize = files.iter().map(|file| file.bytes.len()).sum();
    if total > BYTES_MAX {
        let detail = format!("The files of a message can have at most {} MB together.", BYTES_MAX / 1_000_000);
        return Err(AppError::new(ErrorKind::TooLarge, "too_large", detail));
    }
    let mut texts = 0;
    for file in files {
        let (kind, _) = recognise(&file.bytes).map_err(|error| {
            AppError::invalid(format!("“{}” cannot be attached. {}", file_name(&file.name), error.0))
        })?;
        if !kind.is_image() {
            texts += file.bytes.len();
        }
    }
    if texts > TEXTS_MAX {
        let detail = format!("The text files of a message can have at most {} KiB together.", TEXTS_MAX / 1024);
        return Err(AppError::new(ErrorKind::TooLarge, "too_large", detail));
    }
    Ok(())
}

impl Services {
    /// Stores checked files for a new turn.
    pub(super) async fn keep_attachments(&self, app: &App, files: Vec<NewAttachment>) -> AppResult<Vec<Attachment>> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let (uploads, app) = (self.platform.uploads.clone(), app.id);
        let kept = tokio::task::spawn_blocking(move || {
            let keep = |file: NewAttachment| {
                let (kind, size) = recognise(&file.bytes).map_err(std::io::Error::other)?;
                let id = uploads.keep(app, &file.bytes)?;
                Ok(Attachment { id, name: file_name(&file.name), kind, bytes: file.bytes.len() as u64, size })
            };
            files.into_iter().map(keep).collect::<std::io::Result<Vec<_>>>()
        });
        let kept = kept.await.map_err(|error| AppError::internal(&error))?;
        kept.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => AppError::disk_full(),
            _ => AppError::internal(&error),
        })
    }

    /// The attachments of an earlier turn of the app, to send them again.
    pub(super) async fn attachments_again(&self, app: &App, turn: &Turn) -> AppResult<Vec<Attachment>> {
        let (uploads, id, attachments) = (self.platform.uploads.clone(), app.id, turn.attachments.clone());
        let there = tokio::task::spawn_blocking(move || {
            let is_there = |file: &Attachment| uploads.read(id, &file.id).is_ok_and(|bytes| bytes.is_some());
            attachments.into_iter().filter(is_there).collect()
        });
        there.await.map_err(|error| AppError::internal(&error))
    }

    /// The bytes of an attachment of the app.
    pub async fn attachment(&self, app: &App, id: &AttachmentId) -> AppResult<(AttachmentKind, Vec<u8>)> {
        let (uploads, app, id) = (self.platform.uploads.clone(), app.id, id.clone());
        let read = tokio::task::spawn_blocking(move || uploads.read(app, &id)).await;
        let bytes = read.map_err(|error| AppError::internal(&error))?.map_err(|error| AppError::internal(&error))?;
        let bytes = bytes.ok_or_else(|| AppError::not_found("such file of this app"))?;
        let (kind, _) = recognise(&bytes)?;
        Ok((kind, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_invalid_file() {
        let file = |name: &str, bytes: &[u8]| NewAttachment { name: name.into(), bytes: bytes.to_vec() };
        assert!(check(&[file("a.txt", b"x"), file("b.gif", b"GIF89a\x01\0\x01\0")]).is_ok());
        let error = check(&[file("a.txt", b"x"), file("b.pdf", b"%PDF\xff")]).expect_err("no PDF");
        assert!(error.detail.starts_with("“b.pdf” cannot be attached. It is neither an image"), "{}", error.detail);
        let error = check(&vec![file("a", b"x"); FILES_MAX + 1]).expect_err("too many");
        assert!(error.detail.contains("at most 8 files"));
        let error = check(&vec![file("a", &vec![0; BYTES_MAX / 4]); 5]).expect_err("too much");
        assert_eq!(error.kind, ErrorKind::TooLarge);
        let texts = |each: usize| vec![file("a", &vec![b'x'; each]); 2];
        assert!(check(&texts(TEXTS_MAX / 2)).is_ok());
        let error = check(&texts(TEXTS_MAX / 2 + 1)).expect_err("too much to read");
        assert!(error.detail.contains("384 KiB together"), "{}", error.detail);
    }
}
