//! Which apps have changed lately, for the list of apps: ids only, in memory. A reader that has missed more than is kept, or
//! that read from an earlier process, reads the whole list.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::domain::AppId;

/// Number of changes that are kept.
const KEPT: usize = 1024;
/// Number of changes that a reader may fall behind.
const BACKLOG: usize = 256;

/// A position among the changes of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    process: u64,
    change: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.process, self.change)
    }
}

impl FromStr for Position {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (process, change) = text.split_once('.').ok_or(())?;
        let process = u64::from_str_radix(process, 16).map_err(|_| ())?;
        Ok(Self { process, change: change.parse().map_err(|_| ())? })
    }
}

/// The changes.
#[derive(Debug)]
pub struct Changes {
    process: u64,
    recent: Mutex<Recent>,
    live: broadcast::Sender<AppId>,
}

#[derive(Debug, Default)]
struct Recent {
    last: u64,
    apps: VecDeque<AppId>,
}

impl Default for Changes {
    fn default() -> Self {
        // Random: distinguishes the positions of this process from those of an earlier one.
        let process = RandomState::new().build_hasher().finish();
        Self { process, recent: Mutex::default(), live: broadcast::Sender::new(BACKLOG) }
    }
}

impl Changes {
    /// An app has changed.
    pub fn note(&self, app: AppId) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.last += 1;
        recent.apps.push_back(app);
        if recent.apps.len() > KEPT {
            recent.apps.pop_front();
        }
        // An error means that there are no readers.
        let _ = self.live.send(app);
    }

    /// The changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<AppId> {
        self.live.subscribe()
    }

    /// After the last change.
    pub fn position(&self) -> Position {
        let last = self.recent.lock().unwrap_or_else(PoisonError::into_inner).last;
        Position { process: self.process, change: last }
    }

    /// The apps that have changed since a position, each once; `None` if that is not known.
    pub fn since(&self, position: Position) -> Option<Vec<AppId>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = recent.last.checked_sub(position.change).filter(|_| position.process == self.process)?;
        let missed = usize::try_from(missed).ok().filter(|missed| *missed <= recent.apps.len())?;
        let mut apps: Vec<_> = recent.apps.iter().rev().take(missed).copied().collect();
        apps.sort_unstable();
        apps.dedup();
        Some(apps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_known_within_limits() {
        let changes = Changes::default();
        let begun = changes.position();
        assert_eq!(begun.to_string().parse(), Ok(begun));
        assert_eq!(changes.since(begun), Some(Vec::new()));
        for app in [2, 1, 2] {
            changes.note(AppId(app));
        }
        assert_eq!(changes.since(begun), Some(vec![AppId(1), AppId(2)]));
        assert_eq!(changes.since(changes.position()), Some(Vec::new()));
        for _ in 0..KEPT {
            changes.note(AppId(3));
        }
        assert_eq!(changes.since(begun), None, "too long ago");
        let other = Position { process: begun.process.wrapping_add(1), ..changes.position() };
        assert_eq!(changes.since(other), None, "of another process");
        assert_eq!(changes.since(Position { change: u64::MAX, ..begun }), None);
        for bad in ["", "1", "x.1", "1.x", "1.-1"] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
    }
}
