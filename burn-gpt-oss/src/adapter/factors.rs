use crate::error::GptOssError;

/// The two factors of a matrix, or of those of all experts, as modules have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// `[experts, in, rank]`
    pub a: Vec<f32>,
    /// `[experts, rank, out]`
    pub b: Vec<f32>,
    /// Experts, one for a single matrix, elements of an input and of an output.
    pub shape: [usize; 3],
    /// The rank.
    pub rank: usize,
}

/// The two tensors of PEFT: `lora_A` `[rank * experts, in]` with the rows of an expert together, `lora_B`
/// `[out, rank * experts]` with the columns of a rank together.
pub(super) struct PeftFactors {
    pub a: Vec<f32>,
    pub b: Vec<f32>,
}

impl Factors {
    pub(super) fn from_peft(
        PeftFactors { a, b }: &PeftFactors,
        shape: [usize; 3],
        rank: usize,
    ) -> Self {
        let [experts, d_input, d_output] = shape;
        let mut factors = Self {
            a: vec![0.0; a.len()],
            b: vec![0.0; b.len()],
            shape,
            rank,
        };
        for expert in 0..experts {
            for k in 0..rank {
                let row = (expert * rank + k) * d_input;
                for i in 0..d_input {
                    factors.a[(expert * d_input + i) * rank + k] = a[row + i];
                }
                for o in 0..d_output {
                    let column = k * experts + expert;
                    factors.b[(expert * rank + k) * d_output + o] = b[o * rank * experts + column];
                }
            }
        }
        factors
    }

    /// Of files whose axes are swapped: `lora_A` is as wide as an output, `lora_B` as high as an input.
    pub(super) fn from_swapped(
        peft: &PeftFactors,
        [experts, d_input, d_output]: [usize; 3],
        rank: usize,
    ) -> Self {
        let turned = Self::from_peft(peft, [experts, d_output, d_input], rank);
        Self {
            a: transposed(&turned.b, experts, rank, d_input),
            b: transposed(&turned.a, experts, d_output, rank),
            shape: [experts, d_input, d_output],
            rank,
        }
    }

    pub(super) fn to_peft(&self) -> PeftFactors {
        let [experts, d_input, d_output] = self.shape;
        let rank = self.rank;
        let mut peft = PeftFactors {
            a: vec![0.0; self.a.len()],
            b: vec![0.0; self.b.len()],
        };
        for expert in 0..experts {
            for k in 0..rank {
                let row = (expert * rank + k) * d_input;
                for i in 0..d_input {
                    peft.a[row + i] = self.a[(expert * d_input + i) * rank + k];
                }
                for o in 0..d_output {
                    let column = k * experts + expert;
                    peft.b[o * rank * experts + column] =
                        self.b[(expert * rank + k) * d_output + o];
                }
            }
        }
        peft
    }

    /// Fails at the first value that is not finite.
    pub(super) fn check_finite(&self, path: &str) -> Result<(), GptOssError> {
        for (name, values) in [("a", &self.a), ("b", &self.b)] {
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(GptOssError::NonFinite {
                    tensor: format!("{path}.lora.{name}"),
                    index,
                    value: values[index],
                });
            }
        }
        Ok(())
    }
}

/// `[experts, width, height]` from `[experts, height, width]`.
fn transposed(values: &[f32], experts: usize, height: usize, width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for expert in 0..experts {
        let matrix = &values[expert * height * width..][..height * width];
        for column in 0..width {
            out.extend((0..height).map(|row| matrix[row * width + column]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element says where it belongs.
    fn factors() -> Factors {
        let (shape, rank) = ([3, 4, 5], 2);
        let place = |i: usize, seed: usize| (i + seed) as f32;
        Factors {
            a: (0..3 * 4 * 2).map(|i| place(i, 0)).collect(),
            b: (0..3 * 2 * 5).map(|i| place(i, 100)).collect(),
            shape,
            rank,
        }
    }

    #[test]
    fn rows_are_by_expert_and_columns_by_rank() {
        let factors = factors();
        let peft = factors.to_peft();
        // Expert 2, rank 1, input 3: row 2 * 2 + 1.
        assert_eq!(peft.a[5 * 4 + 3], factors.a[(2 * 4 + 3) * 2 + 1]);
        // The same for output 4: column 1 * 3 + 2.
        assert_eq!(peft.b[4 * 6 + 5], factors.b[(2 * 2 + 1) * 5 + 4]);
        assert_eq!(Factors::from_peft(&peft, [3, 4, 5], 2), factors);
    }

    #[test]
    fn swapped_axes_give_the_same_delta() {
        let factors = factors();
        // The transposed delta, as files of the other kind have it.
        let turned = Factors {
            a: transposed(&factors.b, 3, 2, 5),
            b: transposed(&factors.a, 3, 4, 2),
            shape: [3, 5, 4],
            rank: 2,
        };
        let read = Factors::from_swapped(&turned.to_peft(), [3, 4, 5], 2);
        assert_eq!(read, factors);
    }
}
