//! `/v1/responses`: the object, the order of events, what Codex sends.

use serde_json::{Value, json};

use crate::{question, server};

/// All fields that a response must have.
const FIELDS: [&str; 32] = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "temperature",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "reasoning",
    "user",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
];

fn respond(extra: Value) -> crate::Reply {
    let mut body = json!({"input": question(), "temperature": 0});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    server().post("/v1/responses", &body.to_string())
}

#[test]
fn a_response_has_all_fields() {
    let json = respond(json!({"metadata": {"a": "b"}, "reasoning": {"effort": "low"}})).json();
    for field in FIELDS {
        assert!(json.get(field).is_some(), "{field} is not in {json}");
    }
    assert_eq!(json["status"], "completed");
    assert_eq!(json["reasoning"], json!({"effort": "low", "summary": null}));
    let output = json["output"].as_array().unwrap();
    assert_eq!(output[0]["type"], "reasoning");
    assert_eq!(output[0]["summary"], json!([]));
    assert_eq!(output[0]["content"][0]["type"], "reasoning_text");
    assert_eq!(output[1]["type"], "message");
    assert_eq!(output[1]["content"][0]["annotations"], json!([]));
}

#[test]
fn events_come_in_order_and_say_what_the_response_says() {
    let whole = respond(json!({})).json();
    let events = respond(json!({"stream": true})).events();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let numbers: Vec<u64> = events
        .iter()
        .map(|event| event["sequence_number"].as_u64().unwrap())
        .collect();
    assert!(
        numbers.iter().copied().eq(0..events.len() as u64),
        "{numbers:?}"
    );
    let mut distinct = kinds.clone();
    distinct.dedup();
    assert_eq!(
        distinct,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let last = &events[events.len() - 1]["response"];
    let done = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done");
    let done: Vec<&Value> = done.map(|event| &event["item"]).collect();
    assert_eq!(last["output"], json!(done));
    for (i, kind) in [(0, "reasoning_text"), (1, "output_text")] {
        let name = format!("response.{kind}.delta");
        let deltas = events.iter().filter(|event| event["type"] == name);
        let text: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(whole["output"][i]["content"][0]["text"], text);
    }
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    assert_eq!(
        last["usage"]["output_tokens"],
        whole["usage"]["output_tokens"]
    );
}

#[test]
fn a_cut_response_is_incomplete() {
    let json = respond(json!({"max_output_tokens": 12})).json();
    assert_eq!(json["status"], "incomplete");
    assert_eq!(json["incomplete_details"]["reason"], "max_output_tokens");
    let events = respond(json!({"max_output_tokens": 12, "stream": true})).events();
    let last = &events[events.len() - 1];
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
}

/// A request as Codex makes it: tools of kinds that are skipped, a history without ids, unknown keys.
#[test]
fn codex_is_understood() {
    let parameters = json!({"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}});
    let body = json!({
        "model": "tiny-gpt-oss",
        "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list files"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "ls"}], "encrypted_content": null},
            {"type": "function_call", "name": "shell", "arguments": "{\"command\":[\"ls\"]}", "call_id": "call_7"},
            {"type": "function_call_output", "call_id": "call_7", "output": [{"type": "input_text", "text": "a.rs"}]},
            {"type": "custom_tool_call", "name": "apply_patch", "input": "x", "call_id": "call_8"},
            {"type": "ghost_snapshot", "x": 1},
        ],
        "tools": [
            {"type": "function", "name": "shell", "description": "Runs", "parameters": parameters, "strict": false},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
            {"type": "web_search"},
            {"type": "namespace", "name": "x"},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": false,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": false,
        "stream": true,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "client_metadata": {"a": 1},
        "max_output_tokens": 20,
    });
    let events = server().post("/v1/responses", &body.to_string()).events();
    let last = &events[events.len() - 1];
    let kind = last["type"].as_str().unwrap();
    assert!(
        ["response.completed", "response.incomplete"].contains(&kind),
        "{last}"
    );
    assert_eq!(last["response"]["tools"].as_array().unwrap().len(), 1);
    assert_eq!(
        last["response"]["usage"]["output_tokens"].as_u64(),
        Some(20)
            .filter(|_| kind.ends_with("incomplete"))
            .or(last["response"]["usage"]["output_tokens"].as_u64())
    );
}

#[test]
fn responses_go_on_from_earlier_ones() {
    let first = respond(json!({})).json();
    let id = first["id"].as_str().unwrap();
    let body = json!({"previous_response_id": id, "input": "And now?", "temperature": 0, "max_output_tokens": 12});
    let second = server().post("/v1/responses", &body.to_string()).json();
    assert_eq!(second["previous_response_id"], id);
    let tokens = |json: &Value| json["usage"]["input_tokens"].as_u64().unwrap();
    assert!(tokens(&second) > tokens(&first), "{second}");
    assert_eq!(
        server().get(&format!("/v1/responses/{id}")).json()["id"],
        id
    );
    let gone = server().request("DELETE", &format!("/v1/responses/{id}"), &[], b"");
    assert_eq!(gone.json()["deleted"], true);
    assert_eq!(server().get(&format!("/v1/responses/{id}")).status, 404);
    let error = server().post("/v1/responses", &body.to_string());
    assert_eq!(error.json()["error"]["code"], "previous_response_not_found");
}

/// Where a client of a stream looks for it: among the events.
#[test]
fn a_prompt_that_is_too_long_fails_in_the_stream() {
    let long = "word ".repeat(5000);
    let events = respond(json!({"input": long, "stream": true})).events();
    let last = &events[events.len() - 1];
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "context_length_exceeded");
    let reply = respond(json!({"input": long}));
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str()),
        (400, Some("context_length_exceeded"))
    );
}
