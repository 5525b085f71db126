//! Tensors of floats.

use std::ops::Range;

use safetensors::Dtype;

use super::rows::rows_of;
use super::{Encoder, PIECE, Sink};
use crate::checkpoint::convert::Element;
use crate::checkpoint::dialect::projection::Rows;
use crate::checkpoint::elements::{bytes_of_bf16, decode, encode_bf16, first_overflow};
use crate::error::GptOssError;

impl Encoder<'_> {
    /// A tensor that no form packs.
    pub(super) fn dense(
        &mut self,
        name: &str,
        element: Element,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        let raw = self.source.raw(name)?;
        if element == Element::Safetensors(raw.dtype) {
            return self.copied(name, raw.dtype, &raw.bytes, 0, sink);
        }
        if element != Element::Safetensors(Dtype::F32) {
            self.rounded.push(name.to_owned());
        }
        for piece in raw.bytes.chunks(PIECE) {
            sink(&self.floats(name, raw.dtype, piece, element)?)?;
        }
        Ok(())
    }

    /// Bytes as they are, all of them finite; `start` is the index of the first element.
    fn copied(
        &self,
        name: &str,
        dtype: Dtype,
        bytes: &[u8],
        start: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        for (i, piece) in bytes.chunks(PIECE).enumerate() {
            if dtype == Dtype::BF16 {
                self.check_bf16(name, piece, start + i * PIECE / 2)?;
            }
            sink(piece)?;
        }
        Ok(())
    }

    /// Floats of one type as those of another.
    fn floats(
        &self,
        name: &str,
        dtype: Dtype,
        bytes: &[u8],
        element: Element,
    ) -> Result<Vec<u8>, GptOssError> {
        let values = decode::<f32>(dtype, bytes).ok_or_else(|| self.no_float(name, dtype))?;
        if element == Element::Safetensors(Dtype::F32) {
            return Ok(values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect());
        }
        match first_overflow(&values) {
            None => Ok(encode_bf16(&values)),
            Some(index) => Err(GptOssError::NonFinite {
                tensor: name.to_owned(),
                index,
                value: values[index],
            }),
        }
    }

    pub(super) fn biases(
        &mut self,
        name: &str,
        (rows, expert): (Rows, Option<usize>),
        element: Element,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        let dtype = self.source.dtype_of(name)?;
        let experts = self.source.shape_of(name)?[0];
        let experts = expert.map_or(0..experts, |expert| expert..expert + 1);
        for expert in experts {
            let bytes = self.source.raw_of(name, expert..expert + 1)?;
            let bytes = rows_of(&bytes, dtype.bitsize() / 8, rows);
            match element == Element::Safetensors(dtype) {
                true => self.copied(name, dtype, &bytes, 0, sink)?,
                false => sink(&self.floats(name, dtype, &bytes, element)?)?,
            }
        }
        Ok(())
    }

    /// Dense experts in BF16.
    pub(super) fn dense_experts(
        &mut self,
        index: usize,
        experts: Range<usize>,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        let spec = self.spec(index);
        if self.source.is_packed(spec) {
            let values = self.decoded_bf16(spec, experts)?;
            let bytes = bytes_of_bf16(&values);
            return bytes.chunks(PIECE).try_for_each(sink);
        }
        let (name, bf16) = (&spec.name, Element::Safetensors(Dtype::BF16));
        let dtype = self.source.dtype_of(name)?;
        let bytes = self.source.raw_of(name, experts.clone())?;
        if dtype == Dtype::BF16 {
            let start = experts.start * spec.shape[1] * spec.shape[2];
            return self.copied(name, dtype, &bytes, start, sink);
        }
        if experts.start == 0 {
            self.rounded.push(name.clone());
        }
        sink(&self.floats(name, dtype, &bytes, bf16)?)
    }

    /// Fails at bytes in BF16 that are no finite numbers; `start` is the first element's index.
    fn check_bf16(&self, name: &str, bytes: &[u8], start: usize) -> Result<(), GptOssError> {
        let words = bytes.as_chunks::<2>().0;
        let is_broken = |word: &[u8; 2]| u16::from_le_bytes(*word) & 0x7f80 == 0x7f80;
        // A fold vectorizes, a search does not.
        if !words.iter().fold(false, |any, word| any | is_broken(word)) {
            return Ok(());
        }
        let at = words.iter().position(is_broken).unwrap_or(0);
        Err(GptOssError::NonFiniteWeight {
            path: self.source.file_of(name),
            tensor: name.to_owned(),
            row: vec![start + at],
            value: half::bf16::from_le_bytes(words[at]).to_f32(),
        })
    }
}
