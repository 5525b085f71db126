//! Both formats against their definitions: values, rounding, scales, searches, and what must not
//! change a bit.

mod every_value;
mod inputs;
mod invariants;
mod oracle;
mod refusals;
mod rules;
mod searches;
