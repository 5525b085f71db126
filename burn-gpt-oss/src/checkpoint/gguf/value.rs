//! Values of keys, with the types that the file gives them.

use super::source::Source;

/// A value of a GGUF file. Readers of these files do not convert: a number of another type is another value.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An unsigned number of 8 bits.
    U8(u8),
    /// A signed number of 8 bits.
    I8(i8),
    /// An unsigned number of 16 bits.
    U16(u16),
    /// A signed number of 16 bits.
    I16(i16),
    /// An unsigned number of 32 bits.
    U32(u32),
    /// A signed number of 32 bits.
    I32(i32),
    /// A float of 32 bits.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// A text in UTF-8.
    Text(String),
    /// A list of values of one type.
    Array(Vec<GgufValue>),
    /// An unsigned number of 64 bits.
    U64(u64),
    /// A signed number of 64 bits.
    I64(i64),
    /// A float of 64 bits.
    F64(f64),
}

/// Elements of a list: five vocabularies of gpt-oss.
const MAX_ELEMENTS: usize = 1 << 20;

/// The numbers of types that are no numbers.
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl GgufValue {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn u32(number: usize) -> Self {
        Self::U32(u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(super) fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::Array(texts.into_iter().map(Self::Text).collect())
    }

    /// Appends type and value.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.kind().to_le_bytes());
        self.put_value(bytes);
    }

    fn put_value(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::U8(value) => bytes.push(*value),
            Self::I8(value) => bytes.extend(value.to_le_bytes()),
            Self::U16(value) => bytes.extend(value.to_le_bytes()),
            Self::I16(value) => bytes.extend(value.to_le_bytes()),
            Self::U32(value) => bytes.extend(value.to_le_bytes()),
            Self::I32(value) => bytes.extend(value.to_le_bytes()),
            Self::F32(value) => bytes.extend(value.to_le_bytes()),
            Self::U64(value) => bytes.extend(value.to_le_bytes()),
            Self::I64(value) => bytes.extend(value.to_le_bytes()),
            Self::F64(value) => bytes.extend(value.to_le_bytes()),
            Self::Bool(value) => bytes.push(u8::from(*value)),
            Self::Text(value) => put_string(bytes, value),
            Self::Array(values) => {
                // An empty list has some type, too.
                let kind = values.first().map_or(STRING, Self::kind);
                bytes.extend(kind.to_le_bytes());
                bytes.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| value.put_value(bytes));
            }
        }
    }

    /// The number of its type (`gguf.md`).
    pub fn kind(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => BOOL,
            Self::Text(_) => STRING,
            Self::Array(_) => ARRAY,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// Reads a value of a type.
    pub(super) fn read(source: &mut Source, kind: u32) -> Result<Self, String> {
        Ok(match kind {
            0 => Self::U8(source.bytes::<1>()?[0]),
            1 => Self::I8(i8::from_le_bytes(source.bytes()?)),
            2 => Self::U16(u16::from_le_bytes(source.bytes()?)),
            3 => Self::I16(i16::from_le_bytes(source.bytes()?)),
            4 => Self::U32(u32::from_le_bytes(source.bytes()?)),
            5 => Self::I32(i32::from_le_bytes(source.bytes()?)),
            6 => Self::F32(f32::from_le_bytes(source.bytes()?)),
            BOOL => match source.bytes::<1>()? {
                [0] => Self::Bool(false),
                [1] => Self::Bool(true),
                [other] => return Err(format!("a truth value is {other}, expected 0 or 1")),
            },
            STRING => Self::Text(source.string()?),
            ARRAY => Self::Array(Self::read_array(source)?),
            10 => Self::U64(u64::from_le_bytes(source.bytes()?)),
            11 => Self::I64(i64::from_le_bytes(source.bytes()?)),
            12 => Self::F64(f64::from_le_bytes(source.bytes()?)),
            other => {
                return Err(format!(
                    "a value has type {other}, of which there are 0 to 12"
                ));
            }
        })
    }

    fn read_array(source: &mut Source) -> Result<Vec<Self>, String> {
        let kind = u32::from_le_bytes(source.bytes()?);
        if kind == ARRAY {
            return Err("a list of lists, which llama.cpp refuses".into());
        }
        // Every element takes a byte at least.
        let len = source.count("elements of a list", 1)?;
        if len > MAX_ELEMENTS {
            return Err(format!(
                "a list of {len} elements, more than the {MAX_ELEMENTS} that are read"
            ));
        }
        (0..len).map(|_| Self::read(source, kind)).collect()
    }
}

/// Length and bytes.
pub(super) fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
