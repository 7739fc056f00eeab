//! Pages at `/docs`, made from the OpenAPI document; nothing in them is loaded from elsewhere.
