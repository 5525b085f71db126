//! Many clients at once: each gets what it gets alone, and those that leave free their places.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Server;

fn body(number: usize) -> Value {
    let question = format!(
        "Tom has {} coins and gets {} more. How many coins does Tom have now?",
        2 + number % 7,
        2 + number % 5
    );
    json!({
        "messages": [
            {"role": "system", "content": "reasoning language: English\n\nYou are a helpful assistant."},
            {"role": "user", "content": question},
        ],
        "temperature": 0,
        "max_tokens": 60,
    })
}

fn answer(server: &Server, number: usize) -> Value {
    let reply = server.post("/v1/chat/completions", &body(number).to_string());
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["choices"][0]["message"].clone()
}

#[test]
fn answers_do_not_depend_on_the_company() {
    let server = Server::start(&["--max-running", "6"]);
    let alone: Vec<Value> = (0..10).map(|number| answer(&server, number)).collect();
    thread::scope(|scope| {
        for client in 0..16 {
            let (server, alone) = (&server, &alone);
            scope.spawn(move || {
                for turn in 0..3 {
                    let number = (client * 3 + turn * 7) % 10;
                    if (client + turn) % 4 == 0 {
                        leave(server, number);
                    } else {
                        assert_eq!(answer(server, number), alone[number], "{number}");
                    }
                }
            });
        }
    });
    // All places are free again.
    let start = Instant::now();
    loop {
        let metrics = server.get("/metrics").body;
        let idle = metrics.contains("burn_qat_running_requests 0")
            && metrics.contains("burn_qat_queued_requests 0");
        if idle {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{metrics}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Asks, reads a little and hangs up.
fn leave(server: &Server, number: usize) {
    let mut body = body(number);
    body["stream"] = json!(true);
    let body = body.to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut little = [0; 200];
    let _ = stream.read(&mut little);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let server = Server::start(&[
        "--max-running",
        "1",
        "--max-queued",
        "1",
        "--max-tokens",
        "400",
    ]);
    let long =
        json!({"prompt": "a", "max_tokens": 400, "temperature": 2, "logit_bias": {}}).to_string();
    let refused = thread::scope(|scope| {
        let ask = || server.post("/v1/completions", &long);
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        let replies = clients.into_iter().map(|client| client.join().unwrap());
        replies
            .filter(|reply| reply.status == 429)
            .collect::<Vec<_>>()
    });
    assert!(!refused.is_empty());
    for reply in refused {
        assert_eq!(reply.header("retry-after"), Some("1"));
        let error = reply.json()["error"].clone();
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("try again in 1s")
        );
    }
    assert_eq!(server.get("/health").status, 200);
}
