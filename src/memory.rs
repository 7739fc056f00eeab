//! Memory that goes back to the system after a peak.
//!
//! The C library's allocator keeps what is freed below anything that is still in use. After a crowd of clients that is
//! most of what they had: a server that never has such a crowd again would keep it until it is restarted.

/// Gives freed memory back to the system. Takes some milliseconds for each hundred megabytes; call it off the async
/// threads.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    trim();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe function for it")]
fn trim() {
    // SAFETY: malloc_trim may be called at any time from any thread; it takes no pointer, and frees nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    /// Anonymous resident memory of this process, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    fn what_a_crowd_had_goes_back() {
        // Every second block stays, so that nothing lies free at the end of the heap.
        let mut blocks: Vec<Vec<u8>> = (0..8000).map(|_| vec![1; 12_000]).collect();
        let mut turn = 0;
        blocks.retain(|_| {
            turn += 1;
            turn % 2 == 0
        });
        let before = resident();
        super::give_back();
        let after = resident();
        assert!(after + 30_000 < before, "{before} KiB before, {after} KiB after");
        drop(blocks);
    }
}
