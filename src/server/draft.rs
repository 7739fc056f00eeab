//! `<app>-draft.<domain>`: the current files of a static site's workspace, for `GET` and `HEAD`.

use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::domain::AppName;
use crate::error::{AppError, ErrorKind};
use crate::gateway::inject;
use crate::guard::plain_page;
use crate::services::Services;
use crate::services::draft::DraftFile;

/// Headers of every response: a draft changes at any time.
const ALWAYS: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// The response to a request for a draft. (hyper removes the body for `HEAD`.)
pub(super) async fn answer(services: &Services, app: &AppName, request: &Parts) -> Response {
    let mut response = if matches!(request.method, Method::GET | Method::HEAD) {
        find(services, app, &request.uri, inject::opens_page(&request.method, &request.headers)).await
    } else {
        let sentences = ["A draft supports only GET and HEAD."];
        let mut response = plain_page(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", &sentences);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    };
    for (name, value) in ALWAYS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn find(services: &Services, app: &AppName, uri: &Uri, reports: bool) -> Response {
    let Some(path) = decoded(uri.path()) else {
        let sentences = ["This address contains percent-encoded bytes that are not text."];
        return plain_page(StatusCode::BAD_REQUEST, "This address cannot be read", &sentences);
    };
    match services.draft_file(app, &path).await {
        Ok(file) => folder(uri, &path, &file).unwrap_or_else(|| serve(file, reports)),
        Err(error) => trouble(services, app, &error).await,
    }
}

/// A folder without a trailing slash redirects to the folder, as in a deployment, because the links of its
/// page are relative to it.
fn folder(uri: &Uri, path: &str, file: &DraftFile) -> Option<Response> {
    let folder = file.path.as_str().strip_suffix("/index.html")?;
    let is_short = !file.missing && !path.ends_with('/') && folder.ends_with(&format!("/{}", path.trim_matches('/')));
    if !is_short {
        return None;
    }
    // One leading slash: two would start another host's name.
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("/{}/{query}", uri.path().trim_matches('/'));
    Some((StatusCode::FOUND, [(LOCATION, HeaderValue::try_from(to).ok()?)]).into_response())
}

/// `reports`: inject the error-reporting script into pages.
fn serve(file: DraftFile, reports: bool) -> Response {
    let mime = mime_guess::from_path(file.path.as_path()).first_or_octet_stream();
    let essence = mime.essence_str();
    let is_text = mime.type_() == mime_guess::mime::TEXT
        || matches!(
            essence,
            "application/json" | "application/javascript" | "application/xml" | "application/manifest+json"
        );
    let kind = if is_text { format!("{essence}; charset=utf-8") } else { essence.to_owned() };
    let kind = HeaderValue::try_from(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let status = if file.missing { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let bytes = if reports && inject::is_html(&kind) { inject::into_page(file.bytes) } else { file.bytes };
    (status, [(CONTENT_TYPE, kind)], bytes).into_response()
}

async fn trouble(services: &Services, app: &AppName, error: &AppError) -> Response {
    if error.kind != ErrorKind::NotFound {
        return plain_page(error.kind.status(), "The draft cannot be shown", &[&error.detail]);
    }
    match services.app(app).await {
        Ok(found) if services.draft_url(&found).is_some() => plain_page(
            StatusCode::NOT_FOUND,
            "This page does not exist in the draft",
            &["There is no file at this address yet."],
        ),
        _ => plain_page(StatusCode::NOT_FOUND, "There is no such draft", &[&error.detail]),
    }
}

/// The percent-decoded path; `None` if it is not UTF-8.
fn decoded(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let mut byte = [0];
            hex::decode_to_slice(after.get(..2)?, &mut byte).ok()?;
            bytes.push(byte[0]);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_or_rejected() {
        assert_eq!(decoded("/a%20b/%C3%BC.html").as_deref(), Some("/a b/ü.html"));
        assert_eq!(decoded("/plain").as_deref(), Some("/plain"));
        for bad in ["/%", "/%2", "/%zz", "/%ff", "/%C3"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_folder_redirects_to_its_trailing_slash() {
        let lead = |address: &str, file: &str| {
            let uri: Uri = address.parse().expect("an address");
            let file = DraftFile { path: file.parse().expect("a path"), bytes: Vec::new(), missing: false };
            let path = decoded(uri.path()).expect("text");
            folder(&uri, &path, &file).map(|response| response.headers()[LOCATION].to_str().expect("text").to_owned())
        };
        assert_eq!(lead("/docs?a=b", "public/docs/index.html").as_deref(), Some("/docs/?a=b"));
        assert_eq!(lead("//docs", "public/docs/index.html").as_deref(), Some("/docs/"));
        assert_eq!(lead("/docs/", "public/docs/index.html"), None);
        assert_eq!(lead("/", "public/index.html"), None);
        assert_eq!(lead("/docs/index.html", "public/docs/index.html"), None);
    }
}
