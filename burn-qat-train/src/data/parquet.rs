//! Rows of Parquet files, as the datasets of the Hugging Face hub are stored.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use serde_json::{Map, Value};

use super::rows::{Row, RowContent};
use crate::error::QatError;

pub(super) fn each_row(
    path: &Path,
    mut take: impl FnMut(Row) -> Result<(), QatError>,
) -> Result<(), QatError> {
    let refuse = |message: String| QatError::Dataset {
        path: path.to_owned(),
        message,
    };
    let broken = |error: parquet::errors::ParquetError| {
        refuse(format!("not a Parquet file that can be read: {error}"))
    };
    let file = File::open(path).map_err(QatError::io(path, "open"))?;
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    for (index, row) in reader.get_row_iter(None).map_err(broken)?.enumerate() {
        let number = index + 1;
        let row = object(&row.map_err(broken)?).map_err(|reason| QatError::DatasetLine {
            path: path.to_owned(),
            line: number,
            message: reason,
        })?;
        take(Row {
            number,
            content: RowContent::Value(row),
        })?;
    }
    Ok(())
}

fn object(row: &ParquetRow) -> Result<Value, String> {
    let columns = row.get_column_iter();
    let columns = columns.map(|(name, field)| {
        let value = value(field).map_err(|reason| format!("column `{name}`: {reason}"))?;
        Ok((name.clone(), value))
    });
    columns
        .collect::<Result<Map<_, _>, String>>()
        .map(Value::Object)
}

fn value(field: &Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) | Field::Date(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => f64::from(*value).into(),
        Field::Double(value) => (*value).into(),
        // Times are numbers here: no text is made of them.
        Field::TimestampMillis(value) | Field::TimestampMicros(value) => (*value).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data())
            .map_err(|_| "bytes that are no text in UTF-8".to_owned())?
            .into(),
        Field::Group(row) => object(row)?,
        Field::ListInternal(list) => (0..list.len())
            .map(|i| value(&list.elements()[i]))
            .collect::<Result<_, _>>()?,
        Field::MapInternal(map) => {
            let entries = map.entries().iter();
            let entries = entries.map(|(key, field)| match key {
                Field::Str(key) => Ok((key.clone(), value(field)?)),
                other => Err(format!("a map with the key {other}, which is no text")),
            });
            entries.collect::<Result<Map<_, _>, String>>()?.into()
        }
        other => return Err(format!("{other} is of a type that is not read")),
    })
}
