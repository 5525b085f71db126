/// What becomes of activations in products with packed matrices, where a backend offers the choice; the
/// others compute exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PackedProductMode {
    /// They stay `f32`.
    #[default]
    Exact,
    /// Where rows are few, they are rounded to eight bits in blocks of 8; see
    /// [`ProductRows::int8_blocks`](crate::ProductRows::int8_blocks).
    Int8,
}
