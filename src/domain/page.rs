//! Paging of lists: a cursor contains the key of the last row, so rows that are added meanwhile do not shift pages.

use super::{AppName, Invalid, TemplateName, validated_string};

/// Maximum number of rows on one page.
pub const LIMIT_MAX: u32 = 1000;

validated_string! {
    /// The end of a page: the last row's key. Callers pass it back unchanged.
    Cursor, check_cursor
}

fn check_cursor(text: &str) -> Result<(), Invalid> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if fits { Ok(()) } else { Err(Invalid::new("This cursor is invalid.")) }
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

/// The requested page of a list.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// Maximum number of rows, 1–1000.
    pub limit: u32,
    /// Rows after this one.
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

    /// One more row than requested shows whether there is a next page.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page from `rows`, which contain up to one more row than `limit`.
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

/// A filter of apps.
#[derive(Debug, Clone, Default)]
pub struct AppFilter {
    /// Text in the name or the description.
    pub search: Option<String>,
    /// Only apps of this template.
    pub template: Option<TemplateName>,
    /// Only this app.
    pub only: Option<AppName>,
}
