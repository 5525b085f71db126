//! What can be wrong with data handed to this crate.

use crate::scheme::Fp4Scheme;

/// Errors of the crate: values, shapes, bytes and modules that do not fit.
///
/// Every message names what was found and what would be accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fp4Error {
    /// A slice does not have as many elements as its shape says.
    #[error("{what} has {found} elements, but shape {shape:?} needs {expected}")]
    Length {
        /// Which slice, for instance `values` or `out`.
        what: &'static str,
        /// The shape that was given.
        shape: Vec<usize>,
        /// Number of elements of that shape.
        expected: usize,
        /// Number of elements of the slice.
        found: usize,
    },

    /// The block axis does not exist.
    #[error("block axis {axis} does not exist in shape {shape:?}; axes count from 0")]
    Axis {
        /// The axis asked for.
        axis: usize,
        /// The shape that was given.
        shape: Vec<usize>,
    },

    /// The length of the block axis is not a multiple of the block size.
    #[error(
        "axis {axis} has length {length}, which is not a multiple of the block size {block_size}; \
         choose an axis whose length is, pad it, or leave this tensor unquantized"
    )]
    BlockSize {
        /// The block axis.
        axis: usize,
        /// Its length in elements.
        length: usize,
        /// Elements per block.
        block_size: usize,
    },

    /// The number of elements of a shape does not fit into `usize`.
    #[error("shape {shape:?} has more elements than this machine can address")]
    Overflow {
        /// The shape that was given.
        shape: Vec<usize>,
    },

    /// A value to be packed is infinite or NaN, for which FP4 has no code.
    #[error(
        "value {value} at flat index {index} is not finite and has no FP4 code; \
         find where it comes from before packing"
    )]
    NonFinite {
        /// Position in the slice that was given, the first one found.
        index: usize,
        /// The value there.
        value: f32,
    },

    /// The codes of a packed tensor have the wrong number of bytes.
    #[error("{found} bytes of codes, but shape {shape:?} needs {expected}: two elements per byte")]
    CodesLength {
        /// Shape of the elements.
        shape: Vec<usize>,
        /// Bytes that shape needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },

    /// The scales of a packed tensor have the wrong number of bytes.
    #[error(
        "{found} bytes of scales, but shape {shape:?} needs {expected}: one for every {block_size} \
         elements"
    )]
    ScalesLength {
        /// Shape of the elements.
        shape: Vec<usize>,
        /// Bytes that shape needs.
        expected: usize,
        /// Bytes given.
        found: usize,
        /// Elements per block.
        block_size: usize,
    },

    /// NVFP4 in a block size that nothing computes with.
    #[error(
        "NVFP4 blocks of {found} elements are not offered: hardware and runtimes use 16, ModelOpt \
         also knows 32 (`Fp4Scheme::nvfp4_block32`)"
    )]
    Nvfp4BlockSize {
        /// The block size asked for.
        found: usize,
    },

    /// The wrong number of global scales, or of magnitudes to make them from.
    #[error("{found} global scales or magnitudes, but this scheme and shape need {expected}")]
    GlobalScales {
        /// How many the scheme needs for the shape.
        expected: usize,
        /// How many were given.
        found: usize,
    },

    /// A frozen largest magnitude that is negative, infinite or NaN.
    #[error("global amax {value} is not a finite number >= 0; calibrate again")]
    GlobalAmax {
        /// The magnitude given.
        value: f32,
    },

    /// Blocks along the leading axis, which also tells the experts apart.
    #[error(
        "blocks cannot run along axis 0 when every index of it has its own global scale; choose \
         another axis or one scale per tensor"
    )]
    ExpertAxis,

    /// A tensor in a format that an operation or a layout has no place for.
    #[error("{what} needs {expected}, but this tensor is in {found}")]
    Scheme {
        /// The operation or layout.
        what: &'static str,
        /// What it accepts.
        expected: &'static str,
        /// The format of the tensor.
        found: Fp4Scheme,
    },

    /// A scale byte that is NaN, or in E4M3 negative, where only a positive scale makes sense.
    #[error(
        "scale byte {byte:#04x} of block {index} is not a positive number; the tensor is damaged, \
         make it again from its source"
    )]
    ScaleByte {
        /// Index of the block, row-major, the first one found.
        index: usize,
        /// The byte there.
        byte: u8,
    },

    /// A global scale that a cast cannot have.
    #[error(
        "global scale {global_scale:e} is no power of two that is a normal number, as the cast to NVFP4 needs"
    )]
    CastGlobalScale {
        /// The scale.
        global_scale: f32,
    },

    /// A global scale that the reciprocal of a layout cannot express.
    #[error(
        "global scale {value:e} has no finite, normal reciprocal, which is what compressed-tensors \
         stores; quantize with a frozen amax of at least 1e-34"
    )]
    GlobalScale {
        /// The value given, the first one found.
        value: f32,
    },

    /// The shapes of the tensors of a layout do not belong together.
    #[error(
        "codes {codes:?}, scales {scales:?} and global scales {global_scales:?} do not describe \
         one tensor in the layout {layout}: expected {expected}"
    )]
    LayoutShapes {
        /// The layout.
        layout: &'static str,
        /// The shapes it has.
        expected: &'static str,
        /// Shape of the tensor of codes.
        codes: Vec<usize>,
        /// Shape of the tensor of block scales; empty if the layout has none.
        scales: Vec<usize>,
        /// Shape of the tensor of global scales; empty if there is none, or one without axes.
        global_scales: Vec<usize>,
    },

    /// Two packed tensors that cannot be compared code by code.
    #[error(
        "{expected} of shape {expected_shape:?} cannot be compared with {found} of shape \
         {found_shape:?}: format, block size, shape and number of global scales must be equal"
    )]
    PackedMismatch {
        /// Format of the first one.
        expected: Fp4Scheme,
        /// Shape of the first one.
        expected_shape: Vec<usize>,
        /// Format of the second one.
        found: Fp4Scheme,
        /// Shape of the second one.
        found_shape: Vec<usize>,
    },

    /// A packed tensor of another rank than the tensor type says.
    #[error("shape {shape:?} does not have the {expected} dimensions that were asked for")]
    Rank {
        /// The rank of the type.
        expected: usize,
        /// The shape that was given.
        shape: Vec<usize>,
    },

    /// A percentile outside of `(0, 100]`.
    #[error("percentile {value} is not above 0 and at most 100")]
    Percentile {
        /// The percentage given.
        value: f64,
    },

    /// A scheme of Burn that is neither MXFP4 nor NVFP4.
    #[error("{what} of the Burn scheme is {found}, expected {expected}")]
    QuantScheme {
        /// The part that does not fit.
        what: &'static str,
        /// What would be accepted.
        expected: &'static str,
        /// What was given.
        found: String,
    },

    /// The numbers of a tensor are not of a type that can be quantized.
    #[error("dtype {found} is not one of F32, BF16, F16; cast the module first")]
    ElementType {
        /// The type found.
        found: String,
    },

    /// A weight of a module cannot be quantized.
    #[error("weight `{path}` of shape {shape:?}: {source}")]
    Weight {
        /// Module path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What is wrong with it.
        source: Box<Fp4Error>,
    },

    /// The parameter group chooses no weight.
    #[error(
        "no weight was chosen: the group matches no float parameter with two or more axes; it is \
         matched against module paths such as `layers.0.linear.weight`"
    )]
    NoWeights,

    /// A chosen weight is reparameterized already, and Burn keeps one reparameterization only.
    #[error(
        "weight `{path}` already has the reparameterization `{name}`; materialize the module \
         first, or leave this weight out"
    )]
    Reparameterized {
        /// Module path of the parameter.
        path: String,
        /// Name of the reparameterization.
        name: String,
    },

    /// A weight was trained with another quantizer than it is packed with.
    #[error(
        "weight `{path}` would be packed with other values than its quantizer gives: choose the \
         scheme it was trained with"
    )]
    OtherQuantizer {
        /// Module path of the parameter.
        path: String,
    },

    /// A loaded tensor of a packed weight holds something else than bytes.
    #[error(
        "`{part}` of a packed weight holds {found}, expected bytes; the weight was not changed"
    )]
    PackedPart {
        /// Name of the tensor: `codes`, `scales` or `global_scales`.
        part: &'static str,
        /// What was found.
        found: String,
    },

    /// A tensor cannot be read from its device.
    #[error("reading a tensor failed: {message}")]
    Device {
        /// The message of Burn.
        message: String,
    },
}
