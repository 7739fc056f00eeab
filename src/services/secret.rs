//! Secrets of sessions, tokens and links: random, and stored only as hashes.

use sha2::{Digest, Sha256};

/// The stored hash of a secret. Secrets are random, so a fast hash is as secure as a slow one.
pub(super) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// 256 random bits in hexadecimal digits.
pub(super) fn random_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
