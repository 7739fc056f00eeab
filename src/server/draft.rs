//! `<app>-draft.<domain>`: the workspace of a static site as it is right now, for `GET` and `HEAD`.

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

/// What every answer carries: a draft changes while it is looked at.
const ALWAYS: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// The answer to a request for a draft. (That `HEAD` has no body is hyper's to see to.)
pub(super) async fn answer(services: &Services, app: &AppName, request: &Parts) -> Response {
    let mut response = if matches!(request.method, Method::GET | Method::HEAD) {
        find(services, app, &request.uri, inject::opens_page(&request.method, &request.headers)).await
    } else {
        let sentences = ["A draft is only looked at: it answers GET and HEAD."];
        let mut response =
            plain_page(StatusCode::METHOD_NOT_ALLOWED, "A draft takes no requests like this", &sentences);
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
        let sentences = ["This address holds %-signs that stand for no text."];
        return plain_page(StatusCode::BAD_REQUEST, "This address cannot be read", &sentences);
    };
    match services.draft_file(app, &path).await {
        Ok(file) => folder(uri, &path, &file).unwrap_or_else(|| serve(file, reports)),
        Err(error) => trouble(services, app, &error).await,
    }
}

/// A folder without its slash leads to the folder, as it will once it is deployed: the links of its
/// page are relative to it.
fn folder(uri: &Uri, path: &str, file: &DraftFile) -> Option<Response> {
    let folder = file.path.as_str().strip_suffix("/index.html")?;
    let is_short = !file.missing && !path.ends_with('/') && folder.ends_with(&format!("/{}", path.trim_matches('/')));
    if !is_short {
        return None;
    }
    // One slash at the front: two would be another host.
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("/{}/{query}", uri.path().trim_matches('/'));
    Some((StatusCode::FOUND, [(LOCATION, HeaderValue::try_from(to).ok()?)]).into_response())
}

/// `reports`: a page is to tell of its errors.
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
            "There is no such page in this draft",
            &["Nothing has been written at this address yet."],
        ),
        _ => plain_page(StatusCode::NOT_FOUND, "There is no such draft", &[&error.detail]),
    }
}

/// The text that a path's %-signs stand for; none if they stand for no UTF-8.
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
    fn paths_are_decoded_or_refused() {
        assert_eq!(decoded("/a%20b/%C3%BC.html").as_deref(), Some("/a b/ü.html"));
        assert_eq!(decoded("/plain").as_deref(), Some("/plain"));
        for bad in ["/%", "/%2", "/%zz", "/%ff", "/%C3"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_folder_is_led_to_with_its_slash() {
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
