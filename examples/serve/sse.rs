//! Server-sent events, each in one piece.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc::{Sender, channel};

/// How long a client may not read before it is given up.
const STALLED: Duration = Duration::from_secs(60);
/// After this time without an event, a comment keeps the connection open.
const QUIET: Duration = Duration::from_secs(15);
/// Events that wait for a client.
const WAITING: usize = 64;

/// Where events go.
#[derive(Clone)]
pub struct Events(Sender<Bytes>);

/// The client is gone or does not read.
#[derive(Clone, Copy, Debug)]
pub struct Gone;

impl Events {
    /// An event without a name.
    pub async fn data(&self, json: &Value) -> Result<(), Gone> {
        self.send(format!("data: {json}\n\n")).await
    }

    /// An event whose name is its type.
    pub async fn named(&self, json: &Value) -> Result<(), Gone> {
        let name = json["type"].as_str().unwrap_or_default();
        self.send(format!("event: {name}\ndata: {json}\n\n")).await
    }

    /// The end of a stream of chat completions.
    pub async fn done(&self) -> Result<(), Gone> {
        self.send("data: [DONE]\n\n".into()).await
    }

    async fn send(&self, event: String) -> Result<(), Gone> {
        match tokio::time::timeout(STALLED, self.0.send(event.into())).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// A response whose events a task sends. It is dropped, and the generation cancelled, when the client is gone.
pub fn response<F>(task: impl FnOnce(Events) -> F) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = channel(WAITING);
    let work = task(Events(sender.clone()));
    let watched = async move {
        let quiet = async {
            loop {
                tokio::time::sleep(QUIET).await;
                if sender.try_send(Bytes::from_static(b":\n\n")).is_err() && sender.is_closed() {
                    return;
                }
            }
        };
        // Also a client that leaves while nothing is told ends the work.
        tokio::select! {
            () = work => {}
            () = sender.closed() => {}
            () = quiet => {}
        }
    };
    tokio::spawn(watched);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let event: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(stream)).into_response()
}
