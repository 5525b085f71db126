//! An OpenAI-compatible server over a gpt-oss checkpoint. See `--help`.

mod answer;
mod args;
mod chat;
mod completions;
mod conversation;
#[path = "../support/date.rs"]
mod date;
#[path = "../support/device.rs"]
mod device;
#[path = "../tiny/embedded.rs"]
mod embedded;
mod engine;
mod error;
mod fields;
mod http;
mod listen;
mod metrics;
mod model;
mod models;
mod options;
mod responses;
mod sse;
mod state;
mod stored;
#[path = "../support/terminal.rs"]
mod terminal;
mod tokens;
mod tools;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use clap::Parser;
use tokio::net::TcpListener;

use args::Args;
use model::Served;
use state::State;
use terminal::{fail, say};

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let address = args.address()?;
    let served = Served::open(args)?;
    // The model computes on the other threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listening at {address}"))?;
        let address = listener.local_addr()?;
        say(format_args!(
            "serving {} at http://{address}/v1",
            served.state.model
        ));
        say(format_args!("chat: http://{address}/"));
        listen::serve(listener, router(served.state.clone()), &served.state).await;
        Ok::<_, anyhow::Error>(())
    })?;
    // What is left of connections holds the model's thread.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.end();
    Ok(())
}

fn router(state: Arc<State>) -> Router {
    let mut router = Router::new()
        .route("/", get(models::page))
        .route("/health", get(models::health))
        .route("/metrics", get(models::metrics));
    // Clients differ in whether the base has a version.
    for base in ["/v1", ""] {
        router = router
            .route(&format!("{base}/chat/completions"), post(chat::complete))
            .route(&format!("{base}/completions"), post(completions::complete))
            .route(&format!("{base}/responses"), post(responses::respond))
            .route(
                &format!("{base}/responses/{{id}}"),
                get(responses::stored).delete(responses::forget),
            )
            .route(&format!("{base}/models"), get(models::list))
            .route(&format!("{base}/models/{{*name}}"), get(models::one));
    }
    router
        .fallback(http::not_found)
        .method_not_allowed_fallback(http::wrong_method)
        .layer(from_fn_with_state(state.clone(), http::guard))
        .with_state(state)
}
