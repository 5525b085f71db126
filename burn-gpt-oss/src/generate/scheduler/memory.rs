//! What keys and values take.

use crate::config::{GptOssConfig, LayerType};

/// Bytes of an element: keys and values are in float32 on a CPU, and never wider.
const ELEMENT: usize = 4;
/// Slots by which the buffers of full layers grow.
const GROWTH: usize = 256;

/// Bytes of so many sequences beside each other, the longest of this many tokens.
pub(super) fn of_sequences(config: &GptOssConfig, rows: usize, longest: usize) -> usize {
    let slots = |kind: &LayerType| match kind {
        LayerType::SlidingAttention => config.sliding_window,
        LayerType::FullAttention => longest.next_multiple_of(GROWTH),
    };
    let slots: usize = config.layer_types.iter().map(slots).sum();
    let of_slot = 2 * config.num_key_value_heads * config.head_dim * ELEMENT;
    rows.saturating_mul(slots).saturating_mul(of_slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sequence_of_the_20b_takes_gigabytes() {
        let config = GptOssConfig::gpt_oss_20b();
        // 12 full layers of 4,096 bytes a token, and 12 windows.
        let expected = 4096 * 12 * (131_072 + 128);
        assert_eq!(of_sequences(&config, 1, 131_072), expected);
        assert_eq!(of_sequences(&config, 8, 131_072), 8 * expected);
    }
}
