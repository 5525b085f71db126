//! Events of a response, numbered.

use std::sync::Arc;

use serde_json::{Value, json};

use super::object::Object;
use super::output::Output;
use crate::answer::Answer;
use crate::error::ApiError;
use crate::sse::{Events, Gone};
use crate::state::State;

/// Events with their numbers.
struct Numbered {
    events: Events,
    next: u64,
}

impl Numbered {
    async fn send(&mut self, mut event: Value) -> Result<(), Gone> {
        event["sequence_number"] = json!(self.next);
        self.next += 1;
        self.events.named(&event).await
    }

    async fn begin(&mut self, object: &Object) -> Result<(), Gone> {
        for kind in ["response.created", "response.in_progress"] {
            self.send(json!({"type": kind, "response": object.begun()}))
                .await?;
        }
        Ok(())
    }

    async fn fail(
        &mut self,
        object: Object,
        error: &ApiError,
        output: Vec<Value>,
    ) -> Result<(), Gone> {
        let response = object.failed(error, output);
        self.send(json!({"type": "response.failed", "response": response}))
            .await
    }
}

pub async fn run(
    state: Arc<State>,
    object: Object,
    (answer, items): (Answer, Vec<Value>),
    events: Events,
) {
    let mut events = Numbered { events, next: 0 };
    // A client that is gone has no use for the rest.
    let _ = tell(&state, object, (answer, items), &mut events).await;
}

async fn tell(
    state: &Arc<State>,
    object: Object,
    (mut answer, items): (Answer, Vec<Value>),
    events: &mut Numbered,
) -> Result<(), Gone> {
    events.begin(&object).await?;
    let mut output = Output::default();
    loop {
        match answer.next().await {
            Ok(Some(pieces)) => {
                for piece in pieces {
                    for event in output.add(piece, state) {
                        events.send(event).await?;
                    }
                }
            }
            Ok(None) => break,
            Err(error) => return events.fail(object, &error, output.items()).await,
        }
    }
    state.metrics.answered(&answer);
    let cut = answer.finish_reason() == "length";
    let kind = if cut {
        "response.incomplete"
    } else {
        "response.completed"
    };
    for event in output.close() {
        events.send(event).await?;
    }
    let response = object.finished(output.items(), &answer, cut);
    super::keep(state, &response, items);
    events
        .send(json!({"type": kind, "response": response}))
        .await
}

/// A response that fails before it begins.
pub async fn fail(object: Object, error: ApiError, events: Events) {
    let mut events = Numbered { events, next: 0 };
    if events.begin(&object).await.is_ok() {
        let _ = events.fail(object, &error, Vec::new()).await;
    }
}
