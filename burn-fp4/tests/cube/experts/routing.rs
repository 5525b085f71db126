//! The order of the rows, which is the same on every backend.

use burn::backend::Flex;
use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use burn_fp4::backend::ExpertBackend;

use super::case::{small, wide};
use super::check::routes;
use kernel_harness::runtimes::{read, runtimes};

fn integers(data: &TensorData) -> Vec<i32> {
    assert_eq!(data.dtype(), DType::I32);
    data.iter::<i32>().collect()
}

#[test]
fn choices_are_sorted_as_on_the_cpu() {
    for runtime in runtimes() {
        for case in small().into_iter().chain(wide()) {
            let found = routes(&runtime, &case);
            let shape = [case.n_tokens(), case.top_k];
            let indices = FlexTensor::from_data(TensorData::new(case.chosen.clone(), shape));
            let wanted = Flex::expert_routing(indices, case.n_experts);
            let what = format!("{}: {}", runtime.name, case.name);
            assert_eq!(found.top_k, wanted.top_k, "{what}");
            let pairs = [(found.order, wanted.order), (found.offsets, wanted.offsets)];
            for (found, wanted) in pairs {
                let (found, wanted) = (read(found), wanted.into_data());
                assert_eq!(integers(&found), integers(&wanted), "{what}");
            }
        }
    }
}

/// No index leads beyond a buffer.
#[test]
fn experts_that_do_not_exist_are_the_last_one() {
    for runtime in runtimes() {
        let indices = TensorData::new(vec![7, -1, 1, i32::MIN, 0, i32::MAX], [3, 2]);
        let found = CubeBackend::expert_routing(runtime.tensor(indices), 3);
        assert_eq!(integers(&read(found.offsets)), [0, 1, 2, 6]);
        assert_eq!(integers(&read(found.order)), [4, 2, 0, 1, 3, 5]);
    }
}
