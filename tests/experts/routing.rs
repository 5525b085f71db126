//! The order of the rows.

use burn::tensor::{DType, Device, Int, Tensor};
use burn_fp4::expert_routing;

use crate::case::cases;

fn integers(tensor: Tensor<1, Int>) -> Vec<usize> {
    tensor
        .into_data()
        .iter::<i64>()
        .map(|value| value as usize)
        .collect()
}

#[test]
fn choices_are_sorted_stably_by_expert() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        for case in cases() {
            for dtype in [DType::I32, DType::I64, DType::U8] {
                let indices = case.indices(&device, dtype);
                let routing = expert_routing(indices, case.experts);
                assert_eq!(integers(routing.order()), case.order(), "{}", case.name);
                let below = |expert: usize| {
                    case.chosen
                        .iter()
                        .filter(|&&chosen| (chosen as usize) < expert)
                        .count()
                };
                let offsets: Vec<_> = (0..=case.experts).map(below).collect();
                assert_eq!(integers(routing.offsets()), offsets, "{}", case.name);
            }
        }
    }
}

#[test]
fn transposed_indices_are_read_in_their_order() {
    let device = Device::flex();
    let indices: Tensor<2, Int> = Tensor::from_data([[2, 0, 1], [1, 2, 0]], &device);
    let routing = expert_routing(indices.swap_dims(0, 1), 3);
    // [[2, 1], [0, 2], [1, 0]]
    assert_eq!(integers(routing.order()), [2, 5, 1, 4, 0, 3]);
}

#[test]
#[should_panic(expected = "expert 3 of 3")]
fn experts_that_do_not_exist_are_refused() {
    let indices: Tensor<2, Int> = Tensor::from_data([[0, 3]], &Device::flex());
    expert_routing(indices, 3);
}
