use crate::chat::encoder::{CHANNEL, CONSTRAIN};
use crate::chat::message::{Message, Role};

/// The headers of a message without its content, and the words that are none of them.
///
/// `role` is known from the prompt, or the first word; a first word that is no role is the name of a
/// tool if more words follow. With `addressed`, the last words are recipient and content type.
/// Source: openai/harmony 0.0.8, `parse_header_from_string`.
pub(super) fn read_header(
    header: &str,
    role: Option<Role>,
    addressed: bool,
) -> Result<(Message, Option<String>), String> {
    let (channel, header) = cut_channel(header)?;
    // A marker right behind a recipient begins a word of its own.
    let header = header.trim().replace(CONSTRAIN, &format!(" {CONSTRAIN}"));
    let mut words: Vec<&str> = header.split_ascii_whitespace().collect();
    let (role, name) = match role {
        Some(role) => (role, None),
        None => author(&mut words)?,
    };
    if words.first() == Some(&role.as_str()) {
        words.remove(0);
    }
    let mut message = Message::new(role, "");
    message.channel = channel;
    message.name = name;
    if addressed {
        take_address(&mut message, &mut words);
    }
    let rest = words.join(" ");
    Ok((message, Some(rest).filter(|rest| !rest.is_empty())))
}

/// The word behind `<|channel|>`, and the header without both.
fn cut_channel(header: &str) -> Result<(Option<String>, String), String> {
    let Some((before, behind)) = header.split_once(CHANNEL) else {
        return Ok((None, header.to_owned()));
    };
    let end = behind.find(|c: char| c.is_whitespace() || c == '<');
    let (channel, behind) = behind.split_at(end.unwrap_or(behind.len()));
    match channel.is_empty() {
        true => Err("`<|channel|>` without a channel".to_owned()),
        false => Ok((Some(channel.to_owned()), format!("{before}{behind}"))),
    }
}

fn author(words: &mut Vec<&str>) -> Result<(Role, Option<String>), String> {
    let first = *words.first().ok_or("the header has no role")?;
    let known = Role::ALL.into_iter().find(|role| role.as_str() == first);
    match known {
        Some(Role::Tool) => Ok((Role::Tool, Some(first.to_owned()))),
        Some(role) => Ok((role, None)),
        None if words.len() > 1 || first.starts_with("to=") => {
            words.remove(0);
            Ok((Role::Tool, Some(first.to_owned())))
        }
        None => Err(format!("unknown role `{first}`")),
    }
}

/// Takes recipient and content type from the end of the words.
fn take_address(message: &mut Message, words: &mut Vec<&str>) {
    let address = |word: &str| word.strip_prefix("to=").unwrap_or(word).to_owned();
    let alone = words.len() == 1;
    let Some(last) = words.pop() else {
        return;
    };
    if alone || last.starts_with("to=") {
        message.recipient = Some(address(last));
        return;
    }
    message.content_type = Some(last.to_owned());
    message.recipient = words.pop().map(address);
}
