//! Requests that come and go: each gets what it gets alone.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burn_gpt_oss::{
    Event, Finish, GenerateOptions, GptOss, Request, Sampling, Scheduler, SchedulerOptions,
};

use crate::model::device;
use crate::{run, sequence, stored, tiny, tokens, unequal_prompts};

/// What a request was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    fn sink(&self) -> impl FnMut(Event) + Send + 'static {
        let told = self.0.clone();
        move |event| told.lock().unwrap().push(event)
    }

    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    fn tokens(&self) -> Vec<u32> {
        let token = |event: Event| match event {
            Event::Token(new) => Some(new.token),
            _ => None,
        };
        self.events().into_iter().filter_map(token).collect()
    }

    fn finish(&self) -> Option<Finish> {
        self.events()
            .into_iter()
            .rev()
            .find_map(|event| match event {
                Event::Token(new) => Some(new.finish),
                _ => None,
            })?
    }

    fn cached_tokens(&self) -> Option<usize> {
        self.events().into_iter().find_map(|event| match event {
            Event::Started { cached_tokens } => Some(cached_tokens),
            _ => None,
        })
    }
}

fn request(told: &Told, prompt: &[u32], max_new_tokens: usize) -> Request {
    Request::new(prompt.to_vec(), max_new_tokens, told.sink())
}

fn scheduler(model: GptOss, options: SchedulerOptions) -> Scheduler {
    Scheduler::new(model, &device(), options)
}

fn finish(scheduler: &mut Scheduler) {
    while scheduler.is_busy() {
        scheduler.step();
    }
}

/// The greedy continuation of a prompt by itself.
fn alone(model: &GptOss, prompt: &[u32], max_new_tokens: usize) -> Vec<u32> {
    let options = GenerateOptions {
        max_new_tokens,
        ..GenerateOptions::default()
    };
    tokens(&run(model, &[prompt.to_vec()], &options)).remove(0)
}

#[test]
fn sequences_join_and_leave_at_any_time() {
    for model in [tiny as fn() -> GptOss, stored] {
        let reference = model();
        let sequence = sequence();
        // Some are longer than two windows, some begin while others are far.
        let prompts: Vec<Vec<u32>> = (0..14)
            .map(|i| sequence[i..i + 1 + (i * 23) % 46].to_vec())
            .collect();
        let lengths: Vec<usize> = (0..14).map(|i| 1 + (i * 17) % 40).collect();
        for (max_running, prefill_tokens, gap) in [(1, 64, 1), (3, 5, 4), (8, 64, 2), (8, 1, 9)] {
            let options = SchedulerOptions {
                max_running,
                prefill_tokens,
                ..SchedulerOptions::default()
            };
            let mut scheduler = scheduler(model(), options);
            let told: Vec<Told> = prompts.iter().map(|_| Told::default()).collect();
            for (i, prompt) in prompts.iter().enumerate() {
                scheduler
                    .submit(request(&told[i], prompt, lengths[i]))
                    .unwrap();
                (0..gap).for_each(|_| scheduler.step());
                assert!(scheduler.stats().running <= max_running);
            }
            finish(&mut scheduler);
            for (i, told) in told.iter().enumerate() {
                let expected = alone(&reference, &prompts[i], lengths[i]);
                assert_eq!(told.tokens(), expected, "request {i} of {max_running}");
                assert_eq!(told.finish(), Some(Finish::Length));
            }
            assert_eq!(scheduler.stats().cache_bytes, 0);
        }
    }
}

/// Columns that only sequences had that have left are given up: more than a thousand of them here.
#[test]
fn long_runs_do_not_keep_what_is_over() {
    let model = tiny();
    let prompt = sequence()[..9].to_vec();
    let expected = alone(&model, &prompt, 300);
    let mut scheduler = scheduler(tiny(), SchedulerOptions::default());
    let mut open: Vec<Told> = Vec::new();
    let mut largest = 0;
    for round in 0..6 {
        for _ in 0..2 {
            open.push(Told::default());
            scheduler
                .submit(request(&open[open.len() - 1], &prompt, 300))
                .unwrap();
        }
        // The next ones come while these are still running.
        (0..250).for_each(|_| scheduler.step());
        let bytes = scheduler.stats().cache_bytes;
        if round > 1 {
            assert!(bytes <= 2 * largest, "{bytes} bytes after {largest}");
        }
        largest = largest.max(bytes);
    }
    finish(&mut scheduler);
    for told in open {
        assert_eq!(told.tokens(), expected);
    }
}

#[test]
fn beginnings_of_prompts_are_known() {
    let model = tiny();
    let sequence = sequence();
    let mut scheduler = scheduler(tiny(), SchedulerOptions::default());
    let mut ask = |prompt: &[u32], boundaries: &[usize]| {
        let told = Told::default();
        let mut request = request(&told, prompt, 12);
        request.boundaries = boundaries.to_vec();
        scheduler.submit(request).unwrap();
        finish(&mut scheduler);
        assert_eq!(told.tokens(), alone(&model, prompt, 12));
        told.cached_tokens().unwrap()
    };
    let other: Vec<u32> = sequence[..25].iter().copied().chain([7, 8, 9]).collect();
    assert_eq!(ask(&sequence[..50], &[25, 40]), 0);
    assert_eq!(ask(&other, &[]), 25);
    assert_eq!(ask(&sequence[..50], &[]), 40);
    assert_eq!(ask(&sequence[..60], &[]), 40);
    // Something is left to compute even of the same prompt.
    assert_eq!(ask(&sequence[..40], &[]), 25);
    assert_eq!(ask(&sequence[3..40], &[]), 0);
}

#[test]
fn known_beginnings_have_a_limit() {
    let options = SchedulerOptions {
        prefix_bytes: 100_000,
        ..SchedulerOptions::default()
    };
    let mut scheduler = scheduler(tiny(), options);
    for start in 0..20u32 {
        let told = Told::default();
        let prompt: Vec<u32> = (start..start + 30).collect();
        let mut request = request(&told, &prompt, 1);
        request.boundaries = vec![29];
        scheduler.submit(request).unwrap();
        finish(&mut scheduler);
        assert!(scheduler.stats().prefix_bytes <= 100_000);
    }
}

#[test]
fn who_leaves_frees_the_place() {
    let model = tiny();
    let prompts = unequal_prompts();
    let mut scheduler = scheduler(
        tiny(),
        SchedulerOptions {
            max_running: 2,
            ..SchedulerOptions::default()
        },
    );
    let told: Vec<Told> = prompts.iter().map(|_| Told::default()).collect();
    let mut flags = Vec::new();
    for (told, prompt) in told.iter().zip(&prompts) {
        let request = request(told, prompt, 30);
        flags.push(request.cancelled.clone());
        scheduler.submit(request).unwrap();
    }
    (0..5).for_each(|_| scheduler.step());
    flags[0].store(true, Ordering::Relaxed);
    flags[3].store(true, Ordering::Relaxed);
    finish(&mut scheduler);
    assert!(told[0].tokens().len() < 8 && told[3].events().is_empty());
    for i in [1, 2, 4] {
        assert_eq!(told[i].tokens(), alone(&model, &prompts[i], 30), "{i}");
    }
}

#[test]
fn who_waits_too_long_is_told() {
    let mut scheduler = scheduler(
        tiny(),
        SchedulerOptions {
            max_running: 1,
            ..SchedulerOptions::default()
        },
    );
    let (running, waiting) = (Told::default(), Told::default());
    let now = Instant::now();
    let mut first = request(&running, &[1, 2, 3], 100);
    first.deadline = Some(now + Duration::from_secs(3600));
    scheduler.submit(first).unwrap();
    let mut second = request(&waiting, &[1, 2, 3], 5);
    second.deadline = Some(now);
    scheduler.submit(second).unwrap();
    scheduler.step();
    assert_eq!(waiting.events(), [Event::TimedOut]);
    finish(&mut scheduler);
    assert_eq!(running.tokens().len(), 100);
}

#[test]
fn too_many_and_impossible_requests_are_refused() {
    let mut scheduler = scheduler(
        tiny(),
        SchedulerOptions {
            max_queued: 2,
            ..SchedulerOptions::default()
        },
    );
    let told = Told::default();
    let mut submit = |prompt: &[u32], n| {
        scheduler
            .submit(request(&told, prompt, n))
            .map_err(|e| e.to_string())
    };
    for (prompt, n, part) in [
        (&[][..], 5, "empty"),
        (&[1, 2][..], 1 << 20, "context"),
        (&[1, 511, 512][..], 5, "vocabulary"),
    ] {
        let error = submit(prompt, n).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    submit(&[1], 1).unwrap();
    submit(&[1], 1).unwrap();
    let error = submit(&[1], 1).unwrap_err();
    assert!(error.contains("2 requests"), "{error}");
}

/// The same seed gives the same tokens, whoever else is there, as one prompt has them by itself.
#[test]
fn samples_do_not_depend_on_the_company() {
    let model = tiny();
    let sampling = Sampling {
        temperature: 1.5,
        top_p: 0.9,
        seed: 7,
        ..Sampling::greedy()
    };
    let prompt = sequence()[..20].to_vec();
    let options = GenerateOptions {
        max_new_tokens: 25,
        sampling: sampling.clone(),
        ..GenerateOptions::default()
    };
    let expected = tokens(&run(&model, std::slice::from_ref(&prompt), &options)).remove(0);
    let mut scheduler = scheduler(tiny(), SchedulerOptions::default());
    let told: Vec<Told> = (0..5).map(|_| Told::default()).collect();
    for (i, told) in told.iter().enumerate() {
        let mut request = request(told, &prompt[..20 - i % 2], 25);
        request.sampling = sampling.clone();
        scheduler.submit(request).unwrap();
    }
    finish(&mut scheduler);
    for i in [0, 2, 4] {
        assert_eq!(told[i].tokens(), expected);
    }
    assert_ne!(told[1].tokens(), expected);
}

#[test]
fn logits_obey_what_is_asked() {
    let mut scheduler = scheduler(tiny(), SchedulerOptions::default());
    let prompt = sequence()[..20].to_vec();
    let mut ask = |edit: &dyn Fn(&mut Request)| {
        let told = Told::default();
        let mut request = request(&told, &prompt, 10);
        edit(&mut request);
        scheduler.submit(request).unwrap();
        finish(&mut scheduler);
        told
    };
    let plain = ask(&|_| {}).tokens();
    let biased = ask(&|request| request.logit_bias.extend([(77, 1000.0)])).tokens();
    assert_eq!(biased, [77; 10]);
    let banned = ask(&|request| {
        request
            .logit_bias
            .extend(plain.iter().map(|t| (*t, -1000.0)))
    });
    assert!(banned.tokens().iter().all(|token| !plain.contains(token)));
    let distinct = ask(&|request| request.penalties = [0.0, 1000.0]).tokens();
    let mut sorted = distinct.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), distinct.len());
    let begun =
        ask(&|request| request.beginnings = vec![vec![5, 6, 7], vec![5, 9], vec![100]]).tokens();
    let fits = begun.starts_with(&[5, 6, 7]) || begun.starts_with(&[5, 9]) || begun[0] == 100;
    assert!(fits, "{begun:?}");
    let stopped = ask(&|request| request.stop_tokens = vec![plain[4]]);
    let end = plain.iter().position(|token| *token == plain[4]).unwrap();
    assert_eq!(stopped.tokens(), plain[..=end]);
    assert_eq!(stopped.finish(), Some(Finish::StopToken));
}

#[test]
fn probabilities_are_those_of_the_model() {
    let mut scheduler = scheduler(tiny(), SchedulerOptions::default());
    let told = Told::default();
    let mut request = request(&told, &sequence()[..20], 8);
    request.logprobs = Some(3);
    request.logit_bias.insert(9, 1000.0);
    scheduler.submit(request).unwrap();
    finish(&mut scheduler);
    for event in told.events() {
        let Event::Token(new) = event else { continue };
        let logprobs = new.logprobs.unwrap();
        assert_eq!(new.token, 9);
        let top: Vec<f32> = logprobs.top.iter().map(|top| top.logprob).collect();
        assert!(top.len() == 3 && top.is_sorted_by(|a, b| a >= b), "{top:?}");
        assert!(logprobs.logprob <= top[0] && top[0] < 0.0 && logprobs.logprob.is_finite());
    }
}
