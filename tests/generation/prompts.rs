//! Prompts that cannot be continued.

use burn_gpt_oss::{GenerateOptions, Generation, GptOssError};

use crate::model::device;
use crate::tiny;

#[test]
fn unusable_prompts_are_refused_before_anything_is_computed() {
    let model = tiny();
    let limit = model.config().max_position_embeddings;
    let options = GenerateOptions {
        max_new_tokens: 8,
        ..GenerateOptions::default()
    };
    for (prompt, parts) in [
        (vec![], ["prompt 1", "it is empty"]),
        (
            vec![1; limit - 7],
            ["2041 prompt tokens and 8 new ones", "2048 tokens"],
        ),
        (vec![512], ["token 512", "vocabulary of 512"]),
    ] {
        let prompts = [vec![1], prompt];
        let error = Generation::new(&model, &prompts, &options, &device())
            .err()
            .expect(parts[0]);
        assert!(matches!(error, GptOssError::Prompt { prompt: 1, .. }));
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let prompts = [vec![1; limit - 8]];
    assert!(Generation::new(&model, &prompts, &options, &device()).is_ok());
}
