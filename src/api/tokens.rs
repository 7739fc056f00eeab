//! API tokens: make, list, take back.

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

/// What a token is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// 1 to 80 characters.
    #[schema(example = "CI")]
    name: String,
    /// What it may do; `read` when left out.
    #[serde(default)]
    scope: Scope,
    /// The one app that it may do it to; all when left out. The token is removed with the app.
    #[schema(value_type = Option<String>)]
    app: Option<AppName>,
    /// Days after which it ends; 90 when left out.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
    /// It has no end: only when this is `true`, and `days` is left out.
    #[serde(default)]
    no_end: bool,
}

/// An API token. Its text is not kept.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenJson {
    /// Identifier; does not change.
    #[schema(value_type = i64)]
    id: TokenId,
    /// What its maker called it.
    name: String,
    /// What it may do.
    scope: Scope,
    /// The one app that it may do it to; null: all.
    #[schema(value_type = Option<String>)]
    app: Option<AppName>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends; null: it has no end.
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

/// An API token that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadeToken {
    #[serde(flatten)]
    #[schema(inline)]
    about: TokenJson,
    /// Its text, which is shown this one time.
    token: String,
}

/// A page of tokens.
#[derive(Serialize, ToSchema)]
pub struct TokenList {
    /// The newest first.
    tokens: Vec<TokenJson>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

/// Make a token.
///
/// A person who has logged in makes tokens; no token does.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "Tokens", request_body = NewToken, security(("session" = [])),
    responses((status = 201, description = "The token, with its text this one time.", body = MadeToken)),
)]
pub async fn create(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Json(new): Json<NewToken>,
) -> AppResult<Response> {
    let end = match (new.no_end, new.days) {
        (true, None) => TokenEnd::Never,
        (true, Some(_)) => return Err(AppError::invalid("A token has days or no end, not both.")),
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
    // Newest first means falling ids, and pages are cut by rising keys.
    let tokens = services.tokens(&principal).await?;
    let (tokens, next) = page.cut(tokens, |token| format!("{:020}", i64::MAX - token.id.0))?;
    Ok(axum::Json(TokenList { tokens: tokens.into_iter().map(TokenJson::from).collect(), next }))
}

/// Take a token back.
///
/// It is good for nothing from then on. One that is gone already is fine.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "Tokens", params(("id" = i64, Path, description = "The token's id.")),
    responses((status = 204, description = "It is gone.")),
)]
pub async fn revoke(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> AppResult<StatusCode> {
    let id = id.parse().map_err(|_| AppError::not_found("token of this name: a token's id is a whole number"))?;
    services.revoke_token(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
