mod context;
mod listed;

use std::path::PathBuf;

use burn_fp4::Fp4Error;
use thiserror::Error;

use listed::listed;

/// Everything that can go wrong with gpt-oss configurations, checkpoints, tokenizers and chats.
///
/// Every variant names the file, tensor or key it is about, what was expected and found, and where it
/// helps, what to do next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GptOssError {
    /// A file or directory could not be read or written.
    #[error("{}: {action} failed: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was attempted, as a noun: "read", "write", "rename".
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file that belongs to every checkpoint of this kind is absent.
    #[error("{}: file not found; {hint}", path.display())]
    MissingFile {
        /// The absent file.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// A JSON document is malformed.
    #[error("{}: invalid JSON at `{key}`: {message}", path.display())]
    Json {
        /// The JSON file.
        path: PathBuf,
        /// The path of the key, `.` for the document itself.
        key: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A key of config.json has a value this crate does not support.
    #[error("config.json: `{key}` is {found}, expected {expected}")]
    Config {
        /// The key.
        key: String,
        /// What would be accepted.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A safetensors file is truncated or malformed.
    #[error("{}: not a valid safetensors file: {message}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong, with expected and found sizes where they are known.
        message: String,
    },
    /// A GGUF file is truncated or malformed.
    #[error("{}: not a valid GGUF file: {message}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Git LFS left a pointer in place of the file.
    #[error(
        "{}: is a Git LFS pointer, not the file itself; run `git lfs pull` in that directory, or download \
         the file",
        path.display()
    )]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint was written to while it was in use, or a page of it could not be read.
    #[error(
        "{}: was changed, or could not be read to its end, while it was in use; what was read from it may be mixed, \
         start again",
        path.display()
    )]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// A directory holds one file of weights and the index of others.
    #[error(
        "{}: exists beside {}, which lists other files (`{shard}`); programs differ in which they load, \
         so remove the one that is out of date",
        single.display(), index.display()
    )]
    AmbiguousFiles {
        /// The single file.
        single: PathBuf,
        /// The index.
        index: PathBuf,
        /// A file that the index lists.
        shard: String,
    },
    /// Two files without an index hold a tensor of the same name.
    #[error(
        "{}: holds `{tensor}`, as {} does; remove the file that is out of date, or add the index",
        paths[1].display(), paths[0].display()
    )]
    DuplicateTensor {
        /// The two files.
        paths: [PathBuf; 2],
        /// The tensor.
        tensor: String,
    },
    /// The tensors are laid out as another program does.
    #[error("{}: holds {layout} (`{tensor}`); {hint}", path.display())]
    ForeignLayout {
        /// The directory.
        path: PathBuf,
        /// What it is.
        layout: &'static str,
        /// The tensor that shows it.
        tensor: String,
        /// What to do.
        hint: &'static str,
    },
    /// A stored weight is NaN or infinite.
    #[error(
        "{}: tensor `{tensor}` holds {value} in row {row:?}; the checkpoint is damaged, \
         download or convert it again",
        path.display()
    )]
    NonFiniteWeight {
        /// The file.
        path: PathBuf,
        /// The tensor as it is named there.
        tensor: String,
        /// Indices of the row in all axes but the last; of a vector the index of the value.
        row: Vec<usize>,
        /// The value.
        value: f32,
    },
    /// The index names a shard that is not in the directory.
    #[error(
        "{}: shard not found, although the index places {tensors} tensors there (first: `{first}`); \
         download the file again or restore it",
        path.display()
    )]
    MissingShard {
        /// The absent file.
        path: PathBuf,
        /// How many tensors the index places there.
        tensors: usize,
        /// One of these tensors.
        first: String,
    },
    /// The checkpoint lacks a tensor that the configuration calls for.
    #[error("{}: tensor `{tensor}` not found; {hint}", path.display())]
    MissingTensor {
        /// The file or directory that was searched.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What to do.
        hint: String,
    },
    /// The checkpoint holds tensors that the configuration does not call for.
    #[error(
        "{}: {} tensors do not belong to this architecture (first: `{}`); \
         check that config.json and the weights come from the same checkpoint",
        path.display(), tensors.len(), tensors.first().map(String::as_str).unwrap_or_default()
    )]
    UnexpectedTensors {
        /// The directory.
        path: PathBuf,
        /// The names, sorted.
        tensors: Vec<String>,
    },
    /// A tensor has another shape than the configuration calls for.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape according to config.json.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has an element type that is not supported in its place.
    #[error("{}: tensor `{tensor}` has dtype {found}, expected {expected}", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The accepted types.
        expected: String,
        /// The type in the file.
        found: String,
    },
    /// A tensor could not be converted from or to FP4.
    #[error("tensor `{tensor}`: {source}")]
    Fp4 {
        /// The tensor.
        tensor: String,
        /// The error of the codec.
        source: Box<Fp4Error>,
    },
    /// A tensor holds NaN or an infinite value and would make a broken checkpoint.
    #[error(
        "tensor `{tensor}` holds a non-finite value ({value} at element {index}); the training diverged"
    )]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Flat index of the first such element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The configuration of an adapter says something that is not supported.
    #[error("{}: `{key}` is {found}, expected {expected}", path.display())]
    Adapter {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What the file says.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// The output directory is occupied.
    #[error("{}: the output directory is not empty; choose another one or pass the overwrite option", path.display())]
    OutputExists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that would be replaced holds another directory.
    #[error(
        "{}: holds the directory `{inner}`, which would be lost; move it away, or choose another output directory",
        path.display()
    )]
    OutputHoldsDirectory {
        /// The directory.
        path: PathBuf,
        /// The directory in it.
        inner: String,
    },
    /// What would be replaced is what is read.
    #[error(
        "{}: is, or holds, the source {}; choose another output directory",
        path.display(), source_dir.display()
    )]
    OutputIsSource {
        /// The output directory.
        path: PathBuf,
        /// The directory that is read.
        source_dir: PathBuf,
    },
    /// The output path is a file or a link.
    #[error("{}: is a file or a link; give a directory", path.display())]
    OutputNotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A tokenizer file could not be loaded.
    #[error("{}: {message}", path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The tokenizer lacks special tokens of the harmony format.
    #[error(
        "the tokenizer lacks the harmony tokens {tokens:?}; use the tokenizer.json of a gpt-oss checkpoint"
    )]
    MissingSpecialTokens {
        /// The absent tokens.
        tokens: Vec<String>,
    },
    /// A tokenizer is not that of the model.
    #[error(
        "{}: `{token}` is token {id}, expected {expected}; use the tokenizer.json of the checkpoint",
        path.display()
    )]
    WrongTokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// The special token.
        token: String,
        /// Its id in the file.
        id: u32,
        /// Which id was expected, and who says so.
        expected: String,
    },
    /// A spelling that was given as a special token is none.
    #[error("{}: there is no special token `{token}`, only {}", path.display(), listed(known))]
    UnknownSpecialToken {
        /// The tokenizer file.
        path: PathBuf,
        /// The spelling.
        token: String,
        /// The special tokens of the file in the order of their ids.
        known: Vec<String>,
    },
    /// A conversation cannot be rendered.
    #[error("message {message}: {reason}")]
    Conversation {
        /// Index of the message in the conversation.
        message: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A function of a conversation cannot be described to the model.
    #[error("{reason}")]
    Tool {
        /// Which one, and why.
        reason: String,
    },
    /// Tokens are no harmony messages.
    #[error("token {token}: {reason}")]
    Harmony {
        /// Index of the token.
        token: usize,
        /// What is wrong.
        reason: String,
    },
    /// A device failed.
    #[error("the device could not {action}: {message}")]
    Device {
        /// What was asked of it.
        action: &'static str,
        /// What it says.
        message: String,
    },
    /// A prompt cannot be continued.
    #[error("prompt {prompt}: {reason}")]
    Prompt {
        /// Index of the prompt.
        prompt: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// As many requests wait as may.
    #[error("{limit} requests wait already; try again later")]
    QueueFull {
        /// Requests that may wait.
        limit: usize,
    },
    /// A setting of the generation is out of range.
    #[error("`{key}` is {found}, expected {expected}")]
    Setting {
        /// The setting.
        key: String,
        /// What would be accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// No next token can be chosen from what the model computed.
    #[error(
        "sequence {sequence}: {reason}, so there is no next token; \
         the weights are broken or the computation overflowed"
    )]
    Logits {
        /// The number of the sequence.
        sequence: u64,
        /// What is wrong with the logits.
        reason: String,
    },
    /// What was asked to stop has stopped.
    #[error(
        "stopped at {done} of {total} bytes; the same command goes on from the last complete file"
    )]
    Interrupted {
        /// Bytes written.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something valid that this version does not offer.
    #[error("{what} is not supported; {hint}")]
    Unsupported {
        /// The construct.
        what: String,
        /// What to do instead.
        hint: String,
    },
}
