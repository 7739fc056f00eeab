//! Keys that the server generates.

use rusqlite::params;

use super::{Store, StoreError};

/// A key's length in bytes.
pub const KEY_BYTES: usize = 32;

impl Store {
    /// The key of this name; if there is none, stores and returns `fresh`.
    pub async fn server_key(&self, name: &'static str, fresh: [u8; KEY_BYTES]) -> Result<[u8; KEY_BYTES], StoreError> {
        self.write(move |t| {
            t.execute(
                "INSERT INTO server_keys (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                params![name, fresh],
            )?;
            Ok(t.query_row("SELECT value FROM server_keys WHERE name = ?1", [name], |r| r.get(0))?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_created_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        assert_eq!(store.server_key("a", [1; KEY_BYTES]).await.expect("made"), [1; KEY_BYTES]);
        assert_eq!(store.server_key("a", [2; KEY_BYTES]).await.expect("read"), [1; KEY_BYTES]);
        assert_eq!(store.server_key("b", [2; KEY_BYTES]).await.expect("made"), [2; KEY_BYTES]);
    }
}
