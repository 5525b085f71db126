//! What Prometheus collects.

use std::sync::atomic::AtomicU64;

use axum::http::StatusCode;
use burn_gpt_oss::SchedulerStats;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::answer::Answer;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    path: String,
    status: u16,
}

pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    completion_tokens: Counter,
    first_token: Histogram,
    queued: Gauge,
    running: Gauge,
    cache_bytes: Gauge,
    prefix_bytes: Gauge,
    prompt_tokens: Gauge<i64>,
    cached_tokens: Gauge<i64>,
    new_tokens: Counter<u64, AtomicU64>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("burn_qat");
        let metrics = Self {
            requests: Family::default(),
            completion_tokens: Counter::default(),
            // From 10 ms to 40 minutes.
            first_token: Histogram::new(exponential_buckets(0.01, 2.0, 18)),
            queued: Gauge::default(),
            running: Gauge::default(),
            cache_bytes: Gauge::default(),
            prefix_bytes: Gauge::default(),
            prompt_tokens: Gauge::default(),
            cached_tokens: Gauge::default(),
            new_tokens: Counter::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register(
            "requests",
            "Requests by path and status",
            m.requests.clone(),
        );
        let help = "Tokens of answers that were told to the end";
        registry.register("completion_tokens", help, m.completion_tokens.clone());
        let help = "Seconds from a request to the first token of its answer, the queue included";
        registry.register("first_token_seconds", help, m.first_token.clone());
        registry.register("queued_requests", "Requests that wait", m.queued.clone());
        registry.register(
            "running_requests",
            "Sequences that are generated",
            m.running.clone(),
        );
        registry.register(
            "cache_bytes",
            "Keys and values of running sequences",
            m.cache_bytes.clone(),
        );
        registry.register(
            "prefix_cache_bytes",
            "Known beginnings of prompts",
            m.prefix_bytes.clone(),
        );
        registry.register(
            "prompt_tokens_computed",
            "Tokens of prompts",
            m.prompt_tokens.clone(),
        );
        registry.register(
            "prompt_tokens_cached",
            "Tokens of prompts that were known",
            m.cached_tokens.clone(),
        );
        registry.register(
            "generated_tokens",
            "Tokens of all answers",
            m.new_tokens.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// Counts a request by its route: any path may be asked for, and must not fill the memory.
    pub fn request(&self, route: Option<&str>, status: StatusCode) {
        let path = route.unwrap_or("other").to_owned();
        let status = status.as_u16();
        self.requests.get_or_create(&Labels { path, status }).inc();
    }

    pub fn answered(&self, answer: &Answer) {
        self.completion_tokens
            .inc_by(answer.usage.completion as u64);
        if let Some(seconds) = answer.first_token {
            self.first_token.observe(seconds.as_secs_f64());
        }
    }

    pub fn text(&self, stats: &SchedulerStats) -> String {
        self.queued.set(stats.queued as i64);
        self.running.set(stats.running as i64);
        self.cache_bytes.set(stats.cache_bytes as i64);
        self.prefix_bytes.set(stats.prefix_bytes as i64);
        self.prompt_tokens.set(stats.prompt_tokens as i64);
        self.cached_tokens.set(stats.cached_tokens as i64);
        let behind = stats.new_tokens.saturating_sub(self.new_tokens.get());
        self.new_tokens.inc_by(behind);
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}
