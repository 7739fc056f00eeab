//! The images of a conversation, ready to be sent. Messages name them; the bytes are not kept in messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Images in base64, by the id under which messages name them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Images(Arc<BTreeMap<String, String>>);

impl Images {
    /// The image's bytes in base64; none if it is not there, or was left out to save room.
    pub fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

impl<Bytes: AsRef<[u8]>> FromIterator<(String, Bytes)> for Images {
    fn from_iter<T: IntoIterator<Item = (String, Bytes)>>(images: T) -> Self {
        Self(Arc::new(images.into_iter().map(|(id, bytes)| (id, STANDARD.encode(bytes))).collect()))
    }
}

/// Stands where an image is not sent, since the model's provider would not take it.
pub fn refused(name: &str) -> String {
    format!("(The person attached the image “{name}”, but it could not be shown to you.)")
}

/// Stands where an image is not sent.
pub fn left_out(name: &str) -> String {
    format!("(The image “{name}” was shown here. It is left out now.)")
}
