//! Requests: bodies with a limit, who asks, and keys.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{
    ConnectInfo, FromRequest, FromRequestParts, MatchedPath, Path, Request, State as Shared,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::task::JoinSet;

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
        let parse = move |_: &State| {
            serde_json::from_slice(&bytes).map(Self).map_err(|error| {
                let message = format!("We could not parse the JSON body of your request: {error}.");
                ApiError::new(StatusCode::BAD_REQUEST, None, message)
            })
        };
        state.apart(parse).await
    }
}

/// A number for who asks: the address, whatever the port.
pub struct Client(pub u64);

impl FromRequestParts<Arc<State>> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Arc<State>,
    ) -> Result<Self, Self::Rejection> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let mut hasher = DefaultHasher::new();
        address
            .map(|ConnectInfo(address)| address.ip())
            .hash(&mut hasher);
        Ok(Self(hasher.finish()))
    }
}

/// The name of a response in a path.
pub struct Id(pub String);

impl FromRequestParts<Arc<State>> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.map_err(|error| ApiError::value("response_id", "a name in UTF-8", error))?;
        Ok(Self(id.0))
    }
}

/// Lets nobody in without the key, counts, and names requests.
pub async fn guard(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let is_open = matches!(path.as_str(), "/" | "/health" | "/metrics");
    let checked = check_origin(&state, &request).and_then(|()| check_key(&state, &request));
    let response = match checked {
        Err(error) if !is_open => error.into_response(),
        _ => answered(next.run(request)).await,
    };
    let route = route.as_ref().map(MatchedPath::as_str);
    state.metrics.request(route, response.status());
    let mut response = response;
    if let Ok(id) = HeaderValue::from_str(&state.id("req_")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// What a handler answers; an error where it panics. Dropped with the connection, as the handler is.
async fn answered(handler: impl Future<Output = Response> + Send + 'static) -> Response {
    let mut task = JoinSet::new();
    task.spawn(handler);
    match task.join_next().await {
        Some(Ok(response)) => response,
        _ => ApiError::internal("The server failed at this request.").into_response(),
    }
}

/// Without a key, a page of another site must not use the model by way of this machine's browser.
fn check_origin(state: &State, request: &Request) -> Result<(), ApiError> {
    if state.api_key.is_some() {
        return Ok(());
    }
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let host = header(header::HOST).unwrap_or("localhost");
    let origin = header(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    match is_local(host) && origin.is_none_or(|(_, host)| is_local(host)) {
        true => Ok(()),
        false => {
            let message = "Without a key, only this machine itself is served: use localhost.";
            Err(ApiError::new(
                StatusCode::FORBIDDEN,
                Some("forbidden"),
                message,
            ))
        }
    }
}

/// Whether a host, with or without a port, is this machine.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
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
    let is_bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
    let given = given.and_then(|value| value.split_once(' '));
    match given
        .filter(|(kind, _)| is_bearer(kind))
        .map(|(_, key)| key)
    {
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
