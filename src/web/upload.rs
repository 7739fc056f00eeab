//! A form with files, in both encodings that browsers use.

use axum::RequestExt;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::extract::Form;
use crate::error::{AppError, ErrorKind, UploadTimedOut};
use crate::services::attachments::{BYTES_MAX, FILES_MAX, NewAttachment};

/// Maximum size of such a form in bytes: the files, the text and the form's own syntax.
pub const FORM_MAX: usize = BYTES_MAX + 1024 * 1024;
/// Maximum size of a text field in bytes.
const FIELD_MAX: usize = 1024 * 1024;

/// The fields, and the files of the field `files`.
pub struct FormWithFiles<T> {
    /// The fields.
    pub fields: T,
    /// The files, in their order. An empty file field gives none.
    pub files: Vec<NewAttachment>,
}

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequest<S> for FormWithFiles<T> {
    type Rejection = AppError;
    async fn from_request(request: Request, state: &S) -> Result<Self, AppError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("multipart/form-data") {
            let Form(fields) = Form::from_request(request, state).await?;
            return Ok(Self { fields, files: Vec::new() });
        }
        let mut form: Multipart =
            request.extract().await.map_err(|_| AppError::bad_request("The form cannot be read."))?;
        let (mut fields, mut files) = (Map::new(), Vec::new());
        while let Some(field) = form.next_field().await.map_err(|error| refusal(&error, too_large()))? {
            let name = field.name().unwrap_or_default().to_owned();
            let file = field.file_name().map(str::to_owned);
            let bytes = field.bytes().await.map_err(|error| refusal(&error, too_large()))?;
            match file {
                Some(file) if name == "files" => {
                    if file.is_empty() && bytes.is_empty() {
                        continue;
                    }
                    if files.len() >= FILES_MAX {
                        return Err(AppError::invalid(format!("A message can have at most {FILES_MAX} files.")));
                    }
                    files.push(NewAttachment { name: file, bytes: bytes.into() });
                }
                _ => {
                    if bytes.len() > FIELD_MAX {
                        return Err(too_large());
                    }
                    let text = String::from_utf8(bytes.into())
                        .map_err(|_| AppError::bad_request("The form cannot be read: it is not in UTF-8."))?;
                    fields.insert(name, Value::String(text));
                }
            }
        }
        let fields = serde_json::from_value(Value::Object(fields))
            .map_err(|error| AppError::invalid(format!("The form cannot be read: {error}.")))?;
        Ok(Self { fields, files })
    }
}

fn too_large() -> AppError {
    let detail = format!("The files of a message can have at most {} MB together.", BYTES_MAX / 1_000_000);
    AppError::new(ErrorKind::TooLarge, "too_large", detail)
}

/// The error for a form that could not be read; `too_large` if it exceeds its limit.
pub(super) fn refusal(error: &MultipartError, too_large: AppError) -> AppError {
    if UploadTimedOut::is_cause_of(error) {
        return UploadTimedOut.into();
    }
    match error.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => too_large,
        _ => AppError::bad_request("The form is incomplete or cannot be read."),
    }
}
