//! Quantized weights over the steps of a stage.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::escaped;
use crate::train::QuantizationPoint;

/// A table with a row for each weight, in the order in which they were measured.
pub(super) fn section(page: &mut String, stage: &str, points: &[QuantizationPoint]) {
    let mut weights: Vec<&str> = Vec::new();
    let mut of_weight: BTreeMap<&str, Vec<&QuantizationPoint>> = BTreeMap::new();
    for point in points {
        let points = of_weight.entry(&point.weight).or_default();
        if points.is_empty() {
            weights.push(&point.weight);
        }
        points.push(point);
    }
    // Writing to a string does not fail.
    let _ = writeln!(
        page,
        "<h2>Quantized weights of {}</h2>\n<p>From the first step to the last. SQNR is the ratio of the weights to their \
         rounding errors.</p>\n<table><tr><th></th><th>SQNR in dB</th><th>saturated</th><th>became zero</th>\
         <th>codes changed</th><th>over the steps</th></tr>",
        escaped(stage)
    );
    for weight in weights {
        row(page, weight, &of_weight[weight]);
    }
    page.push_str("</table>\n");
}

fn row(page: &mut String, weight: &str, points: &[&QuantizationPoint]) {
    let [first, .., last] = points else {
        return;
    };
    let decibels = |point: &QuantizationPoint| match point.sqnr_db {
        Some(decibels) => format!("{decibels:.1}"),
        None => "∞".to_owned(),
    };
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td>{} → {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escaped(weight),
        decibels(first),
        decibels(last),
        percent(last.saturated),
        percent(last.zeroed),
        percent(last.codes_changed),
        sparkline(points)
    );
}

/// The share of changed codes as a line.
fn sparkline(points: &[&QuantizationPoint]) -> String {
    let end = points.last().map_or(1, |point| point.step).max(1) as f64;
    let most = points.iter().map(|point| point.codes_changed);
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let place = |point: &&QuantizationPoint| {
        let (x, y) = (point.step as f64 / end, point.codes_changed / most);
        format!("{:.1},{:.1}", 100.0 * x, 19.0 - 18.0 * y)
    };
    let places: Vec<String> = points.iter().map(place).collect();
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 100 20\" preserveAspectRatio=\"none\"><polyline points=\"{}\"/></svg>",
        places.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_order_and_show_both_ends() {
        let point = |step, weight: &str, sqnr_db, codes_changed| QuantizationPoint {
            step,
            weight: weight.into(),
            sqnr_db,
            saturated: 0.0,
            zeroed: 0.25,
            codes_changed,
        };
        let points = [
            point(0, "layers.1.<b>", None, 0.0),
            point(0, "layers.0.a", Some(18.0), 0.0),
            point(10, "layers.1.<b>", Some(20.25), 0.125),
            point(10, "layers.0.a", Some(19.0), 0.5),
        ];
        let mut page = String::new();
        section(&mut page, "QAT", &points);
        let (b, a) = (page.find("layers.1.&lt;b&gt;"), page.find("layers.0.a"));
        assert!(b.expect("there") < a.expect("there"), "{page}");
        for part in [
            "∞ → 20.2",
            "18.0 → 19.0",
            "12.50 %",
            "25.00 %",
            "0.0,19.0 100.0,1.0",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
