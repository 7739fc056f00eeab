//! API tokens: create, list, revoke.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Path, Query};
use super::list::PageQuery;
use crate::domain::{AppName, Principal, Scope, TokenId};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::services::tokens::{self, TOKEN_DAYS, TokenEnd};
use crate::store::access::ApiToken;

/// Request to create a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name, 1 to 80 characters.
    #[schema(example = "CI")]
    name: String,
    /// Its rights; default `read`.
    #[serde(default)]
    scope: Scope,
    /// The only app that it can access; default: all apps. The token is removed with the app.
    #[schema(value_type = Option<String>)]
    app: Option<AppName>,
    /// Days until it expires; default 90.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
    /// `true`: it does not expire. Requires that `days` is left out.
    #[serde(default)]
    no_end: bool,
}

/// An API token. Its text is not stored.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenJson {
    /// Unique id; never reused.
    #[schema(value_type = i64)]
    id: TokenId,
    /// Its name.
    name: String,
    /// Its rights.
    scope: Scope,
    /// The only app that it can access; null: all apps.
    #[schema(value_type = Option<String>)]
    app: Option<AppName>,
    /// Time of creation.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Its expiry; null: it does not expire.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<ApiToken> for TokenJson {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scope: token.scope,
            app: token.app,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// An API token that was just created.
#[derive(Serialize, ToSchema)]
pub struct MadeToken {
    #[serde(flatten)]
    #[schema(inline)]
    about: TokenJson,
    /// Its text, returned only in this response.
    token: String,
}

/// A page of tokens.
#[derive(Serialize, ToSchema)]
pub struct TokenList {
    /// Newest first.
    tokens: Vec<TokenJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// Create a token.
///
/// Requires a session: a token cannot create tokens.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "Tokens", request_body = NewToken, security(("session" = [])),
    responses((status = 201, description = "The token, with its text, which is not returned again.", body = MadeToken)),
)]
pub async fn create(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Json(new): Json<NewToken>,
) -> AppResult<Response> {
    let end = match (new.no_end, new.days) {
        (true, None) => TokenEnd::Never,
        (true, Some(_)) => return Err(AppError::invalid("Set either “days” or “no_end”, not both.")),
        (false, days) => TokenEnd::Days(days.unwrap_or(TOKEN_DAYS)),
    };
    let new = tokens::NewToken { name: new.name, scope: new.scope, app: new.app, end };
    let (about, secret) = services.create_token(&principal, new).await?;
    let made = MadeToken { about: about.into(), token: secret.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], axum::Json(made)).into_response())
}

/// List tokens.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "Tokens", params(PageQuery),
    responses((status = 200, description = "Tokens, newest first.", body = TokenList)),
)]
pub async fn list(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<TokenList>> {
    // Newest first means descending ids, but paging needs ascending keys.
    let tokens = services.tokens(&principal).await?;
    let (tokens, next) = page.cut(tokens, |token| format!("{:020}", i64::MAX - token.id.0))?;
    Ok(axum::Json(TokenList { tokens: tokens.into_iter().map(TokenJson::from).collect(), next }))
}

/// Revoke a token.
///
/// It is invalid from now on. Revoking a token that does not exist succeeds.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "Tokens", params(("id" = i64, Path, description = "The token's id.")),
    responses((status = 204, description = "The token is revoked.")),
)]
pub async fn revoke(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> AppResult<StatusCode> {
    let id = id.parse().map_err(|_| AppError::not_found("token with this id: a token's id is a whole number"))?;
    services.revoke_token(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
