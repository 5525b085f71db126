use std::ops::ControlFlow;

use burn::tensor::Device;

use super::{Finish, GenerateOptions, Generation, Step, StopStrings};
use crate::error::GptOssError;
use crate::model::GptOss;
use crate::text_stream::TextStream;
use crate::tokenizer::Tokenizer;

/// A continuation as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedText {
    /// The text, special tokens in their spelling; without the stop token and the stop string.
    pub text: String,
    /// All generated tokens, stop token and those of a stop string included.
    pub tokens: Vec<u32>,
    /// Why it ended; [`Finish::Ended`] at a stop string, `None` if it was cancelled.
    pub finish: Option<Finish>,
}

/// Continues one prompt and passes the text to `show` while it is generated: whole characters only, and no
/// text that may still become a stop string.
///
/// `show` is called after every part of the prompt and after every token, with the new text, which may be
/// empty. [`ControlFlow::Break`] ends the generation; the result is what was generated until then.
///
/// # Errors
/// Those of [`Generation::new`] and [`Generation::step`].
pub fn generate_text(
    model: &GptOss,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
    mut stop: StopStrings,
    device: &Device,
    mut show: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<GeneratedText, GptOssError> {
    let (prompts, one) = (
        [prompt.to_vec()],
        GenerateOptions {
            samples: 1,
            ..options.clone()
        },
    );
    let mut generation = Generation::new(model, &prompts, &one, device)?;
    let mut stream = TextStream::new(tokenizer);
    let mut result = GeneratedText::default();
    while let Some(step) = generation.step()? {
        let mut shown = String::new();
        if let Step::Tokens(tokens) = step {
            for new in tokens {
                result.tokens.push(new.token);
                result.finish = new.finish;
                // The token that ends an answer is no part of it.
                let text = match new.finish {
                    Some(Finish::StopToken) => stream.finish(),
                    _ => stream.push(new.token),
                };
                let pushed = stop.push(&text);
                shown.push_str(&pushed.shown);
                if pushed.stopped {
                    result.finish = Some(Finish::Ended);
                }
            }
        }
        result.text.push_str(&shown);
        if show(&shown).is_break() {
            result
                .text
                .push_str(&(stop.push(&stream.finish()).shown + &stop.finish()));
            return Ok(result);
        }
        if result.finish == Some(Finish::Ended) {
            return Ok(result);
        }
    }
    let pushed = stop.push(&stream.finish());
    if pushed.stopped {
        result.finish = Some(Finish::Ended);
    }
    let rest = pushed.shown + &stop.finish();
    result.text.push_str(&rest);
    // Nothing is left to be ended.
    let _ = show(&rest);
    Ok(result)
}
