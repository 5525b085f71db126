//! The bandwidth of reading, the roof of all that is measured.

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::candidates::Candidate;
use crate::weights::Weights;

/// Reads all codes, in as many parts as there are threads.
pub fn candidate<'a>(weights: &'a Weights, pool: &'a ThreadPool) -> Candidate<'a> {
    let [codes, _] = weights.parts();
    let part = codes.len().div_ceil(pool.current_num_threads());
    Candidate {
        name: "read".into(),
        n_bytes: codes.len(),
        run: Box::new(move || {
            pool.install(|| {
                codes.par_chunks(part).for_each(|part| {
                    std::hint::black_box(folded(part));
                });
            });
        }),
    }
}

/// All bytes in one; registers enough for any processor.
fn folded(bytes: &[u8]) -> [u64; 32] {
    let mut lanes = [0; 32];
    for chunk in bytes.as_chunks::<256>().0 {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *lane ^= u64::from_le_bytes(*word);
        }
    }
    lanes
}
