//! Memory that goes back to the system after a peak.
//!
//! The C library's allocator keeps what is freed below anything that is still in use. After a crowd of clients that is
//! most of what they had: a server that never has such a crowd again would keep it until it is restarted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Growth since the last trim that makes the next one worthwhile, in bytes.
const GROWTH: u64 = 4 * 1024 * 1024;

/// Gives freed memory back to the system.
#[derive(Debug, Default)]
pub struct Trimmer {
    /// Anonymous resident memory after the last trim, in bytes.
    left: AtomicU64,
}

impl Trimmer {
    /// Returns free memory now. Takes some milliseconds for each hundred megabytes; call it off the async threads.
    pub fn trim(&self) {
        trim();
        self.left.store(anonymous().unwrap_or_default(), Relaxed);
    }

    /// Returns free memory if the process has grown by 4 MiB since the last trim. Call it off the async threads.
    pub fn trim_if_grown(&self) {
        if anonymous().is_some_and(|now| now > self.left.load(Relaxed) + GROWTH) {
            self.trim();
        }
    }
}

/// Resident memory of this process that is not a file's, in bytes; none where the system does not say.
fn anonymous() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, of_files) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(of_files) * rustix::param::page_size() as u64)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe function for it")]
fn trim() {
    // SAFETY: malloc_trim may be called at any time from any thread; it takes no pointer, and frees nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crowd_had_goes_back() {
        // Every second block stays, so that nothing lies free at the end of the heap.
        let mut blocks: Vec<Vec<u8>> = (0..8000).map(|_| vec![1; 12_000]).collect();
        let mut turn = 0;
        blocks.retain(|_| {
            turn += 1;
            turn % 2 == 0
        });
        let trimmer = Trimmer::default();
        let before = anonymous().expect("Linux says");
        trimmer.trim_if_grown();
        let after = anonymous().expect("Linux says");
        assert!(after + 30_000_000 < before, "{before} bytes before, {after} bytes after");
        drop(blocks);
    }
}
