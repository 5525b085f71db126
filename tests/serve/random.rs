//! Bodies of any content: each is answered or refused, and the server goes on.
//!
//! ```text
//! FUZZ_SECONDS=1200 cargo test --test serve random -- --nocapture
//! ```

use std::cell::Cell;

use serde_json::{Value, json};

use crate::fuzz::{corpus, fuzz};
use crate::http::Server;

fn seeds() -> Vec<Vec<u8>> {
    let parameters =
        json!({"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}});
    let function = json!({"name": "f", "description": "d", "parameters": parameters});
    let chat = json!({
        "model": "tiny-gpt-oss",
        "messages": [
            {"role": "system", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "reasoning": "r", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto", "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "n": 2, "seed": 1,
        "logit_bias": {"5": 1}, "logprobs": true, "top_logprobs": 2, "stream": true,
        "stream_options": {"include_usage": true}, "reasoning_effort": "low", "max_tokens": 4,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    });
    let responses = json!({
        "instructions": "i", "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "reasoning": {"effort": "high", "summary": "auto"}, "metadata": {"a": "b"}, "max_output_tokens": 4,
        "text": {"format": {"type": "json_object"}}, "stream": true,
    });
    let completions = json!({"prompt": ["a", [1, 2]], "max_tokens": 3, "logprobs": 2, "echo": false, "stream": true});
    let bytes = |json: Value| json.to_string().into_bytes();
    [chat, responses, completions].map(bytes).into()
}

#[test]
fn any_body_has_an_answer() {
    let server = Server::start(&["--max-tokens", "4", "--max-queued", "32"]);
    let turn = Cell::new(0);
    fuzz(&corpus("serve", "bodies"), seeds(), |body| {
        turn.set(turn.get() + 1);
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/completions"] {
            let reply = server.request("POST", path, &[], body);
            let fine = reply.status == 200 || (400..500).contains(&reply.status);
            assert!(fine, "{path}: {reply:?}");
        }
    });
    assert_eq!(server.get("/health").status, 200);
}
