use serde::{Deserialize, Serialize};

/// Which of the two published renderings of harmony is written. They differ in the developer message,
/// the description of tools, the headers of calls, and the results of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HarmonyVariant {
    /// The chat template of the published checkpoints, `chat_template.jinja`, which transformers and TRL render.
    /// Text never becomes a special token here, a `name` is kept, and integers of more than 64 bits become floats.
    #[default]
    Template,
    /// openai-harmony 0.0.8, which OpenAI's own programs and vLLM's chat endpoint use.
    Library,
}

/// Which reasoning of a conversation is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisPolicy {
    /// All of it. The policy for training data: each answer is learned with the reasoning that led to it.
    #[default]
    Keep,
    /// As the chat template of the checkpoints does: of the last message in training, none in a prompt;
    /// before a call as long as no answer follows.
    Template,
    /// If the last assistant message is in channel `final`, the messages in channel `analysis` before
    /// the first `final` message are left out; later ones stay. The default of openai-harmony 0.0.8.
    DropBeforeFinal,
}

/// How a conversation is rendered. The default is the chat template's text with all reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RenderOptions {
    /// Whose rendering.
    pub variant: HarmonyVariant,
    /// Which reasoning.
    pub analysis: AnalysisPolicy,
}

impl RenderOptions {
    /// Token for token what the chat template of the checkpoints gives.
    pub const fn template() -> Self {
        Self {
            variant: HarmonyVariant::Template,
            analysis: AnalysisPolicy::Template,
        }
    }

    /// Token for token what openai-harmony 0.0.8 gives with its defaults.
    pub const fn library() -> Self {
        Self {
            variant: HarmonyVariant::Library,
            analysis: AnalysisPolicy::DropBeforeFinal,
        }
    }

    /// Chooses which reasoning is rendered.
    pub const fn with_analysis(mut self, analysis: AnalysisPolicy) -> Self {
        self.analysis = analysis;
        self
    }
}
