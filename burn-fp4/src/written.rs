//! Memory that is written once.
#![allow(unsafe_code)]

use bytemuck::Pod;

/// As many elements, as `write` sets them. They are not set to zero before, which takes as long for a large tensor as
/// writing it does, and one thread alone.
///
/// With debug assertions they are all NaN, or -1, before.
///
/// # Safety
/// `write` must set every element, and must not read one that it has not set.
#[cfg(feature = "flex")]
pub unsafe fn written<T: Pod>(len: usize, write: impl FnOnce(&mut [T])) -> Vec<T> {
    let write = |out: &mut [T]| {
        write(out);
        Ok::<(), core::convert::Infallible>(())
    };
    // SAFETY: the caller promises the same.
    match unsafe { try_written(len, write) } {
        Ok(values) => values,
        Err(never) => match never {},
    }
}

/// [`written`] where `write` may fail; there are no elements then.
///
/// # Errors
/// That of `write`.
///
/// # Safety
/// `write` must set every element unless it fails, and must not read one that it has not set.
pub(crate) unsafe fn try_written<T: Pod, E>(
    len: usize,
    write: impl FnOnce(&mut [T]) -> Result<(), E>,
) -> Result<Vec<T>, E> {
    let mut values = Vec::<T>::with_capacity(len);
    let memory = values.as_mut_ptr();
    if cfg!(debug_assertions) {
        // SAFETY: there is room for `len` elements.
        unsafe { memory.write_bytes(0xff, len) };
    }
    // SAFETY: there is room for `len` elements, which nothing else refers to, and which `write` sets before it reads
    // them. Any bytes are an element.
    write(unsafe { core::slice::from_raw_parts_mut(memory, len) })?;
    // SAFETY: `write` has set them all.
    unsafe { values.set_len(len) };
    Ok(values)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn elements_are_those_that_were_set() {
        // SAFETY: all elements are set.
        let values = unsafe { written(1000, |out: &mut [f32]| out.fill(2.0)) };
        assert_eq!(values, vec![2.0; 1000]);
        // SAFETY: there are none.
        assert!(unsafe { written::<u8>(0, |_| ()) }.is_empty());
    }

    #[test]
    fn nothing_is_left_of_a_failure() {
        // SAFETY: it fails.
        let failed = unsafe { try_written(8, |_: &mut [f32]| Err("no")) };
        assert_eq!(failed, Err("no"));
    }

    /// So that a test whose operation leaves one out fails.
    #[test]
    #[cfg(debug_assertions)]
    fn what_is_left_out_is_nan_in_tests() {
        // SAFETY: with debug assertions, all elements are set before.
        let values = unsafe { written(3, |out: &mut [f32]| out[1] = 1.0) };
        assert!(values[0].is_nan() && values[2].is_nan());
    }
}
