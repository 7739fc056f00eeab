//! Identifiers, each with its own type so that they cannot be confused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Invalid;

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text.parse::<i64>() {
                    // `parse` accepts `+7` and `007`, but Slipway never writes ids in this form.
                    Ok(n) if n >= 0 && n.to_string() == text => Ok(Self(n)),
                    _ => Err(Invalid::new(concat!("This is not a ", stringify!($name), ": it is a whole number."))),
                }
            }
        }
    };
}

numeric_id! {
    /// An app's id. A name can be reused after the app is deleted, an id cannot.
    AppId
}
numeric_id! {
    /// One event; increases over the whole installation.
    EventId
}
numeric_id! {
    /// One turn of a conversation; increases over the whole installation.
    TurnId
}
numeric_id! {
    /// One run of a scheduled job; increases over the whole installation.
    RunId
}
numeric_id! {
    /// One job; increases over the whole installation.
    JobId
}

numeric_id! {
    /// A session; never reused.
    SessionId
}
numeric_id! {
    /// An API token; never reused.
    TokenId
}

/// The number of a release within its app and environment, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u32);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

super::validated_string! {
    /// A version: the full hexadecimal id of a commit in the app's repository.
    VersionId, check_version
}

impl VersionId {
    /// The first seven digits, for display.
    pub fn short(&self) -> &str {
        &self.as_str()[..7]
    }
}

fn check_version(text: &str) -> Result<(), Invalid> {
    if text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err(Invalid::new("A version is the 40 hexadecimal digits of a commit."))
    }
}

super::validated_string! {
    /// An image by digest: `name@sha256:<64 hexadecimal digits>`. If images stay in the
    /// engine, the digest is the image's id; with a registry, it is the manifest's digest.
    ImageRef, check_image
}

impl ImageRef {
    /// The part before `@`.
    pub fn name(&self) -> &str {
        self.as_str().split_once('@').map_or("", |(name, _)| name)
    }

    /// `sha256:…`.
    pub fn digest(&self) -> &str {
        self.as_str().split_once('@').map_or("", |(_, digest)| digest)
    }
}

fn check_image(text: &str) -> Result<(), Invalid> {
    match text.split_once("@sha256:") {
        Some((name, hex))
            if !name.is_empty() && hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
        {
            Ok(())
        }
        _ => Err(Invalid::new("An image is named as name@sha256:<64 hexadecimal digits>.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_strictly() {
        assert_eq!("7".parse::<JobId>(), Ok(JobId(7)));
        for bad in ["", "-1", "+7", "007", "7x", "99999999999999999999"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
        assert!("a".repeat(40).parse::<VersionId>().is_ok());
        assert!("HEAD".parse::<VersionId>().is_err());
        let image: ImageRef = format!("slipway/x@sha256:{}", "0".repeat(64)).parse().expect("an image");
        assert_eq!(image.name(), "slipway/x");
        assert!("slipway/x:latest".parse::<ImageRef>().is_err());
    }
}
