/// The first names of a list that may be long.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 24;
    let quoted: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", quoted.join(", ")),
        _ => quoted.join(", "),
    }
}
