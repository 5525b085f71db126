use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::TokenizedExample;

/// Conversations that share rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedExamples {
    /// The rows; attention and positions of each conversation end at its own first token.
    pub examples: Vec<TokenizedExample>,
    /// The conversations in each row, by their number.
    pub members: Vec<Vec<usize>>,
    /// Longest row in tokens.
    pub max_length: usize,
}

impl PackedExamples {
    /// Puts conversations into rows of at most `max_length` tokens, the longest first, each where the
    /// least room is left (best fit decreasing). One that is longer has a row of its own.
    pub fn new(examples: &[TokenizedExample], max_length: usize) -> Self {
        let members = best_fit(
            examples.iter().map(|example| example.tokens.len()),
            max_length,
        );
        let joined = |row: &Vec<usize>| joined(row.iter().map(|i| &examples[*i]));
        Self {
            examples: members.iter().map(joined).collect(),
            members,
            max_length,
        }
    }

    /// The share of the rows' room that tokens take, from 0 to 1.
    pub fn efficiency(&self) -> f64 {
        let tokens: usize = self.examples.iter().map(|row| row.tokens.len()).sum();
        let room = self.examples.len() * self.max_length;
        tokens as f64 / room.max(1) as f64
    }
}

/// Which conversations share rows of `max_length` tokens, by their lengths: the longest first, each where the least
/// room is left (best fit decreasing). One that is longer has a row of its own.
pub fn pack_rows(lengths: &[usize], max_length: usize) -> Vec<Vec<usize>> {
    best_fit(lengths.iter().copied(), max_length)
}

/// A length keeps its place among equal ones.
fn best_fit(lengths: impl Iterator<Item = usize>, max_length: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(usize, usize)> = lengths.enumerate().collect();
    order.sort_by_key(|(index, length)| (Reverse(*length), *index));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Rows by the room that is left in them.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, length) in order {
        let fits = open.range(length.max(1)..).next().map(|(room, _)| *room);
        let (row, room) = match fits {
            Some(room) => (take(&mut open, room), room),
            None => {
                rows.push(Vec::new());
                (rows.len() - 1, max_length)
            }
        };
        rows[row].push(index);
        let left = room.saturating_sub(length);
        if left > 0 {
            open.entry(left).or_default().push(row);
        }
    }
    rows
}

fn take(open: &mut BTreeMap<usize, Vec<usize>>, room: usize) -> usize {
    let rows = open.entry(room).or_default();
    let row = rows.pop().unwrap_or_default();
    if rows.is_empty() {
        open.remove(&room);
    }
    row
}

pub(super) fn joined<'a>(members: impl Iterator<Item = &'a TokenizedExample>) -> TokenizedExample {
    let mut row = TokenizedExample::default();
    for member in members {
        let start = row.tokens.len();
        row.tokens.extend(&member.tokens);
        row.loss_mask.extend(&member.loss_mask);
        if start > 0 {
            row.starts.push(start);
            // The token before it belongs to another conversation.
            row.loss_mask[start] = false;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_come_first_and_each_goes_where_it_fits_best() {
        let rows = best_fit([3, 7, 5, 4, 2, 9].into_iter(), 10);
        // 9 | 7 and 3 | 5 and 4; 2 no longer fits anywhere.
        assert_eq!(rows, [vec![5], vec![1, 0], vec![2, 3], vec![4]]);
        assert_eq!(best_fit([12, 1].into_iter(), 10), [vec![0], vec![1]]);
    }

    #[test]
    fn rows_keep_what_is_trained_but_first_tokens() {
        let example = |tokens: &[u32]| TokenizedExample {
            tokens: tokens.to_vec(),
            loss_mask: vec![true; tokens.len()],
            starts: Vec::new(),
        };
        let examples = [example(&[1, 2, 3]), example(&[4, 5])];
        let packed = PackedExamples::new(&examples, 6);
        let row = &packed.examples[0];
        assert_eq!(row.tokens, [1, 2, 3, 4, 5]);
        assert_eq!(row.loss_mask, [true, true, true, false, true]);
        assert_eq!((row.starts.as_slice(), row.n_targets()), (&[3][..], 3));
        assert_eq!(packed.members, [vec![0, 1]]);
        assert!((packed.efficiency() - 5.0 / 6.0).abs() < 1e-12);
    }
}
