//! The images of a conversation, encoded for requests. Messages refer to them by id and do not contain their bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Images in base64, by the id that messages use. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Images(Arc<BTreeMap<String, String>>);

impl Images {
    /// The image's bytes in base64; `None` if it does not exist, or was left out to save space.
    pub fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

impl<Bytes: AsRef<[u8]>> FromIterator<(String, Bytes)> for Images {
    fn from_iter<T: IntoIterator<Item = (String, Bytes)>>(images: T) -> Self {
        Self(Arc::new(images.into_iter().map(|(id, bytes)| (id, STANDARD.encode(bytes))).collect()))
    }
}

/// Replaces an image that the provider rejected.
pub fn refused(name: &str) -> String {
    format!("(The person attached the image “{name}”, but it could not be shown to you.)")
}

/// Replaces an image that is not sent.
pub fn left_out(name: &str) -> String {
    format!("(The image “{name}” was shown here. It is left out now.)")
}
