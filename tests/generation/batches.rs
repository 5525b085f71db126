use burn_gpt_oss::{Finish, GenerateOptions, Generation, GptOss, PromptCache, Step};

use crate::model::device;
use crate::{run, sequence, stored, tiny, tokens, unequal_prompts};

fn options(max_new_tokens: usize, batch_size: usize) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens,
        batch_size,
        ..GenerateOptions::default()
    }
}

#[test]
fn prompts_of_any_length_continue_as_if_alone() {
    for model in [tiny(), stored()] {
        let prompts = unequal_prompts();
        let alone = tokens(&run(&model, &prompts, &options(30, 1)));
        for batch_size in [2, 5, 100] {
            let together = tokens(&run(&model, &prompts, &options(30, batch_size)));
            assert_eq!(together, alone, "{batch_size} at a time");
        }
    }
}

/// Sequences that end early leave the batch to the others.
#[test]
fn stop_tokens_end_one_sequence_alone() {
    let model = tiny();
    let prompts = unequal_prompts();
    let whole = tokens(&run(&model, &prompts, &options(30, 5)));
    let stop = whole[1][4];
    let stopping = GenerateOptions {
        stop_tokens: vec![stop],
        ..options(30, 5)
    };
    let results = run(&model, &prompts, &stopping);
    for (result, whole) in results.iter().zip(&whole) {
        let end = whole.iter().position(|token| *token == stop);
        let expected = &whole[..end.map_or(30, |end| end + 1)];
        assert_eq!(result.tokens, expected);
        let finish = if end.is_some() {
            Finish::StopToken
        } else {
            Finish::Length
        };
        assert_eq!(result.finish, Some(finish));
    }
    assert_eq!(
        results[1].tokens.len(),
        5,
        "the stop token is part of the result"
    );
}

#[test]
fn a_prompt_cache_spares_the_common_beginning() {
    let model = tiny();
    let sequence = sequence();
    let (first, second) = (sequence[..20].to_vec(), sequence[..45].to_vec());
    let mut cache = PromptCache::new();
    for (prompt, expected_passes) in [
        (&first, 1),
        (&first, 0),
        (&second, 1),
        (&second, 0),
        (&first, 1),
    ] {
        let (tokens, passes) = continued(&model, prompt, &mut cache);
        let expected = run(&model, std::slice::from_ref(prompt), &options(12, 1));
        assert_eq!(tokens, expected[0].tokens);
        assert_eq!(passes, expected_passes, "passes before the last token");
        assert_eq!(cache.tokens(), &prompt[..prompt.len() - 1]);
    }
}

/// Samples begin where the prompt does not differ from the last one.
#[test]
fn samples_share_what_is_known_of_a_prompt() {
    let model = tiny();
    let prompts = [sequence()[..45].to_vec()];
    let options = GenerateOptions {
        samples: 3,
        ..options(6, 1)
    };
    let expected = tokens(&run(&model, &prompts, &options));
    let mut cache = PromptCache::new();
    continued(&model, &prompts[0][..20].to_vec(), &mut cache);
    let mut generation = Generation::new(&model, &prompts, &options, &device())
        .expect("a valid prompt")
        .with_prompt_cache(&mut cache);
    let mut found = vec![Vec::new(); 3];
    while let Some(step) = generation.step().expect("no failure") {
        if let Step::Tokens(new) = step {
            new.iter().for_each(|new| found[new.sample].push(new.token));
        }
    }
    assert_eq!(found, expected);
}

/// 12 tokens, and the passes over the prompt before its last token.
fn continued(model: &GptOss, prompt: &Vec<u32>, cache: &mut PromptCache) -> (Vec<u32>, usize) {
    let (prompts, options) = (std::slice::from_ref(prompt), options(12, 1));
    let mut generation = Generation::new(model, prompts, &options, &device())
        .expect("a valid prompt")
        .with_prompt_cache(cache);
    let (mut tokens, mut passes) = (Vec::new(), 0);
    while let Some(step) = generation.step().expect("no failure") {
        match step {
            Step::Prefill { .. } => passes += 1,
            Step::Tokens(new) => tokens.extend(new.iter().map(|new| new.token)),
        }
    }
    (tokens, passes)
}
