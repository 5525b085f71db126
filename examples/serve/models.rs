//! What is served, how it is, and the page for people.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::state::State;

fn model(state: &State) -> Value {
    json!({
        "id": state.model,
        "object": "model",
        "created": state.created,
        "owned_by": "burn-qat",
        "root": state.model,
        "parent": null,
        "max_model_len": state.config.max_position_embeddings,
    })
}

pub async fn list(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [model(&state)]}))
}

pub async fn one(
    Shared(state): Shared<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name.map_err(|error| ApiError::value("model", "a name in UTF-8", error))?;
    match name == state.model {
        true => Ok(Json(model(&state))),
        false => Err(state.no_model(&name)),
    }
}

pub async fn health(Shared(state): Shared<Arc<State>>) -> Response {
    match state.stopping.load(Ordering::Relaxed) {
        false => (StatusCode::OK, Json(json!({"status": "ok"}))).into_response(),
        true => ApiError::shutting_down().into_response(),
    }
}

pub async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    let text = state.metrics.text(&state.engine.stats());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

pub async fn page() -> Response {
    // Nothing but what stands in the page itself runs, and it talks to this server alone.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                  connect-src 'self'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(include_str!("page.html"))).into_response()
}
