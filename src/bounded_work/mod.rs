//! CPU-bound work on foreign text: rendering, highlighting, matching, comparing.
//!
//! A caller passes a [`BoundedWork`] a closure, a name for the log and the metrics, an [`Owner`] and a time limit. The
//! closure runs on a blocking thread and gets a [`Budget`], which it checks between its steps, because a thread cannot
//! be stopped from outside. The budget ends at the deadline, or when the caller stops waiting. The numbers of running
//! and queued closures are limited, in total and for each owner, so that one app's text cannot block another's. The
//! caller limits the size of the text.
//!
//! Independent of the kind of work.

mod budget;
mod kept;
mod pool;

pub use budget::{Budget, Spent};
pub use kept::Kept;
pub use pool::{BoundedWork, Numbers, Owner, PoolBounds, WorkError};
