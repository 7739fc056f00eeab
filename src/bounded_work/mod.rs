//! Work on text from outside that takes processor time: rendering, colouring, matching, comparing.
//!
//! A caller hands a [`BoundedWork`] a closure, a name for the log and the metrics, an [`Owner`] and a time
//! limit. The closure runs on a blocking thread and gets a [`Budget`], which it checks between its steps,
//! because a thread cannot be stopped from outside. The budget is spent when the time is up or when nobody
//! waits for the result any more. How many closures run and how many wait is bounded, in all and for each
//! owner, so that one app's text cannot keep another's from being shown. The size of the text is the
//! caller's to bound: each knows what it does with the rest.
//!
//! Knows nothing of what the work is.

mod budget;
mod kept;
mod pool;

pub use budget::{Budget, Spent};
pub use kept::Kept;
pub use pool::{BoundedWork, Numbers, Owner, PoolBounds, WorkError};
