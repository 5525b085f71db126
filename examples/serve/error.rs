//! Errors in OpenAI's shape.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use burn_gpt_oss::GptOssError;
use serde_json::{Value, json};

#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub message: String,
    pub param: Option<String>,
    pub code: Option<&'static str>,
    retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let kind = match status.as_u16() {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code,
            retry_after: None,
        }
    }

    pub fn bad_request(
        code: &'static str,
        param: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let param = Some(param.into());
        Self {
            param,
            ..Self::new(StatusCode::BAD_REQUEST, Some(code), message)
        }
    }

    /// A value of a parameter that is none of those that are possible.
    pub fn value(param: impl Into<String>, expected: &str, found: impl std::fmt::Display) -> Self {
        let param = param.into();
        let message = format!("Invalid value for '{param}': {found}. Expected {expected}.");
        Self::bad_request("invalid_value", param, message)
    }

    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request("unsupported_parameter", param, message)
    }

    pub fn timeout() -> Self {
        let message = "The request took longer than this server allows.";
        Self::new(StatusCode::GATEWAY_TIMEOUT, Some("timeout"), message)
    }

    pub fn shutting_down() -> Self {
        let message = "The server is shutting down.";
        let error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Some("server_is_overloaded"),
            message,
        );
        error.with_retry_after(5)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Some("internal_error"),
            message,
        )
    }

    fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn to_json(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<GptOssError> for ApiError {
    fn from(error: GptOssError) -> Self {
        match error {
            GptOssError::QueueFull { limit } => {
                let message = format!("{limit} requests wait already. Please try again in 1s.");
                let error = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    Some("rate_limit_exceeded"),
                    message,
                );
                error.with_retry_after(1)
            }
            GptOssError::Conversation { message, reason } => {
                let param = format!("messages[{message}]");
                Self::bad_request("invalid_value", param.clone(), format!("{param}: {reason}"))
            }
            GptOssError::Tool { reason } => Self::bad_request("invalid_value", "tools", reason),
            GptOssError::Setting {
                key,
                expected,
                found,
            } => Self::value(key, &expected, found),
            GptOssError::Prompt { reason, .. } => {
                Self::bad_request("invalid_value", "prompt", reason)
            }
            other => Self::internal(other.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
