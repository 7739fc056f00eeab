//! Converts columns to types. A value that does not parse was not written by Slipway and is an error.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;

type Cell<T> = rusqlite::Result<T>;

/// An error about a column whose value cannot be read.
pub fn unreadable(column: &str, error: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("column {column}: {error}").into())
}

/// A parsed text column.
pub fn text<T: FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: &str) -> Cell<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

/// A nullable parsed text column.
pub fn text_opt<T: FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: &str) -> Cell<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error| unreadable(column, error)),
    }
}

/// A JSON column.
pub fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Cell<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| unreadable(column, error))
}

/// A nullable JSON column.
pub fn json_opt<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Cell<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|error| unreadable(column, error)),
    }
}

/// Milliseconds since the epoch.
pub fn time(row: &Row<'_>, column: &str) -> Cell<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| unreadable(column, error))
}

/// Milliseconds since the epoch, if set.
pub fn time_opt(row: &Row<'_>, column: &str) -> Cell<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?
        .map(|millis| Timestamp::from_millisecond(millis).map_err(|error| unreadable(column, error)))
        .transpose()
}

/// JSON for a column. Our types contain only strings and numbers, so serialization cannot fail.
pub fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our types can be serialized")
}

/// A count in SQLite's type.
pub fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count from SQLite's type.
pub fn count(row: &Row<'_>, column: &str) -> Cell<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}
