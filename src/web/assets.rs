//! Styles, scripts and icons: embedded in the binary, served at an address that changes with
//! their content, so browsers may cache them indefinitely.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::{Embed, EmbeddedFile};

use super::extract::Path;
use crate::error::AppError;

#[derive(Embed)]
#[folder = "static/"]
struct Static;

/// A hash of all files, which is in the path of each of them.
static HASH: LazyLock<String> = LazyLock::new(|| {
    use sha2::{Digest, Sha256};
    let mut names: Vec<_> = Static::iter().collect();
    names.sort();
    let mut sum = Sha256::new();
    for name in names {
        sum.update(name.as_bytes());
        if let Some(file) = Static::get(&name) {
            sum.update(file.metadata.sha256_hash());
        }
    }
    hex::encode(&sum.finalize()[..6])
});

/// The address of an embedded file, for example of `built/site.css`.
pub fn asset(name: &str) -> String {
    format!("/static/{}/{name}", *HASH)
}

/// `GET /static/{hash}/{*name}`
pub async fn serve(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(file) = Static::get(&name) else { return AppError::not_found("such file").into_response() };
    // An address of an older binary still gets the file, but without caching.
    let keep =
        if hash == *HASH && !cfg!(debug_assertions) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..8]));
    let common = [(header::CACHE_CONTROL, keep.to_owned()), (header::ETAG, tag.clone())];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    if accepts_gzip(&headers) {
        let encoding = [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")];
        return (common, kind_of(&name), encoding, packed(&name, &file)).into_response();
    }
    (common, kind_of(&name), [(header::VARY, "accept-encoding")], file.data).into_response()
}

fn kind_of(name: &str) -> [(HeaderName, String); 1] {
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let kind = if kind.type_() == "text" { format!("{kind}; charset=utf-8") } else { kind.to_string() };
    [(header::CONTENT_TYPE, kind)]
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|q| matches!(q, "q=0" | "q=0.0"))
    })
}

/// The file, compressed as far as possible: once, then cached.
fn packed(name: &str, file: &EmbeddedFile) -> Bytes {
    static PACKED: LazyLock<Mutex<HashMap<[u8; 32], Bytes>>> = LazyLock::new(Mutex::default);
    let hash = file.metadata.sha256_hash();
    if let Some(known) = PACKED.lock().unwrap_or_else(PoisonError::into_inner).get(&hash) {
        return known.clone();
    }
    let mut writer = GzEncoder::new(Vec::with_capacity(file.data.len() / 3), Compression::best());
    let packed = match writer.write_all(&file.data).and_then(|()| writer.finish()) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) => unreachable!("{name} is packed in memory: {error}"),
    };
    PACKED.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, packed.clone());
    packed
}

/// `GET /favicon.ico`, which browsers request on their own.
pub async fn favicon() -> Response {
    axum::response::Redirect::permanent(&asset("icon.svg")).into_response()
}

/// The files whose addresses stand in a page.
#[cfg(test)]
pub(super) fn named_in(html: &str) -> Vec<Vec<u8>> {
    let named = Static::iter().filter(|name| html.contains(&asset(name)));
    named.filter_map(|name| Static::get(&name)).map(|file| file.data.into_owned()).collect()
}

/// An embedded file.
#[cfg(test)]
pub(super) fn file(name: &str) -> Vec<u8> {
    Static::get(name).map(|file| file.data.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_pages_refer_to_exist() {
        for name in [
            "built/site.css",
            "built/workbench.css",
            "built/site.js",
            "built/workbench.js",
            "built/editor.js",
            "icon.svg",
        ] {
            assert!(Static::get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_pictures_of_the_first_page_stay_light() {
        let file = Static::get("img/made-with.webp").expect("it is there");
        assert!(file.data.len() <= 36_000 && &file.data[8..12] == b"WEBP", "{} bytes", file.data.len());
    }

    #[tokio::test]
    async fn an_unchanged_file_is_not_sent_again() {
        let path = |name: &str| Path((HASH.clone(), name.to_owned()));
        let first = serve(path("built/site.css"), HeaderMap::new()).await;
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(serve(path("built/site.css"), headers).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(serve(path("../Cargo.toml"), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }
}
