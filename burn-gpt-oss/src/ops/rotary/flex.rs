use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use burn_fp4::backend::flex::{FloatElement, Kernel, dispatch, elements, tensor, with_float};

/// Positions a thread takes at least.
const POSITIONS: usize = 16;

pub(super) fn rotated(x: &FlexTensor, cos: &FlexTensor, sin: &FlexTensor) -> FlexTensor {
    with_float!(x.dtype(), T => {
        let (cos, sin) = (elements::<T>(cos), elements::<T>(sin));
        let [_, _, heads, dim] = x.shape().dims();
        tensor(rotate::<T>(&elements(x), &cos, &sin, [heads, dim]), x.shape())
    })
}

fn rotate<T: FloatElement>(x: &[T], cos: &[T], sin: &[T], [heads, dim]: [usize; 2]) -> Vec<T> {
    let mut out = vec![T::zeroed(); x.len()];
    if x.is_empty() {
        return out;
    }
    let (mut cos_space, mut sin_space) = (Vec::new(), Vec::new());
    let (cos, sin) = (T::widen(cos, &mut cos_space), T::widen(sin, &mut sin_space));
    let (half, n_positions) = (dim / 2, cos.len() / (dim / 2));
    let lines = out
        .par_chunks_mut(heads * dim)
        .zip(x.par_chunks(heads * dim));
    lines.enumerate().with_min_len(POSITIONS).for_each_init(
        || (Vec::new(), vec![0.0; heads * dim]),
        |(space, line), (i, (out, x))| {
            // One table serves all sequences, or each has its own.
            let start = i % n_positions * half;
            dispatch(Rotation {
                x: T::widen(x, space),
                cos: &cos[start..start + half],
                sin: &sin[start..start + half],
                out: line,
            });
            T::narrow(line, out);
        },
    );
    out
}

/// All heads of one position.
struct Rotation<'a> {
    x: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Rotation<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let half = self.cos.len();
        let heads = self.x.chunks_exact(2 * half);
        for (x, out) in heads.zip(self.out.chunks_exact_mut(2 * half)) {
            let ((a, b), (first, second)) = (x.split_at(half), out.split_at_mut(half));
            let pairs = a.iter().zip(b).zip(self.cos.iter().zip(self.sin));
            for ((first, second), ((a, b), (cos, sin))) in first.iter_mut().zip(second).zip(pairs) {
                *first = a * cos - b * sin;
                *second = b * cos + a * sin;
            }
        }
    }
}
