//! Chat completions and completions.

use serde_json::{Value, json};

use crate::{chat, question, server};

const ANSWER: &str = "Lisa now has 9 coins.";

#[test]
fn an_answer_has_its_reasoning_apart() {
    let reply = chat(json!({}));
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let message = &json["choices"][0]["message"];
    assert_eq!(message["content"], ANSWER);
    assert_eq!(message["reasoning"], message["reasoning_content"]);
    assert!(message["reasoning"].as_str().unwrap().contains("5 and 4"));
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    let usage = &json["usage"];
    let number = |key: &str| usage[key].as_u64().unwrap();
    assert_eq!(
        number("total_tokens"),
        number("prompt_tokens") + number("completion_tokens")
    );
    assert!(
        usage["completion_tokens_details"]["reasoning_tokens"]
            .as_u64()
            .unwrap()
            > 10
    );
    assert_eq!(json["model"], "tiny-gpt-oss");
}

#[test]
fn a_stream_says_the_same() {
    let whole = chat(json!({})).json();
    let reply = chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(reply.body.ends_with("data: [DONE]\n\n"), "{}", reply.body);
    let events = reply.events();
    let texts = |key: &str| {
        let text = |event: &Value| {
            event["choices"][0]["delta"][key]
                .as_str()
                .map(str::to_owned)
        };
        events.iter().filter_map(text).collect::<String>()
    };
    let message = &whole["choices"][0]["message"];
    assert_eq!(texts("content"), message["content"]);
    assert_eq!(texts("reasoning"), message["reasoning"]);
    assert_eq!(texts("reasoning_content"), message["reasoning"]);
    let (last, before) = (&events[events.len() - 1], &events[events.len() - 2]);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"]["completion_tokens"],
        whole["usage"]["completion_tokens"]
    );
    assert_eq!(before["choices"][0]["finish_reason"], "stop");
    assert_eq!(before["choices"][0]["delta"], json!({}));
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": null})
    );
    let plain = chat(json!({"stream": true}));
    assert!(
        plain
            .events()
            .iter()
            .all(|event| event.get("usage").is_none() && event["choices"] != json!([]))
    );
}

#[test]
fn the_known_beginning_is_told() {
    chat(json!({}));
    let usage = chat(json!({})).json()["usage"].clone();
    let cached = usage["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    assert!(
        cached > 20 && cached < usage["prompt_tokens"].as_u64().unwrap(),
        "{usage}"
    );
}

#[test]
fn stop_strings_end_the_answer_not_the_reasoning() {
    // " and" stands in the reasoning as well.
    let json = chat(json!({"stop": [" has 9", " and"]})).json();
    assert_eq!(json["choices"][0]["message"]["content"], "Lisa now");
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert!(
        json["choices"][0]["message"]["reasoning"]
            .as_str()
            .unwrap()
            .contains(" and")
    );
}

#[test]
fn a_limit_ends_it() {
    let json = chat(json!({"max_completion_tokens": 7})).json();
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["completion_tokens"], 7);
}

#[test]
fn probabilities_spell_the_content() {
    let json = chat(json!({"logprobs": true, "top_logprobs": 3})).json();
    let tokens = json["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    let bytes = tokens
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap());
    let bytes: Vec<u8> = bytes.map(|byte| byte.as_u64().unwrap() as u8).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), ANSWER);
    for token in &tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(
            top[0]["token"], token["token"],
            "greedy takes the likeliest"
        );
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn seeds_repeat_and_choices_differ() {
    let ask = |seed: u64| {
        let json = chat(json!({"temperature": 1.5, "seed": seed, "n": 3})).json();
        let choices = json["choices"].as_array().unwrap().clone();
        let texts = choices
            .iter()
            .map(|choice| choice["message"]["reasoning"].to_string());
        texts.collect::<Vec<_>>()
    };
    let first = ask(1);
    assert_eq!(first, ask(1));
    assert_eq!(first.len(), 3);
    assert!(first[0] != first[1] || first[1] != first[2], "{first:?}");
    // A seed that is one higher begins with the second choice.
    assert_eq!(ask(2)[0], first[1]);
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    json!([tool("get_weather"), tool("get_time"), {"type": "web_search"}])
}

#[test]
fn a_call_that_is_required_is_made() {
    for (choice, names) in [
        (json!("required"), &["get_weather", "get_time"][..]),
        (
            json!({"type": "function", "function": {"name": "get_time"}}),
            &["get_time"],
        ),
    ] {
        let extra = json!({"tools": tools(), "tool_choice": choice, "max_tokens": 40});
        let json = chat(extra.clone()).json();
        let call = &json["choices"][0]["message"]["tool_calls"][0];
        let name = call["function"]["name"].as_str().unwrap();
        assert!(names.contains(&name), "{json}");
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
        let mut extra = extra;
        extra["stream"] = json!(true);
        let events = chat(extra).events();
        let deltas = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0].as_object());
        let deltas: Vec<_> = deltas.collect();
        assert_eq!(deltas[0]["function"]["name"], name);
        assert!(deltas[1..].iter().all(|delta| delta.get("id").is_none()));
        let arguments: String = deltas
            .iter()
            .filter_map(|delta| delta["function"]["arguments"].as_str())
            .collect();
        assert_eq!(
            arguments.trim(),
            call["function"]["arguments"].as_str().unwrap()
        );
    }
}

/// The turns of a tool, with contents in parts and reasoning sent back.
#[test]
fn a_conversation_with_a_tool_goes_on() {
    let messages = json!([
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        {"role": "user", "content": "Weather?", "name": "ada"},
        {"role": "assistant", "content": null, "reasoning": "Ask.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Rome\"}"}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]);
    let reply = chat(json!({"messages": messages, "tools": tools(), "max_tokens": 10}));
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn plain_completions_go_on_from_texts_and_tokens() {
    let ask = |body: Value| server().post("/v1/completions", &body.to_string()).json();
    let json = ask(
        json!({"prompt": ["Lisa has", [5, 6, 7]], "temperature": 0, "max_tokens": 6, "logprobs": 2}),
    );
    assert_eq!(json["object"], "text_completion");
    let choices = json["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    let logprobs = &choices[0]["logprobs"];
    let spelled: String = logprobs["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(spelled, choices[0]["text"].as_str().unwrap());
    let echoed =
        ask(json!({"prompt": "Lisa has", "temperature": 0, "max_tokens": 6, "echo": true}));
    let text = format!("Lisa has{}", choices[0]["text"].as_str().unwrap());
    assert_eq!(echoed["choices"][0]["text"], text);
    let stream = json!({"prompt": "Lisa has", "temperature": 0, "max_tokens": 6, "stream": true});
    let events = server()
        .post("/v1/completions", &stream.to_string())
        .events();
    let streamed: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(streamed, choices[0]["text"].as_str().unwrap());
}

#[test]
fn models_health_metrics_and_page() {
    let models = server().get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "tiny-gpt-oss");
    assert_eq!(
        server().get("/v1/models/tiny-gpt-oss").json()["object"],
        "model"
    );
    assert_eq!(server().get("/health").json()["status"], "ok");
    chat(json!({}));
    let metrics = server().get("/metrics").body;
    for part in [
        "burn_qat_requests_total{path=\"/v1/chat/completions\",status=\"200\"}",
        "# EOF",
    ] {
        assert!(metrics.contains(part), "{part} is not in:\n{metrics}");
    }
    let page = server().get("/");
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.body.contains("<title>burn-qat chat</title>"));
    // Clients differ in whether the base has a version.
    let body = json!({"messages": question(), "max_tokens": 3}).to_string();
    assert_eq!(server().post("/chat/completions", &body).status, 200);
}

/// Tokens that a stop string took are not told, and offsets are those of the text.
#[test]
fn probabilities_of_completions_spell_their_text() {
    let ask = |extra: Value| {
        let mut body =
            json!({"prompt": "Lisa has", "temperature": 0, "max_tokens": 12, "logprobs": 1});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        server().post("/v1/completions", &body.to_string())
    };
    let whole = ask(json!({})).json()["choices"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    let middle: String = whole
        .chars()
        .skip(whole.chars().count() / 2)
        .take(3)
        .collect();
    for extra in [json!({}), json!({"stop": middle})] {
        let choice = ask(extra).json()["choices"][0].clone();
        let logprobs = &choice["logprobs"];
        let spelled: String = logprobs["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let text = choice["text"].as_str().unwrap();
        assert!(text.starts_with(&spelled), "{spelled:?} of {text:?}");
    }
    let events = ask(json!({"stream": true})).events();
    let mut expected = 0;
    for event in events {
        let logprobs = event["choices"][0]["logprobs"].clone();
        let tokens = logprobs["tokens"].as_array().cloned().unwrap_or_default();
        let offsets = logprobs["text_offset"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for (token, offset) in tokens.iter().zip(&offsets) {
            assert_eq!(offset.as_u64().unwrap() as usize, expected);
            expected += token.as_str().unwrap().chars().count();
        }
    }
    assert_eq!(expected, whole.chars().count());
}
