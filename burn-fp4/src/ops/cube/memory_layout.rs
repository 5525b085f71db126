//! How blocks lie in the memory of a strided tensor.

/// Where the elements of a tensor are, as kernels visit them; all numbers count elements.
///
/// Strides that a runtime adds to align rows, and axes in another order than in memory, need no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockLayout {
    /// The elements of a block are neighbours: rows of `len` elements, `pitch` apart.
    Rows {
        n_rows: usize,
        len: usize,
        pitch: usize,
    },
    /// The elements of a block are `stride` apart, and neighbouring elements belong to neighbouring
    /// blocks: `outer` slabs, `slab` apart, of `len` layers with `width * height` elements each, in
    /// `height` lines that are `pitch` apart.
    Columns {
        outer: usize,
        slab: usize,
        len: usize,
        stride: usize,
        height: usize,
        pitch: usize,
        width: usize,
    },
}

impl BlockLayout {
    /// Whether vectors of so many elements start where lines do. The last one of a line may reach into
    /// the gap behind it.
    pub fn fits(&self, elements: usize) -> bool {
        let whole = |n: usize| n.is_multiple_of(elements);
        match *self {
            Self::Rows { len, pitch, .. } => whole(len) && whole(pitch),
            Self::Columns {
                slab,
                stride,
                height,
                pitch,
                width,
                ..
            } => {
                let line = if height == 1 { stride } else { pitch };
                let reach = width.next_multiple_of(elements);
                whole(slab) && whole(stride) && whole(line) && reach <= line
            }
        }
    }
}

/// The layout of the blocks, and what else depends on the order of the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryLayout {
    pub blocks: BlockLayout,
    /// Whether the axes other than that of the blocks are in memory in their order.
    pub in_order: bool,
    /// Elements that the tensor spans in memory.
    pub span: usize,
}

/// An axis: its length and how far its elements are apart.
type Axis = (usize, usize);

impl MemoryLayout {
    /// The layout of a tensor with blocks along `axis`; none if it overlaps itself, its innermost
    /// elements are no neighbours, or gaps are in too many places.
    pub fn new(shape: &[usize], strides: &[usize], axis: usize) -> Option<Self> {
        let axes: Vec<Axis> = shape.iter().copied().zip(strides.iter().copied()).collect();
        let block = axes[axis];
        let mut others: Vec<Axis> = axes.clone();
        others.remove(axis);
        others.retain(|&(len, _)| len != 1);
        let in_order = others.is_sorted_by(|a, b| a.1 >= b.1);
        others.sort_by_key(|&(_, stride)| core::cmp::Reverse(stride));

        let mut all = others.clone();
        all.push(block);
        all.sort_by_key(|&(_, stride)| core::cmp::Reverse(stride));
        let apart = |pair: &[Axis]| pair[0].1 >= pair[1].0 * pair[1].1;
        if !all.windows(2).all(apart) || all.last()?.1 != 1 {
            return None;
        }
        let span = all
            .iter()
            .map(|(len, stride)| (len - 1) * stride)
            .sum::<usize>()
            + 1;
        let blocks = if block.1 == 1 {
            Self::rows(&others, block)?
        } else {
            Self::columns(&others, block)?
        };
        Some(Self {
            blocks,
            in_order,
            span,
        })
    }

    fn rows(others: &[Axis], (len, _): Axis) -> Option<BlockLayout> {
        let (n_rows, pitch) = merge(others, len)?;
        Some(BlockLayout::Rows { n_rows, len, pitch })
    }

    fn columns(others: &[Axis], (len, stride): Axis) -> Option<BlockLayout> {
        let inner = others.partition_point(|&(_, other)| other > stride);
        let (outer, slab) = merge(&others[..inner], len * stride)?;
        let (lines, width) = match others[inner..].split_last() {
            // As many axes as are without gaps make up a line.
            Some((&(width, 1), rest)) => extend(rest, width),
            _ => return None,
        };
        let (height, pitch) = merge(lines, width)?;
        Some(BlockLayout::Columns {
            outer,
            slab,
            len,
            stride,
            height,
            pitch,
            width,
        })
    }
}

/// One axis in place of several, outermost first; `default` is the stride of an axis of length one.
fn merge(axes: &[Axis], default: usize) -> Option<Axis> {
    let seamless = |pair: &[Axis]| pair[0].1 == pair[1].0 * pair[1].1;
    if !axes.windows(2).all(seamless) {
        return None;
    }
    let len = axes.iter().map(|&(len, _)| len).product();
    Some((len, axes.last().map_or(default, |&(_, stride)| stride)))
}

/// Takes the axes off the end of `axes` that continue a line of `width` elements without a gap.
fn extend(mut axes: &[Axis], mut width: usize) -> (&[Axis], usize) {
    while let Some((&(len, stride), rest)) = axes.split_last() {
        if stride != width {
            break;
        }
        (axes, width) = (rest, width * len);
    }
    (axes, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n_rows: usize, len: usize, pitch: usize) -> BlockLayout {
        BlockLayout::Rows { n_rows, len, pitch }
    }

    fn columns([outer, slab, len, stride, height, pitch, width]: [usize; 7]) -> BlockLayout {
        BlockLayout::Columns {
            outer,
            slab,
            len,
            stride,
            height,
            pitch,
            width,
        }
    }

    fn blocks(shape: &[usize], strides: &[usize], axis: usize) -> Option<BlockLayout> {
        MemoryLayout::new(shape, strides, axis).map(|layout| layout.blocks)
    }

    #[test]
    fn contiguous_tensors() {
        let strides = [64 * 10, 10, 1];
        assert_eq!(
            blocks(&[3, 64, 10], &strides, 1),
            Some(columns([3, 640, 64, 10, 1, 10, 10]))
        );
        assert_eq!(
            blocks(&[32, 64, 10], &strides, 0),
            Some(columns([1, 32 * 640, 32, 640, 1, 640, 640]))
        );
        assert_eq!(
            blocks(&[3, 10, 64], &[640, 64, 1], 2),
            Some(rows(30, 64, 64))
        );
        assert_eq!(blocks(&[64], &[1], 0), Some(rows(1, 64, 64)));
        assert_eq!(blocks(&[64, 1], &[1, 1], 0), Some(rows(1, 64, 64)));
    }

    #[test]
    fn aligned_rows() {
        let strides = [64 * 16, 16, 1];
        assert_eq!(
            blocks(&[3, 64, 10], &strides, 1),
            Some(columns([3, 1024, 64, 16, 1, 10, 10]))
        );
        assert_eq!(
            blocks(&[32, 64, 10], &strides, 0),
            Some(columns([1, 32 * 1024, 32, 1024, 64, 16, 10]))
        );
        assert_eq!(
            blocks(&[3, 4, 64], &[4 * 80, 80, 1], 2),
            Some(rows(12, 64, 80))
        );
    }

    #[test]
    fn axes_in_another_order() {
        // [3, 10, 64] in memory, seen as [3, 64, 10].
        let layout = MemoryLayout::new(&[3, 64, 10], &[640, 1, 64], 1).unwrap();
        assert_eq!(
            (layout.blocks, layout.in_order, layout.span),
            (rows(30, 64, 64), true, 1920)
        );
        // [10, 3, 64] in memory, seen as [3, 10, 64].
        let layout = MemoryLayout::new(&[3, 10, 64], &[64, 192, 1], 2).unwrap();
        assert_eq!((layout.blocks, layout.in_order), (rows(30, 64, 64), false));
    }

    #[test]
    fn vectors_end_with_a_line_or_in_its_gap() {
        assert!(rows(3, 64, 72).fits(8) && !rows(3, 64, 72).fits(16));
        assert!(!columns([1, 224, 32, 7, 1, 7, 7]).fits(2));
        assert!(columns([1, 256, 32, 8, 1, 7, 7]).fits(8));
        assert!(columns([1, 320, 32, 10, 1, 10, 10]).fits(2));
        assert!(!columns([1, 320, 32, 10, 1, 10, 10]).fits(4));
        assert!(columns([2, 4096, 32, 128, 8, 16, 10]).fits(8));
    }

    #[test]
    fn refused() {
        // A broadcast, every second element, gaps between groups of rows.
        assert_eq!(blocks(&[3, 64], &[0, 1], 1), None);
        assert_eq!(blocks(&[3, 64], &[128, 2], 1), None);
        assert_eq!(blocks(&[3, 4, 64], &[1000, 64, 1], 2), None);
        assert_eq!(blocks(&[3, 64, 3, 5], &[9999, 150, 30, 2], 1), None);
    }
}
