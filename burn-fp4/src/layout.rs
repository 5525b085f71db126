//! Shapes of packed tensors in file formats. Byte layouts only, no file access.

pub mod gpt_oss;
