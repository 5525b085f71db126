//! Rows of Parquet files, as the datasets of the Hugging Face hub are stored.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::rows::{Row, RowContent};
use crate::error::QatError;

pub(super) fn each_row(
    path: &Path,
    mut take: impl FnMut(Row) -> Result<(), QatError>,
) -> Result<(), QatError> {
    let refuse = |error: parquet::errors::ParquetError| QatError::Dataset {
        path: path.to_owned(),
        message: format!("not a Parquet file that can be read: {error}"),
    };
    let file = File::open(path).map_err(QatError::io(path, "open"))?;
    let reader = SerializedFileReader::new(file).map_err(refuse)?;
    let rows = reader.get_row_iter(None).map_err(refuse)?;
    for (index, row) in rows.enumerate() {
        let row = row.map_err(refuse)?;
        take(Row {
            number: index + 1,
            content: RowContent::Value(row.to_json_value()),
        })?;
    }
    Ok(())
}
