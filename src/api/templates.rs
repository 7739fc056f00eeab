//! The templates that an app can be created from.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Query;
use super::list::PageQuery;
use crate::domain::{TemplateKind, TemplateName};
use crate::error::AppResult;
use crate::services::Services;

/// A template.
#[derive(Serialize, ToSchema)]
#[schema(as = Template)]
pub struct TemplateJson {
    /// Its name.
    #[schema(value_type = String, example = "static-site")]
    name: TemplateName,
    /// Its title.
    title: String,
    /// One line about it.
    summary: String,
    /// `static`, `service`, `webhook` or `job`.
    #[schema(value_type = String, example = "static")]
    kind: TemplateKind,
    /// Prompts to start from.
    examples: Vec<String>,
}

/// A page of templates.
#[derive(Serialize, ToSchema)]
pub struct TemplateList {
    /// By name.
    templates: Vec<TemplateJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// List templates.
#[utoipa::path(
    get, path = "/api/v1/templates", tag = "Templates", params(PageQuery),
    responses((status = 200, description = "Templates, by name.", body = TemplateList)),
)]
pub async fn list(
    State(services): State<Services>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<TemplateList>> {
    let templates = services
        .templates()
        .map(|template| TemplateJson {
            name: template.name.clone(),
            title: template.manifest.title.clone(),
            summary: template.manifest.summary.clone(),
            kind: template.manifest.kind,
            examples: template.manifest.examples.clone(),
        })
        .collect();
    let (templates, next) = page.cut(templates, |template: &TemplateJson| template.name.to_string())?;
    Ok(axum::Json(TemplateList { templates, next }))
}
