//! Errors in OpenAI's shape, with the parameter they are about.

use serde_json::{Value, json};

use crate::{chat, server};

fn error_of(extra: Value) -> (u16, String, String) {
    let reply = chat(extra.clone());
    let json = reply.json();
    let error = &json["error"];
    for key in ["message", "type", "param", "code"] {
        assert!(
            error.get(key).is_some(),
            "{key} is not in {json} of {extra}"
        );
    }
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (reply.status, text("param"), text("code"))
}

#[test]
fn every_wrong_value_is_named() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let user = json!({"role": "user", "content": "x"});
    for (extra, param, code) in [
        (
            json!({"messages": null}),
            "messages",
            "missing_required_parameter",
        ),
        (json!({"messages": "x"}), "messages", "invalid_type"),
        (json!({"messages": []}), "messages", "invalid_value"),
        (json!({"messages": [1]}), "messages[0]", "invalid_type"),
        (
            json!({"messages": [{}]}),
            "messages[0].role",
            "missing_required_parameter",
        ),
        (
            json!({"messages": [{"role": "robot", "content": "x"}]}),
            "messages[0].role",
            "invalid_value",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "messages[0].content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            json!({"messages": [user, {"role": "tool", "tool_call_id": "no", "content": "x"}]}),
            "messages[1].tool_call_id",
            "invalid_value",
        ),
        (
            json!({"messages": [user, {"role": "assistant", "content": "y"}]}),
            "messages",
            "invalid_value",
        ),
        (
            json!({"temperature": 3}),
            "temperature",
            "decimal_above_max_value",
        ),
        (json!({"temperature": "hot"}), "temperature", "invalid_type"),
        (json!({"top_p": -0.1}), "top_p", "decimal_below_min_value"),
        (json!({"n": 0}), "n", "integer_below_min_value"),
        (
            json!({"max_tokens": 0}),
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            json!({"stop": ["a", "b", "c", "d", "e"]}),
            "stop",
            "invalid_value",
        ),
        (json!({"stop": ""}), "stop", "invalid_value"),
        (
            json!({"logit_bias": {"99999": 1}}),
            "logit_bias",
            "invalid_value",
        ),
        (
            json!({"logit_bias": {"5": 101}}),
            "logit_bias.5",
            "decimal_above_max_value",
        ),
        (json!({"top_logprobs": 3}), "top_logprobs", "invalid_value"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
            "integer_above_max_value",
        ),
        (
            json!({"stream_options": {}}),
            "stream_options",
            "invalid_value",
        ),
        (
            json!({"reasoning_effort": "huge"}),
            "reasoning_effort",
            "invalid_value",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
            "invalid_value",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "strict": true}}}),
            "response_format",
            "unsupported_parameter",
        ),
        (
            json!({"tools": [{"type": "function"}]}),
            "tools[0].name",
            "missing_required_parameter",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            json!({"tool_choice": "required"}),
            "tool_choice",
            "invalid_value",
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            "tool_choice.function.name",
            "invalid_value",
        ),
        (
            json!({"functions": []}),
            "functions",
            "unsupported_parameter",
        ),
        (
            json!({"modalities": ["text", "audio"]}),
            "modalities",
            "invalid_value",
        ),
    ] {
        let found = error_of(extra.clone());
        assert_eq!(found, (400, param.into(), code.into()), "{extra}");
    }
    let long = "word ".repeat(5000);
    let found = error_of(json!({"messages": [{"role": "user", "content": long}]}));
    assert_eq!(
        found,
        (400, "messages".into(), "context_length_exceeded".into())
    );
    assert_eq!(
        error_of(json!({"model": "gpt-9"})),
        (404, String::new(), "model_not_found".into())
    );
}

#[test]
fn null_means_absent_and_unknown_keys_mean_nothing() {
    let extra = json!({
        "model": null, "stop": null, "seed": null, "n": null, "tools": null, "tool_choice": null,
        "logprobs": null, "stream": null, "stream_options": null, "response_format": null,
        "nonsense": {"a": [1]}, "user": "u", "store": true, "max_tokens": 3,
    });
    assert_eq!(chat(extra).status, 200);
}

#[test]
fn paths_and_methods() {
    let reply = server().get("/v2/nothing");
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str()),
        (404, Some("unknown_url"))
    );
    let reply = server().get("/v1/chat/completions");
    assert_eq!(reply.status, 405);
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    assert!(reply.header("allow").is_some());
    assert!(reply.header("x-request-id").unwrap().starts_with("req_"));
    assert_eq!(
        server().get("/v1/models/other").json()["error"]["code"],
        "model_not_found"
    );
}

#[test]
fn completions_and_responses_name_their_parameters() {
    for (path, body, param) in [
        ("completions", json!({}), "prompt"),
        ("completions", json!({"prompt": []}), "prompt"),
        ("completions", json!({"prompt": [1, -5]}), "prompt"),
        ("completions", json!({"prompt": {"a": 1}}), "prompt"),
        (
            "completions",
            json!({"prompt": "a", "suffix": "b"}),
            "suffix",
        ),
        (
            "completions",
            json!({"prompt": "a", "best_of": 3}),
            "best_of",
        ),
        (
            "completions",
            json!({"prompt": "a", "echo": true, "logprobs": 1}),
            "echo",
        ),
        (
            "completions",
            json!({"prompt": "a", "logprobs": 6}),
            "logprobs",
        ),
        ("completions", json!({"prompt": vec!["a"; 129]}), "prompt"),
        ("completions", json!({"prompt": ["a", "b"], "n": 128}), "n"),
        ("responses", json!({}), "input"),
        ("responses", json!({"input": 5}), "input"),
        (
            "responses",
            json!({"input": [{"type": "message", "role": "user"}]}),
            "input[0].content",
        ),
        (
            "responses",
            json!({"input": [{"type": "item_reference", "id": "x"}]}),
            "input[0].id",
        ),
        (
            "responses",
            json!({"input": "x", "background": true}),
            "background",
        ),
        (
            "responses",
            json!({"input": "x", "metadata": [1]}),
            "metadata",
        ),
        (
            "responses",
            json!({"input": "x", "metadata": {"a": 5}}),
            "metadata",
        ),
        ("responses", json!({"input": "x", "user": 5}), "user"),
        (
            "responses",
            json!({"input": "x", "reasoning": {"effort": "huge"}}),
            "reasoning.effort",
        ),
        (
            "responses",
            json!({"input": [{"type": "function_call_output", "call_id": "no", "output": "x"}]}),
            "input[0].call_id",
        ),
    ] {
        let reply = server().post(&format!("/v1/{path}"), &body.to_string());
        assert_eq!(reply.status, 400, "{path} {body}: {reply:?}");
        assert_eq!(reply.json()["error"]["param"], param, "{path} {body}");
    }
}
