//! Keys of the tokenizer, from `tokenizer.json` and the files beside it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::metadata::Keys;
use super::value::GgufValue;
use crate::checkpoint::CheckpointReader;
use crate::error::GptOssError;
use crate::json_file::parse;

/// Kinds of tokens in llama.cpp.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// What is read of `tokenizer.json`.
#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    pre_tokenizer: Option<Json>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: Map<String, Json>,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Two spellings of the same.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair([String; 2]),
    Text(String),
}

/// How the split of o200k begins; GPT-4o's name for it is what llama.cpp knows.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+";

/// All keys; of a checkpoint without tokenizer, that there is none.
pub(super) fn of_checkpoint(
    source: &CheckpointReader,
    notes: &mut Vec<String>,
) -> Result<Keys, GptOssError> {
    const FILE: &str = "tokenizer.json";
    let path = source.dir().join(FILE);
    let Some(text) = source.companion(FILE)? else {
        notes.push(
            "there is no tokenizer.json: llama.cpp loads the file and takes token ids, not text"
                .into(),
        );
        return Ok(vec![(
            "tokenizer.ggml.model".into(),
            GgufValue::text("no_vocab"),
        )]);
    };
    let json: TokenizerJson = parse(&text, &path)?;
    let size = source.config().vocab_size;
    let (tokens, kinds) = vocabulary(&json, size, &path)?;
    if !json.pre_tokenizer.as_ref().is_some_and(splits_as_o200k) {
        notes.push(
            "tokenizer.json splits text otherwise than o200k, which is what llama.cpp will do"
                .into(),
        );
    }
    let mut keys: Keys = vec![
        ("tokenizer.ggml.model".into(), GgufValue::text("gpt2")),
        ("tokenizer.ggml.pre".into(), GgufValue::text("gpt-4o")),
        ("tokenizer.ggml.tokens".into(), GgufValue::texts(tokens)),
        (
            "tokenizer.ggml.token_type".into(),
            GgufValue::Array(kinds.into_iter().map(GgufValue::I32).collect()),
        ),
        (
            "tokenizer.ggml.merges".into(),
            GgufValue::texts(merges(json.model.merges)),
        ),
    ];
    keys.extend(special_ids(source, &json.added_tokens)?);
    keys.extend(template(source)?);
    Ok(keys)
}

/// Spelling and kind of every id below the size of the vocabulary.
fn vocabulary(
    json: &TokenizerJson,
    size: usize,
    path: &Path,
) -> Result<(Vec<String>, Vec<i32>), GptOssError> {
    let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![UNUSED; size];
    let beyond = |id: &dyn std::fmt::Display, token: &str| GptOssError::Tokenizer {
        path: path.to_path_buf(),
        message: format!(
            "`{token}` has id {id}, beyond the vocabulary of config.json, {size} tokens"
        ),
    };
    for (token, id) in &json.model.vocab {
        let index = id.as_u64().map(|id| id as usize).filter(|id| *id < size);
        let index = index.ok_or_else(|| beyond(id, token))?;
        tokens[index].clone_from(token);
        kinds[index] = NORMAL;
    }
    for AddedToken {
        id,
        content,
        special,
    } in &json.added_tokens
    {
        if *id >= size {
            return Err(beyond(id, content));
        }
        tokens[*id].clone_from(content);
        let looks_special = content.starts_with("<|") && content.ends_with("|>");
        kinds[*id] = match *special || looks_special {
            true => CONTROL,
            false => USER_DEFINED,
        };
    }
    Ok((tokens, kinds))
}

fn merges(merges: Vec<Merge>) -> Vec<String> {
    let text = |merge| match merge {
        Merge::Pair([first, second]) => format!("{first} {second}"),
        Merge::Text(text) => text,
    };
    merges.into_iter().map(text).collect()
}

fn splits_as_o200k(pre_tokenizer: &Json) -> bool {
    let is_o200k = |text: &str| text.starts_with(O200K);
    match pre_tokenizer {
        Json::String(text) => is_o200k(text),
        Json::Array(parts) => parts.iter().any(splits_as_o200k),
        Json::Object(map) => map.values().any(splits_as_o200k),
        _ => false,
    }
}

/// Where a text begins and ends, and what fills up a batch.
fn special_ids(source: &CheckpointReader, added: &[AddedToken]) -> Result<Keys, GptOssError> {
    let id_of = |content: &str| {
        let token = added.iter().find(|token| token.content == content);
        token.map(|token| token.id as u32)
    };
    let config = source.config();
    let ids = [
        ("bos", id_of("<|startoftext|>")),
        ("eos", config.eos_token_id.or(id_of("<|return|>"))),
        ("padding", config.pad_token_id.or(id_of("<|endoftext|>"))),
    ];
    let ids = ids.into_iter().filter_map(|(name, id)| Some((name, id?)));
    let key = |(name, id)| {
        (
            format!("tokenizer.ggml.{name}_token_id"),
            GgufValue::U32(id),
        )
    };
    let mut keys: Keys = ids.map(key).collect();
    // A prompt of harmony begins with <|start|>.
    keys.push((
        "tokenizer.ggml.add_bos_token".into(),
        GgufValue::Bool(false),
    ));
    Ok(keys)
}

fn template(source: &CheckpointReader) -> Result<Option<(String, GgufValue)>, GptOssError> {
    const CONFIG: &str = "tokenizer_config.json";
    let in_config = || {
        let Some(text) = source.companion(CONFIG)? else {
            return Ok(None);
        };
        let json: Map<String, Json> = parse(&text, &source.dir().join(CONFIG))?;
        let template = json.get("chat_template").and_then(Json::as_str);
        Ok::<_, GptOssError>(template.map(str::to_owned))
    };
    let template = match source.companion("chat_template.jinja")? {
        Some(template) => Some(template),
        None => in_config()?,
    };
    Ok(template.map(|template| ("tokenizer.chat_template".into(), GgufValue::Text(template))))
}
