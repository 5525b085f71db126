//! Packed matrices in another format.

use burn_fp4::{Fp4Error, Fp4Scheme, PackedFp4, SliceQuantizer};
use rayon::prelude::*;

/// Elements that are decoded and rounded at once: they stay in a second-level cache.
const ELEMENTS: usize = 1 << 16;

/// The values, `[.., rows, len]`, rounded to MXFP4: the bytes that all of them at once would become, since no scale reaches
/// beyond a row.
pub(super) fn to_mxfp4<S: AsRef<[u8]> + Sync>(
    packed: &PackedFp4<S>,
    scheme: Fp4Scheme,
) -> Result<PackedFp4, Fp4Error> {
    let shape = packed.shape().to_vec();
    let (leading, [rows, len]) = match shape[..] {
        [leading, rows, len] => (leading, [rows, len]),
        _ => {
            return SliceQuantizer::new(scheme).quantize(
                &packed.dequantize(),
                &shape,
                shape.len() - 1,
            );
        }
    };
    let block_size = packed.scheme().block_size();
    let n_rows = (ELEMENTS / len.max(1)).max(1);
    let starts = |matrix| (0..rows).step_by(n_rows).map(move |row| (matrix, row));
    let tiles: Vec<(usize, usize)> = (0..leading).flat_map(starts).collect();
    let round = |(matrix, row): (usize, usize)| {
        let n_rows = n_rows.min(rows - row);
        let part = |bytes: &[u8], per_row: usize| {
            let start = (matrix * rows + row) * per_row;
            bytes[start..start + n_rows * per_row].to_vec()
        };
        let globals = packed.global_scales();
        let global = globals.get(matrix).or(globals.first());
        let tile = PackedFp4::from_parts_with_global(
            packed.scheme(),
            vec![1, n_rows, len],
            part(packed.codes(), len / 2),
            part(packed.scales(), len / block_size),
            global.copied().into_iter().collect(),
        )?;
        let rounded = SliceQuantizer::new(scheme).quantize(&tile.dequantize(), &[n_rows, len], 1);
        rounded.map_err(|error| match error {
            Fp4Error::NonFinite { index, value } => Fp4Error::NonFinite {
                index: (matrix * rows + row) * len + index,
                value,
            },
            other => other,
        })
    };
    let tiles: Vec<_> = tiles.into_par_iter().map(round).collect();
    // The first error, whichever tile was done first.
    let tiles = tiles.into_iter().collect::<Result<Vec<PackedFp4>, _>>()?;
    let all = |bytes: fn(&PackedFp4) -> &[u8]| tiles.iter().map(bytes).collect::<Vec<_>>().concat();
    PackedFp4::from_parts(scheme, shape, all(PackedFp4::codes), all(PackedFp4::scales))
}

#[cfg(test)]
mod tests {
    use burn_fp4::{GlobalScope, ScaleRule};

    use super::*;

    #[test]
    fn rows_by_rows_gives_the_bytes_of_all_at_once() {
        let shape = [3, 700, 96];
        let n = shape.iter().product::<usize>();
        let value =
            |i: usize| ((i * 7919 % 1009) as f32 - 500.0) * 1.5f32.powi((i / 67_200) as i32);
        let values: Vec<f32> = (0..n).map(value).collect();
        let mxfp4 = Fp4Scheme::mxfp4_with(ScaleRule::Ceil);
        for scope in [GlobalScope::Tensor, GlobalScope::Expert] {
            let nvfp4 = Fp4Scheme::nvfp4().with_global_scope(scope);
            let packed = SliceQuantizer::new(nvfp4)
                .quantize(&values, &shape, 2)
                .unwrap();
            let expected = SliceQuantizer::new(mxfp4).quantize(&packed.dequantize(), &shape, 2);
            let found = to_mxfp4(&packed, mxfp4).unwrap();
            assert!(found.has_bytes_of(&expected.unwrap()));
        }
    }
}
