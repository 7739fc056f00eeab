//! A cache of results, so that the same text is not processed for each view.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// Results by the hash of their input, limited in bytes. When it is full, the least recently
/// used ones are evicted.
#[derive(Debug)]
pub struct Kept<V> {
    bytes_max: usize,
    state: Mutex<State<V>>,
}

type Key = [u8; 32];

#[derive(Debug)]
struct State<V> {
    entries: HashMap<Key, Entry<V>>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
    until: Option<Instant>,
}

/// Size of an entry in addition to its value, in bytes.
const OVERHEAD: usize = 128;

impl<V: Clone> Kept<V> {
    /// A cache of at most this many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::new(State { entries: HashMap::new(), bytes: 0, uses: 0 }) }
    }

    /// The hash of a result's input.
    pub fn key(parts: &[&[u8]]) -> Key {
        let mut hash = Sha256::new();
        for part in parts {
            // Includes lengths, so that differently split parts have different hashes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// The cached result of a key.
    pub fn get(&self, key: &Key) -> Option<V> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let now = state.uses;
        let entry = state.entries.get_mut(key)?;
        if entry.until.is_some_and(|until| Instant::now() >= until) {
            state.remove(key);
            return None;
        }
        entry.used = now;
        Some(entry.value.clone())
    }

    /// Caches a result of about `bytes` bytes, for at most `time` if given. Results larger than
    /// a quarter of the limit are not cached.
    pub fn put(&self, key: Key, value: V, bytes: usize, time: Option<Duration>) {
        let bytes = bytes + OVERHEAD;
        if bytes > self.bytes_max / 4 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.remove(&key);
        while state.bytes + bytes > self.bytes_max {
            let Some(oldest) = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                break;
            };
            state.remove(&oldest);
        }
        state.uses += 1;
        let used = state.uses;
        state.bytes += bytes;
        let until = time.and_then(|time| Instant::now().checked_add(time));
        state.entries.insert(key, Entry { value, bytes, used, until });
    }
}

impl<V> State<V> {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_result_is_evicted_first() {
        let kept = Kept::new(8 * (OVERHEAD + 100));
        let key = |n: u8| Kept::<u8>::key(&[&[n]]);
        for n in 0..8 {
            kept.put(key(n), n, 100, None);
        }
        assert_eq!(kept.get(&key(0)), Some(0));
        kept.put(key(8), 8, 100, None);
        assert_eq!((kept.get(&key(0)), kept.get(&key(1)), kept.get(&key(8))), (Some(0), None, Some(8)));
        kept.put(key(9), 9, 100_000, None);
        assert_eq!((kept.get(&key(9)), kept.get(&key(0))), (None, Some(0)), "too large for the cache");
        kept.put(key(0), 10, 50, None);
        assert_eq!(kept.get(&key(0)), Some(10));
        kept.put(key(0), 11, 50, Some(Duration::ZERO));
        assert_eq!(kept.get(&key(0)), None, "it has expired");
        let state = kept.state.lock().unwrap();
        assert_eq!(state.bytes, state.entries.values().map(|entry| entry.bytes).sum::<usize>());
    }

    #[test]
    fn differently_split_parts_have_different_keys() {
        assert_ne!(Kept::<u8>::key(&[b"ab", b"c"]), Kept::<u8>::key(&[b"a", b"bc"]));
    }
}
