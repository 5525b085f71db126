//! The sections that describe tools in system and developer messages.

mod builtin;
mod json_text;
mod library;
mod python;
mod template;

pub(crate) use builtin::builtin_section;
pub(crate) use json_text::{compact_json, python_json};

use super::render_options::HarmonyVariant;
use super::tool::FunctionTool;

/// The section `# Tools` of a developer message.
pub(crate) fn function_section(
    tools: &[FunctionTool],
    variant: HarmonyVariant,
) -> Result<String, String> {
    match variant {
        HarmonyVariant::Library => Ok(library::section(tools)),
        HarmonyVariant::Template => template::section(tools),
    }
}
