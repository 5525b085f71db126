//! Keys, addresses, deadlines, and the end.

use std::io::{Read, Write};
use std::process::Command;

use serde_json::json;

use crate::http::Server;

#[test]
fn nobody_enters_without_the_key() {
    let server = Server::start(&["--api-key", "sk-right"]);
    let ask = |key: Option<&str>| {
        let value = key.map(|key| format!("Bearer {key}"));
        let header = value.as_deref().map(|value| ("authorization", value));
        server.request(
            "GET",
            "/v1/models",
            &header.into_iter().collect::<Vec<_>>(),
            b"",
        )
    };
    assert_eq!(ask(Some("sk-right")).status, 200);
    for key in [
        None,
        Some("sk-wrong"),
        Some(""),
        Some("sk-rig"),
        Some("sk-right2"),
    ] {
        let reply = ask(key);
        assert_eq!(reply.status, 401, "{key:?}");
        assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
        assert!(!reply.body.contains("sk-"), "{}", reply.body);
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn other_addresses_need_a_key() {
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("examples/serve");
    let output = Command::new(binary)
        .args(["--host", "0.0.0.0"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains("--api-key") && error.contains("0.0.0.0"),
        "{error}"
    );
}

#[test]
fn a_request_has_a_deadline() {
    let server = Server::start(&[
        "--timeout",
        "1",
        "--max-running",
        "1",
        "--max-tokens",
        "1000",
    ]);
    let bias = json!({"1273": -100, "1272": -100, "1276": -100});
    let body = json!({"prompt": "a", "max_tokens": 1000, "temperature": 1, "logit_bias": bias})
        .to_string();
    let replies = std::thread::scope(|scope| {
        let ask = || server.post("/v1/completions", &body);
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    let late = replies
        .iter()
        .find(|reply| reply.status == 504)
        .expect("one was too late");
    assert_eq!(late.json()["error"]["code"], "timeout");
}

/// What was begun is finished, then it ends without an error.
#[cfg(unix)]
#[test]
fn a_signal_ends_it_after_the_answers() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "Lisa has", "max_tokens": 150, "temperature": 0, "stream": true})
        .to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 64];
    let n = stream.read(&mut first).unwrap();
    assert!(n > 0);
    Command::new("kill")
        .arg(server.pid().to_string())
        .status()
        .unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("[DONE]"));
    assert_eq!(server.wait(), Some(0));
}

/// A client that does not read holds nothing up: the second signal ends it.
#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start(&[]);
    let mut stalled = server.connect();
    let ask = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20_000);
    stalled
        .set_write_timeout(Some(std::time::Duration::from_secs(2)))
        .unwrap();
    let _ = stalled.write_all(ask.as_bytes());
    let start = std::time::Instant::now();
    for _ in 0..2 {
        Command::new("kill")
            .arg(server.pid().to_string())
            .status()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert_eq!(server.wait(), Some(0));
    assert!(
        start.elapsed() < std::time::Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

/// Pages of other sites, and names that lead here from elsewhere.
#[test]
fn other_sites_are_refused_without_a_key() {
    let server = Server::start(&[]);
    let ask = |headers: &str| {
        let request = format!("GET /v1/models HTTP/1.1\r\nconnection: close\r\n{headers}\r\n\r\n");
        server.raw(request.as_bytes()).status
    };
    for fine in [
        "host: localhost:8000",
        "host: 127.0.0.1",
        "host: [::1]:80",
        "host: localhost\r\norigin: http://localhost:3000",
    ] {
        assert_eq!(ask(fine), 200, "{fine}");
    }
    for refused in [
        "host: evil.example",
        "host: localhost.evil.example",
        "host: localhost\r\norigin: https://evil.example",
    ] {
        assert_eq!(ask(refused), 403, "{refused}");
    }
}

#[test]
fn unknown_paths_do_not_fill_the_metrics() {
    let server = Server::start(&[]);
    for i in 0..50 {
        server.get(&format!("/nothing/{i}"));
        server.get(&format!("/v1/models/model-{i}"));
        server.get(&format!("/v1/responses/resp_{i}"));
    }
    let metrics = server.get("/metrics").body;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("burn_qat_requests_total"));
    assert!(lines.count() < 8, "{metrics}");
}
