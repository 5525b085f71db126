//! The caller decides when it ends.

use std::ops::ControlFlow;

use burn_gpt_oss::{Finish, GenerateOptions, Generation, Step, generate};

use crate::model::device;
use crate::{run, tiny, tokens, unequal_prompts};

fn options() -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: 10,
        batch_size: 3,
        ..GenerateOptions::default()
    }
}

/// What was generated before Ctrl-C is not lost.
#[test]
fn breaking_off_keeps_what_was_reached() {
    let (model, prompts) = (tiny(), unequal_prompts());
    let whole = tokens(&run(&model, &prompts, &options()));
    let mut steps = 0;
    let results = generate(&model, &prompts, &options(), &device(), |_| {
        steps += 1;
        if steps == 4 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let results = results.expect("valid prompts");
    let begun = results
        .iter()
        .filter(|result| !result.tokens.is_empty())
        .count();
    assert_eq!(begun, 3, "the first batch");
    for (result, whole) in results.iter().zip(whole) {
        assert!(whole.starts_with(&result.tokens));
        assert!(result.tokens.is_empty() || result.tokens.len() == 4);
        assert_eq!(result.finish, None);
    }
}

#[test]
fn a_dropped_generation_leaves_the_model_as_it_was() {
    let (model, prompts) = (tiny(), unequal_prompts());
    let whole = run(&model, &prompts, &options());
    for steps in 0..5 {
        let mut generation =
            Generation::new(&model, &prompts, &options(), &device()).expect("valid prompts");
        for _ in 0..steps {
            assert!(generation.step().expect("no failure").is_some());
        }
        drop(generation);
    }
    assert_eq!(run(&model, &prompts, &options()), whole);
}

#[test]
fn one_sequence_can_be_ended_while_others_go_on() {
    let (model, prompts) = (tiny(), unequal_prompts());
    let whole = tokens(&run(&model, &prompts, &options()));
    let mut generation =
        Generation::new(&model, &prompts, &options(), &device()).expect("valid prompts");
    let mut found = vec![Vec::new(); prompts.len()];
    while let Some(step) = generation.step().expect("no failure") {
        let Step::Tokens(tokens) = step else { continue };
        for new in tokens {
            found[new.prompt].push(new.token);
            assert_eq!(
                new.finish == Some(Finish::Length),
                found[new.prompt].len() == 10
            );
            if new.prompt == 3 && found[3].len() == 2 {
                generation.end(3, 0);
            }
        }
    }
    for (prompt, (found, whole)) in found.iter().zip(&whole).enumerate() {
        let len = if prompt == 3 { 2 } else { 10 };
        assert_eq!(found, &whole[..len], "prompt {prompt}");
    }
    assert!(
        generation.step().expect("no failure").is_none(),
        "it stays at its end"
    );
}

#[test]
fn nothing_to_do_is_no_mistake() {
    let model = tiny();
    assert!(run(&model, &[], &options()).is_empty());
    let none = GenerateOptions {
        max_new_tokens: 0,
        ..options()
    };
    let results = run(&model, &unequal_prompts(), &none);
    assert!(results.iter().all(|result| result.tokens.is_empty()));
}
