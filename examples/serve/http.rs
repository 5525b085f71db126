//! Requests: bodies with a limit, who asks, and keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::error::ApiError;
use crate::state::State;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body of JSON, whatever its type is said to be.
pub struct Body(pub Value);

impl FromRequest<Arc<State>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, ApiError> {
        let too_large = || {
            let message = format!("The body is larger than {} bytes.", state.max_body);
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                Some("request_too_large"),
                message,
            )
        };
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|len| len > state.max_body) {
            return Err(too_large());
        }
        let body = tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), state.max_body));
        let bytes = match body.await {
            Ok(Ok(bytes)) => bytes,
            // One that breaks off is not answered anyway.
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => {
                let message = "The body did not arrive in time.";
                return Err(ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    Some("timeout"),
                    message,
                ));
            }
        };
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let message = format!("We could not parse the JSON body of your request: {error}.");
            ApiError::new(StatusCode::BAD_REQUEST, None, message)
        })
    }
}

/// A number for who asks: the address, whatever the port.
pub struct Client(pub u64);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let mut hasher = DefaultHasher::new();
        address
            .map(|ConnectInfo(address)| address.ip())
            .hash(&mut hasher);
        // Behind a proxy all have one address; their names differ.
        parts
            .headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .hash(&mut hasher);
        Ok(Self(hasher.finish()))
    }
}

/// Lets nobody in without the key, counts, and names requests.
pub async fn guard(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let is_open = matches!(path.as_str(), "/" | "/health" | "/metrics");
    let response = match check_key(&state, &request) {
        Err(error) if !is_open => error.into_response(),
        _ => next.run(request).await,
    };
    state.metrics.request(&path, response.status());
    let mut response = response;
    if let Ok(id) = HeaderValue::from_str(&state.id("req_")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

fn check_key(state: &State, request: &Request) -> Result<(), ApiError> {
    let Some(key) = &state.api_key else {
        return Ok(());
    };
    let unauthorized = |message: String| {
        let code = Some("invalid_api_key");
        Err(ApiError::new(StatusCode::UNAUTHORIZED, code, message))
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(given) if same(given.as_bytes(), key.as_bytes()) => Ok(()),
        Some(_) => unauthorized("Incorrect API key provided.".into()),
        None => unauthorized("You didn't provide an API key: Authorization: Bearer KEY.".into()),
    }
}

/// In a time that does not tell how much of it is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differing == 0
}

pub async fn not_found(request: Request) -> ApiError {
    let message = format!(
        "Unknown request URL: {} {}.",
        request.method(),
        request.uri().path()
    );
    ApiError::new(StatusCode::NOT_FOUND, Some("unknown_url"), message)
}

pub async fn wrong_method(request: Request) -> ApiError {
    let message = format!(
        "{} is not allowed for {}.",
        request.method(),
        request.uri().path()
    );
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Some("method_not_supported"),
        message,
    )
}
