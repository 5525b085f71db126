use crate::GptOssError;
/// stub
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling;
impl Sampling {
    /// stub
    pub fn greedy() -> Self {
        Self
    }
    pub(crate) fn check(&self) -> Result<(), GptOssError> {
        Ok(())
    }
}
pub(crate) struct Sampler;
impl Sampler {
    pub fn new(_: &Sampling, _: u64) -> Self {
        Self
    }
    pub fn choose(&mut self, logits: &mut [f32], _: &[u32]) -> Result<u32, GptOssError> {
        let mut best = 0;
        for (i, x) in logits.iter().enumerate() {
            if *x > logits[best] {
                best = i;
            }
        }
        Ok(best as u32)
    }
}
