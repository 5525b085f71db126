//! JSON as the programs write it whose renderings are matched. They differ in spaces and in floats.

use serde_json::{Number, Value};

/// `json.dumps` of Python with `ensure_ascii=False`.
pub(crate) fn python_json(value: &Value) -> String {
    write(value, &PYTHON)
}

/// `to_string` of the serde_json that openai-harmony 0.0.8 is built with.
pub(crate) fn compact_json(value: &Value) -> String {
    write(value, &COMPACT)
}

struct Style {
    comma: &'static str,
    colon: &'static str,
    float: fn(f64) -> String,
}

const PYTHON: Style = Style {
    comma: ", ",
    colon: ": ",
    float: python_float,
};

const COMPACT: Style = Style {
    comma: ",",
    colon: ":",
    float: ryu_float,
};

fn write(value: &Value, style: &Style) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
        Value::Number(number) => number_text(number, style.float),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(|item| write(item, style)).collect();
            format!("[{}]", items.join(style.comma))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let key = Value::from(key.as_str());
                format!("{key}{}{}", style.colon, write(value, style))
            };
            let entries: Vec<String> = map.iter().map(entry).collect();
            format!("{{{}}}", entries.join(style.comma))
        }
    }
}

pub(super) fn python_number(number: &Number) -> String {
    number_text(number, python_float)
}

fn number_text(number: &Number, float: fn(f64) -> String) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => float(value),
        _ => number.to_string(),
    }
}

/// Scientific outside of 1e-4 to 1e16, the exponent with a sign and at least two digits.
fn python_float(float: f64) -> String {
    let (digits, exponent) = shortest(float);
    if (-4..16).contains(&exponent) {
        return plain(float);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Scientific outside of 1e-5 to 1e16, the exponent as it is.
fn ryu_float(float: f64) -> String {
    let (digits, exponent) = shortest(float);
    match (-5..16).contains(&exponent) {
        true => plain(float),
        false => format!("{digits}e{exponent}"),
    }
}

/// The shortest digits that give the number, with the point behind the first, and the exponent of ten.
fn shortest(float: f64) -> (String, i32) {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    (digits.to_owned(), exponent.parse().unwrap_or(0))
}

fn plain(float: f64) -> String {
    let plain = format!("{float}");
    match plain.contains('.') {
        true => plain,
        false => plain + ".0",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Expectations: CPython 3.11, and openai-harmony 0.0.8.
    #[test]
    fn floats_are_spelled_as_either_program_does() {
        for (value, python, compact) in [
            (json!(1.0), "1.0", "1.0"),
            (json!(-0.0), "-0.0", "-0.0"),
            (json!(0.0001), "0.0001", "0.0001"),
            (json!(0.00001), "1e-05", "0.00001"),
            (json!(1e-7), "1e-07", "1e-7"),
            (json!(1e15), "1000000000000000.0", "1000000000000000.0"),
            (json!(1e16), "1e+16", "1e16"),
            (json!(1.5e300), "1.5e+300", "1.5e300"),
            (json!(123456789.125), "123456789.125", "123456789.125"),
            (
                json!(12345678901234567890_u64),
                "12345678901234567890",
                "12345678901234567890",
            ),
        ] {
            assert_eq!(
                (python_json(&value), compact_json(&value)),
                (python.into(), compact.into())
            );
        }
    }

    #[test]
    fn texts_are_not_escaped_beyond_json() {
        let value = json!({"b": [1, null, true], "a": "é<&>'\"\n\u{1}\u{7f}"});
        let text = "{\"b\": [1, null, true], \"a\": \"é<&>'\\\"\\n\\u0001\u{7f}\"}";
        assert_eq!(python_json(&value), text);
        let compact = "{\"b\":[1,null,true],\"a\":\"é<&>'\\\"\\n\\u0001\u{7f}\"}";
        assert_eq!(compact_json(&value), compact);
    }
}
