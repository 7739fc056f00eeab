//! Secrets that are handed out, of sessions, tokens and links: made at random, kept as their hashes.

use sha2::{Digest, Sha256};

/// What is kept of a secret. It is random, so that a plain hash is as good as a slow one.
pub(super) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// 256 random bits in hexadecimal digits.
pub(super) fn random_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
