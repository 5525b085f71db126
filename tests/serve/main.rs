//! The server as clients meet it: answers, streams, errors in OpenAI's shape, hostile requests, and its end.
#![allow(clippy::unwrap_used)]

mod answers;
mod company;
#[path = "../support/fuzz.rs"]
mod fuzz;
mod hostile;
#[path = "../support/http.rs"]
mod http;
mod life;
mod random;
mod refused;
mod responses;

use std::sync::OnceLock;

use http::{Reply, Server};
use serde_json::{Value, json};

/// One server for all tests that leave it as it is.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["--max-tokens", "200", "--max-body-mb", "1"]))
}

/// A question that the embedded model was trained for.
fn question() -> Value {
    json!([
        {"role": "system", "content": "reasoning language: English\n\nYou are a helpful assistant."},
        {"role": "user", "content": "Lisa has 5 coins and gets 4 more. How many coins does Lisa have now?"},
    ])
}

fn chat(extra: Value) -> Reply {
    let mut body = json!({"messages": question(), "temperature": 0});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    server().post("/v1/chat/completions", &body.to_string())
}
