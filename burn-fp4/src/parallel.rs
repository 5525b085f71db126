//! Tasks on the threads of `rayon`, split up by code that exists once.
//!
//! A parallel iterator of `rayon` is compiled anew for each kind of item and task. Codecs are generic in element
//! type, format and block size: their iterators were nearly half of what the compiler made of this crate.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

/// Runs `task` for each item, in any order. Items should be worth a task: some ten thousand elements.
pub(crate) fn for_each<I: Send>(items: impl Iterator<Item = I>, task: impl Fn(I) + Sync) {
    map(items, task);
}

/// The results of `task` in the order of the items, whichever was done first.
pub(crate) fn map<I: Send, T: Send>(
    items: impl Iterator<Item = I>,
    task: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let slots: Vec<_> = items.map(|item| Mutex::new(Slot::Item(item))).collect();
    run(slots.len(), &|index| {
        // One task has each slot, and the lock is free while it runs.
        let slot = &slots[index];
        if let Slot::Item(item) = replace(slot, Slot::Taken) {
            replace(slot, Slot::Done(task(item)));
        }
    });
    let slots = slots.into_iter();
    let slots = slots.map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    let results = slots.filter_map(|slot| match slot {
        Slot::Done(result) => Some(result),
        Slot::Item(_) | Slot::Taken => None,
    });
    results.collect()
}

enum Slot<I, T> {
    Item(I),
    Taken,
    Done(T),
}

fn replace<I, T>(slot: &Mutex<Slot<I, T>>, with: Slot<I, T>) -> Slot<I, T> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut slot, with)
}

/// Not generic: this is all that `rayon` is compiled for.
fn run(n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    match n_tasks {
        1 => task(0),
        _ => (0..n_tasks).into_par_iter().for_each(task),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for n in [0, 1, 2, 1000] {
            let squares = map(0..n, |i: usize| i * i);
            assert_eq!(squares, (0..n).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn tasks_write_into_their_own_parts() {
        let mut out = vec![0; 1001];
        for_each(out.chunks_mut(10).enumerate(), |(i, part)| part.fill(i));
        assert!(out.iter().enumerate().all(|(i, &part)| part == i / 10));
    }
}
