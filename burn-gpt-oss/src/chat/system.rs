use serde::{Deserialize, Serialize};

use super::tools::builtin_section;

/// What follows the channels if there are functions.
const FUNCTIONS: &str = "\nCalls to these tools must go to the commentary channel: 'functions'.";

/// How much a model reasons before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningEffort {
    /// Little or no reasoning.
    Low,
    /// What gpt-oss does unless told otherwise.
    #[default]
    Medium,
    /// Long reasoning.
    High,
}

impl ReasoningEffort {
    /// The spelling in the system message, such as `medium`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A tool that gpt-oss knows from its own training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuiltinTool {
    /// Searches and reads web pages.
    Browser,
    /// Runs Python code.
    Python,
}

/// The contents of the system message, which harmony writes in a fixed form.
///
/// The default is the published one of gpt-oss with reasoning effort medium and **without a date**:
/// the same conversation must give the same tokens on every day, so a date has to be stated. The
/// models were trained with the line present; set it for prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemContent {
    /// The first line; absent if `None`.
    pub model_identity: Option<String>,
    /// `YYYY-MM` of the line `Knowledge cutoff:`; absent if `None`.
    pub knowledge_cutoff: Option<String>,
    /// `YYYY-MM-DD` of the line `Current date:`; absent if `None`.
    pub conversation_start_date: Option<String>,
    /// The line `Reasoning:`; absent if `None`.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// The channels that the model may use; the section is absent if empty.
    pub valid_channels: Vec<String>,
    /// Built-in tools; their order and repetitions do not matter.
    pub builtin_tools: Vec<BuiltinTool>,
}

impl Default for SystemContent {
    fn default() -> Self {
        Self {
            model_identity: Some(
                "You are ChatGPT, a large language model trained by OpenAI.".to_owned(),
            ),
            knowledge_cutoff: Some("2024-06".to_owned()),
            conversation_start_date: None,
            reasoning_effort: Some(ReasoningEffort::default()),
            valid_channels: ["analysis", "commentary", "final"]
                .map(str::to_owned)
                .to_vec(),
            builtin_tools: Vec::new(),
        }
    }
}

impl SystemContent {
    /// Sets the date of the conversation, `YYYY-MM-DD`.
    pub fn with_date(mut self, date: impl Into<String>) -> Self {
        self.conversation_start_date = Some(date.into());
        self
    }

    /// Sets the reasoning effort.
    pub fn with_reasoning_effort(mut self, effort: ReasoningEffort) -> Self {
        self.reasoning_effort = Some(effort);
        self
    }

    /// The text of the system message: up to four sections with an empty line between them.
    pub(crate) fn text(&self, has_functions: bool) -> String {
        let about = [
            self.model_identity.clone(),
            self.knowledge_cutoff
                .as_ref()
                .map(|cutoff| format!("Knowledge cutoff: {cutoff}")),
            self.conversation_start_date
                .as_ref()
                .map(|date| format!("Current date: {date}")),
        ];
        let about: Vec<String> = about.into_iter().flatten().collect();
        let sections = [
            (!about.is_empty()).then(|| about.join("\n")),
            self.reasoning_effort
                .map(|effort| format!("Reasoning: {}", effort.as_str())),
            builtin_section(&self.builtin_tools),
            (!self.valid_channels.is_empty()).then(|| {
                let channels = self.valid_channels.join(", ");
                let functions = if has_functions { FUNCTIONS } else { "" };
                format!("# Valid channels: {channels}. Channel must be included for every message.{functions}")
            }),
        ];
        let sections: Vec<String> = sections.into_iter().flatten().collect();
        sections.join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_states_no_date() {
        let text = SystemContent::default().text(false);
        assert!(!text.contains("Current date"), "{text}");
        let dated = SystemContent::default().with_date("2025-06-28").text(false);
        assert!(
            dated.contains("2024-06\nCurrent date: 2025-06-28\n\nReasoning: medium"),
            "{dated}"
        );
    }

    #[test]
    fn null_removes_a_line_and_absence_keeps_the_default() {
        let json = r#"{"knowledge_cutoff": null, "valid_channels": []}"#;
        let system: SystemContent = serde_json::from_str(json).unwrap();
        assert_eq!(
            system.text(false),
            "You are ChatGPT, a large language model trained by OpenAI.\n\nReasoning: medium"
        );
    }

    #[test]
    fn misspelt_keys_are_refused() {
        let error = serde_json::from_str::<SystemContent>(r#"{"reasoning": "low"}"#).unwrap_err();
        assert!(error.to_string().contains("reasoning_effort"), "{error}");
    }
}
