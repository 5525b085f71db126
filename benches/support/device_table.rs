//! Measuring on a device in turns with a reference, and the table of results.

use std::time::Instant;

use burn::tensor::{FloatDType, Tensor};
use burn_fp4::Fp4Tensor;

use crate::device::Target;

/// Rounds of a measurement; the median counts.
const ROUNDS: usize = 7;

/// Rounds where a run takes more than a second.
const SLOW_ROUNDS: usize = 3;

/// A timed region lasts this long at least, in seconds: launches and the final wait cost microseconds.
const REGION: f64 = 0.02;

/// A copy on a fast device is larger than any cache.
const LARGE_COPY: usize = 256 << 20;

/// Work on more memory than this stands beside a copy of this much.
const LARGEST_COPY: usize = 2 << 30;

/// What the floor of a table counts.
pub struct Unit {
    /// Of the floor, and how many make one.
    pub floor: (&'static str, f64),
    /// Of the rate, and how many per second make one.
    pub rate: (&'static str, f64),
    /// What runs beside it.
    pub reference: &'static str,
}

/// Memory traffic, beside a copy.
pub const BYTES: Unit = Unit {
    floor: ("MB", 1e6),
    rate: ("GB/s", 1e9),
    reference: "copy",
};

/// What an operation leaves behind.
pub trait Outcome {
    /// Reads some of it, and panics if that fails: a failed launch shows nowhere else.
    fn read(&self);
}

impl<const D: usize> Outcome for Tensor<D> {
    fn read(&self) {
        let flat: Tensor<1> = self.clone().flatten(0, D - 1);
        let len = flat.dims()[0].min(128);
        let some = flat.slice(0..len).try_into_data();
        some.expect("the operation ran");
    }
}

impl<const D: usize> Outcome for Fp4Tensor<D> {
    fn read(&self) {
        self.to_packed().expect("the operation ran");
    }
}

/// A markdown table on standard output whose last column is the share of the rate of the reference.
pub struct Table<'a> {
    target: &'a Target,
    filter: Option<String>,
    unit: Unit,
}

impl<'a> Table<'a> {
    /// Begins a table. An argument on the command line selects the rows that contain it.
    pub fn new(target: &'a Target, unit: Unit) -> Self {
        let (floor, (rate, _), reference) = (unit.floor.0, unit.rate, unit.reference);
        println!(
            "Median of {ROUNDS} rounds ({SLOW_ROUNDS} where a run takes a second), each beside a {reference}; \
             spread: slowest less fastest.\n"
        );
        println!(
            "| operation | format | type | shape | floor {floor} | ms | spread | {rate} \
             | {reference} {rate} | share of {reference} |"
        );
        println!("|---|---|---|---|--:|--:|--:|--:|--:|--:|");
        let mut arguments = std::env::args().skip(1);
        Self {
            target,
            filter: arguments.find(|argument| !argument.starts_with('-')),
            unit,
        }
    }

    /// Measures memory traffic of `bytes` beside that of a copy, unless it is filtered out. `name` is
    /// `operation | format | type | shape`.
    ///
    /// The copy moves the same bytes; 4 GB at most, and on a fast device 512 MB at least, or it would stay
    /// in a cache and measure launches.
    pub fn traffic<R: Outcome>(&self, name: &str, bytes: usize, work: impl Fn() -> R) {
        if !self.selects(name) {
            return;
        }
        let minimum = if self.target.large { LARGE_COPY } else { 0 };
        let n_elements = (bytes / 2).clamp(minimum, LARGEST_COPY) / size_of::<f32>();
        let from = self.target.random([n_elements], FloatDType::F32);
        let copied = 2 * size_of::<f32>() * n_elements;
        self.row(
            name,
            copied as f64,
            Some(|| from.clone().mul_scalar(1.0)),
            bytes as f64,
            work,
        );
    }

    /// Measures work beside a reference, if there is one, unless it is filtered out, each with its floor
    /// in the unit of the table. `name` is `operation | format | type | shape`.
    pub fn row<R: Outcome, W: Outcome>(
        &self,
        name: &str,
        reference_floor: f64,
        reference: Option<impl Fn() -> R>,
        floor: f64,
        work: impl Fn() -> W,
    ) {
        if !self.selects(name) {
            return;
        }
        let beside = reference.as_ref().map(|run| (self.warm_up(run), run));
        let repeats = self.warm_up(&work);
        let (mut times, mut reference_times) = (Vec::new(), Vec::new());
        loop {
            reference_times.extend(beside.map(|(repeats, run)| self.region(repeats, run)));
            times.push(self.region(repeats, &work));
            let slow = times[0] > 1.0 || reference_times.first().is_some_and(|time| *time > 1.0);
            if times.len() == if slow { SLOW_ROUNDS } else { ROUNDS } {
                break;
            }
        }
        let time = median(&mut times);
        let rate = floor / time / self.unit.rate.1;
        let comparison = beside.map_or("- | -".to_owned(), |_| {
            let reference_rate = reference_floor / median(&mut reference_times) / self.unit.rate.1;
            format!(
                "{reference_rate:.2} | {:.0} %",
                100.0 * rate / reference_rate
            )
        });
        println!(
            "| {name} | {:.2} | {:.3} | {:.0} % | {rate:.2} | {comparison} |",
            floor / self.unit.floor.1,
            time * 1e3,
            100.0 * (times[times.len() - 1] - times[0]) / time,
        );
        self.target.device.memory_cleanup();
    }

    fn selects(&self, name: &str) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| name.contains(filter))
    }

    /// Compiles kernels, makes buffers and finds how many runs make a region.
    fn warm_up<R: Outcome>(&self, run: impl Fn() -> R) -> usize {
        run().read();
        let mut repeats = 1;
        loop {
            let time = self.region(repeats, &run);
            if time * repeats as f64 >= REGION {
                return repeats;
            }
            let needed = (REGION / time).ceil() as usize;
            repeats = needed.clamp(repeats + 1, repeats * 8);
        }
    }

    /// Seconds per run of so many, all of them finished.
    fn region<R>(&self, repeats: usize, run: impl Fn() -> R) -> f64 {
        let start = Instant::now();
        let mut last = None;
        for _ in 0..repeats {
            last = Some(run());
            // Lazy execution would fuse the runs, and leave out what nobody holds any more.
            if cfg!(feature = "fusion") {
                self.target.device.flush().expect("the device works");
            }
        }
        self.target.sync();
        let seconds = start.elapsed().as_secs_f64();
        drop(last);
        seconds / repeats as f64
    }
}

/// The middle of the times, which are sorted.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
