//! Paging of lists: `limit` and `cursor` in, `next` out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::domain::{Cursor, LIMIT_MAX, PageRequest};
use crate::error::{AppError, AppResult};

/// Default number of rows on a page.
pub const LIMIT_DEFAULT: u32 = 100;

/// Number of rows on a page: 1–1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub u32);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
        number.map(Self).ok_or_else(|| serde::de::Error::custom("limit is a whole number from 1 to 1000"))
    }
}

/// The requested page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Maximum number of rows; default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub limit: Option<Limit>,
    /// Cursor: the `next` value of the previous page.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// For a list that the database pages; its cursors consist of `numbers` numbers.
    pub fn request(self, numbers: usize) -> AppResult<PageRequest> {
        page_request(self.limit, self.cursor, numbers)
    }

    /// For a list in memory, sorted by its keys: the rows after the cursor,
    /// and the cursor of the next page.
    pub fn cut<T>(self, rows: Vec<T>, key: impl Fn(&T) -> String) -> AppResult<(Vec<T>, Option<String>)> {
        let after = match &self.cursor {
            None => None,
            Some(cursor) => {
                let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad_cursor())?;
                Some(String::from_utf8(bytes).map_err(|_| bad_cursor())?)
            }
        };
        let limit = self.limit.map_or(LIMIT_DEFAULT, |limit| limit.0) as usize;
        let mut rows: Vec<T> =
            rows.into_iter().skip_while(|row| after.as_ref().is_some_and(|after| key(row) <= *after)).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| URL_SAFE_NO_PAD.encode(key(row)));
        Ok((rows, next))
    }
}

/// The page of a list that the database pages; its cursors consist of `numbers` numbers.
pub fn page_request(limit: Option<Limit>, cursor: Option<String>, numbers: usize) -> AppResult<PageRequest> {
    let cursor = match cursor {
        None => None,
        Some(text) => {
            let parts: Vec<_> = text.split('.').map(str::parse::<i64>).collect();
            if parts.len() != numbers || parts.iter().any(Result::is_err) {
                return Err(bad_cursor());
            }
            Some(Cursor::try_from(text).map_err(|_| bad_cursor())?)
        }
    };
    Ok(PageRequest { limit: limit.map_or(LIMIT_DEFAULT, |limit| limit.0), cursor })
}

fn bad_cursor() -> AppError {
    AppError::bad_request("Invalid cursor: it does not belong to this list.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_memory_continues_after_the_previous_page() {
        let rows = || vec!["a", "b/c", "d", "e"];
        let page = |limit, cursor: Option<String>| {
            PageQuery { limit: Some(Limit(limit)), cursor }.cut(rows(), |row| (*row).to_owned()).expect("cut")
        };
        let (first, next) = page(3, None);
        assert_eq!(first, ["a", "b/c", "d"]);
        let (rest, none) = page(3, next);
        assert_eq!((rest, none), (vec!["e"], None));
        assert_eq!(page(4, None).1, None);
        for bad in ["!", "_w"] {
            let query = PageQuery { limit: None, cursor: Some(bad.to_owned()) };
            assert!(query.cut(rows(), |row| (*row).to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn cursors_of_other_lists_are_rejected() {
        assert!(page_request(None, Some("17".into()), 1).is_ok());
        assert!(page_request(None, Some("17.3".into()), 2).is_ok());
        for (bad, numbers) in
            [("17", 2), ("17.3", 1), ("", 1), (".", 2), ("1.", 2), ("-1", 1), ("x", 1), ("99999999999999999999", 1)]
        {
            assert!(page_request(None, Some(bad.into()), numbers).is_err(), "{bad}");
        }
    }
}
