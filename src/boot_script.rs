//! The one script that stands in the pages themselves (`browser/boot.js`): it loads again what did not arrive. The content
//! security policy names it by its hash, since it allows no other script in a page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What stands between `<script>` and `</script>`.
pub fn source() -> &'static str {
    include_str!("../static/built/boot.js").trim_ascii()
}

/// The script as a source in a content security policy, such as `'sha256-…'`.
pub fn policy_source() -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(source())))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_page_can_hold_the_script() {
        assert!(!super::source().contains("</"), "it would end the element that it stands in");
    }
}
