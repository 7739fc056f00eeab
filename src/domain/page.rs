//! Lists in pages: a cursor stands for the last row seen, so that rows added meanwhile shift nothing.

use super::{AppName, Invalid, TemplateName, validated_string};

/// Most rows in one page.
pub const LIMIT_MAX: u32 = 1000;

validated_string! {
    /// Where a page goes on: the last row's key. Callers pass it back as they got it.
    Cursor, check_cursor
}

fn check_cursor(text: &str) -> Result<(), Invalid> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if fits { Ok(()) } else { Err(Invalid::new("This cursor is not one that a list gave out.")) }
}

impl Cursor {
    /// Stands for the row with this key.
    pub fn from_key(key: i64) -> Self {
        Self(key.to_string())
    }

    /// Stands for the row with these keys, the first of which orders before the second.
    pub fn from_keys(first: i64, second: i64) -> Self {
        Self(format!("{first}.{second}"))
    }

    /// The key of the last row, if it is one number.
    pub fn key(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The keys of the last row, if they are two numbers.
    pub fn keys(&self) -> Option<(i64, i64)> {
        let (first, second) = self.0.split_once('.')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// Rows at most, 1–1000.
    pub limit: u32,
    /// After this row.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// The first `limit` rows.
    pub fn first(limit: u32) -> Self {
        Self { limit: limit.clamp(1, LIMIT_MAX), cursor: None }
    }

    /// Rows with smaller keys are wanted, where the newest come first.
    pub fn before(&self) -> i64 {
        self.cursor.as_ref().and_then(Cursor::key).unwrap_or(i64::MAX)
    }

    /// One more than asked for tells whether there is a next page.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts `rows`, of which one more was fetched than `limit`.
    pub fn cut(mut rows: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let next = if rows.len() > limit {
            rows.truncate(limit);
            rows.last().map(cursor)
        } else {
            None
        };
        Self { items: rows, next }
    }
}

/// Which apps are wanted.
#[derive(Debug, Clone, Default)]
pub struct AppFilter {
    /// In the name or the description.
    pub search: Option<String>,
    /// Of this template alone.
    pub template: Option<TemplateName>,
    /// This app alone.
    pub only: Option<AppName>,
}
