//! Which reasoning of a conversation is rendered: the rules of [`AnalysisPolicy`].

use super::harmony_message::{HarmonyMessage, Purpose};
use super::message::{Message, Role};
use super::render_options::AnalysisPolicy;

/// Whether the reasoning of a message is rendered.
pub(crate) fn is_kept(
    messages: &[Message],
    index: usize,
    policy: AnalysisPolicy,
    purpose: Purpose,
) -> bool {
    if policy != AnalysisPolicy::Template {
        return true;
    }
    let behind = &messages[index + 1..];
    match is_answer(&messages[index]) {
        true => behind.is_empty() && purpose == Purpose::Training,
        false => !behind.iter().any(is_answer),
    }
}

/// Whether a message of the model ends its turn; calls and preambles do not.
pub(crate) fn is_answer(message: &Message) -> bool {
    message.role == Role::Assistant
        && message.tool_calls.is_empty()
        && message.recipient.is_none()
        && message
            .channel
            .as_deref()
            .is_none_or(|channel| channel == "final")
}

/// Source: openai/harmony 0.0.8, `auto_drop_analysis`.
pub(crate) fn drop_before_final(messages: &mut Vec<HarmonyMessage<'_>>) {
    let last_assistant = messages
        .iter()
        .rfind(|message| message.role == Role::Assistant);
    if !last_assistant.is_some_and(HarmonyMessage::is_final_answer) {
        return;
    }
    let first_final = messages
        .iter()
        .position(|message| message.channel == Some("final"));
    let mut index = 0;
    messages.retain(|message| {
        let dropped =
            first_final.is_some_and(|end| index < end) && message.channel == Some("analysis");
        index += 1;
        !dropped
    });
}
