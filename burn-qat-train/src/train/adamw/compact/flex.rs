//! For Flex: tasks of groups side by side, each group in registers between its bytes.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Element};
use burn_flex::FlexTensor;
use burn_fp4::backend::flex::{Kernel, dispatch};
use bytemuck::Pod;
use rayon::prelude::*;

use super::extension::{CompactAdamWBackend, CompactPrimitive};
use super::parts::{Group, Moment, Remainder, Weights};
use super::{CompactStep, MOMENT_GROUP, Masters, Moments};

/// Elements of a task: whole groups, whose bytes fit into a second-level cache.
const TASK: usize = 512 * MOMENT_GROUP;

impl CompactAdamWBackend for Flex {
    fn compact_adamw(
        grad: FloatTensor<Self>,
        mut state: CompactPrimitive<Self>,
        step: CompactStep,
    ) -> CompactPrimitive<Self> {
        let grad = grad.to_contiguous();
        let Some(grads) = grad.as_slice::<f32>() else {
            panic!("a gradient in {:?} where F32 is expected", grad.dtype());
        };
        let CompactPrimitive {
            weight,
            remainder,
            codes_1,
            scales_1,
            codes_2,
            scales_2,
        } = &mut state;
        let weights = match step.format.masters {
            Masters::F32 => Weights::F32(elements(weight)),
            masters => {
                let remainder = match remainder.dtype() {
                    DType::U16 => Remainder::U16(elements(remainder)),
                    _ if masters == Masters::Split24 => Remainder::U8(elements(remainder)),
                    _ => Remainder::None,
                };
                Weights::bf16(masters, elements(weight), remainder, step.seed)
            }
        };
        let (first, second) = match step.format.moments {
            Moments::F32 => (
                Moment::F32(elements(scales_1)),
                Moment::F32(elements(scales_2)),
            ),
            Moments::Companded8 => (
                Moment::Companded(elements(codes_1), elements(scales_1)),
                Moment::Root(elements(codes_2), elements(scales_2)),
            ),
        };
        let tasks = tasks(weights, first, second, grads);
        tasks
            .into_par_iter()
            .for_each(|task| dispatch(Update { task, step }));
        state
    }
}

/// The elements, copied before if others see them.
///
/// # Panics
/// If the storage has other elements besides, or they have another type.
fn elements<T: Element + Pod>(tensor: &mut FlexTensor) -> &mut [T] {
    let n = tensor.layout().shape().num_elements();
    if tensor.layout().contiguous_offsets() != Some((0, n)) || tensor.storage::<T>().len() != n {
        *tensor = tensor.to_contiguous();
    }
    tensor.storage_mut()
}

/// Groups one after the other.
struct Task<'a> {
    weights: Weights<'a>,
    first: Moment<'a>,
    second: Moment<'a>,
    grads: &'a [f32],
}

fn tasks<'a>(
    mut weights: Weights<'a>,
    mut first: Moment<'a>,
    mut second: Moment<'a>,
    grads: &'a [f32],
) -> Vec<Task<'a>> {
    let chunks = grads.chunks(TASK);
    let tasks = chunks.map(|grads| {
        let n = grads.len();
        // What stays behind stands for what is taken meanwhile.
        let nothing = || Moment::F32(&mut []);
        let (part, rest) = std::mem::replace(&mut weights, Weights::F32(&mut [])).split_at(n);
        weights = rest;
        let (part_1, rest) = std::mem::replace(&mut first, nothing()).split_at(n);
        first = rest;
        let (part_2, rest) = std::mem::replace(&mut second, nothing()).split_at(n);
        second = rest;
        Task {
            weights: part,
            first: part_1,
            second: part_2,
            grads,
        }
    });
    tasks.collect()
}

struct Update<'a> {
    task: Task<'a>,
    step: CompactStep,
}

impl Kernel for Update<'_> {
    type Output = ();
    const WIDE: bool = true;

    /// The order of operations is that of [`AdamW`](burn::optim::AdamW), each rounded by itself.
    #[inline(always)]
    fn run(mut self) {
        let n = self.task.grads.len();
        let n_whole = n - n % MOMENT_GROUP;
        for start in (0..n_whole).step_by(MOMENT_GROUP) {
            // The same with a length that the compiler knows.
            self.group(start, MOMENT_GROUP);
        }
        if n_whole < n {
            self.group(n_whole, n - n_whole);
        }
    }
}

impl Update<'_> {
    #[inline(always)]
    fn group(&mut self, start: usize, n: usize) {
        let CompactStep {
            factors,
            coefficient,
            ..
        } = self.step;
        let (rest_1, rest_2) = (1.0 - factors.beta_1, 1.0 - factors.beta_2);
        let kept = factors.decay.unwrap_or(1.0);
        let (mut w, mut m, mut v): (Group, Group, Group) = (
            [0.0; MOMENT_GROUP],
            [0.0; MOMENT_GROUP],
            [0.0; MOMENT_GROUP],
        );
        let task = &mut self.task;
        task.weights.load(start, n, &mut w);
        task.first.load(start, n, &mut m);
        task.second.load(start, n, &mut v);
        let grads = &task.grads[start..][..n];
        let moments = m.iter_mut().zip(&mut v);
        for ((w, (m, v)), grad) in w.iter_mut().zip(moments).zip(grads) {
            let g = grad * coefficient;
            *m = *m * factors.beta_1 + g * rest_1;
            *v = *v * factors.beta_2 + g * g * rest_2;
            let root = (*v / factors.bias_2).sqrt() + factors.epsilon;
            let delta = *m / factors.bias_1 / root;
            *w = *w * kept - delta * factors.learning_rate;
        }
        task.weights.store(start, n, &w);
        task.first.store(start, n, &m);
        task.second.store(start, n, &v);
    }
}
