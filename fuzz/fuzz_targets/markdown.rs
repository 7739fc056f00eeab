//! The model's Markdown: whatever it is, what becomes of it is bounded in size and nesting.
#![no_main]

use slipway::bounded_work::Budget;
use slipway::web::markdown::{DEPTH_MAX, render};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let html = render(&text, &Budget::unlimited()).html.0;
    // A definition of a link is used many times; each use is at most as long as the text itself.
    assert!(html.len() <= 64 * 1024 + 64 * text.len(), "{} bytes of {}", html.len(), text.len());
    let (mut depth, mut deepest) = (0_usize, 0);
    for piece in html.split('<').skip(1) {
        if piece.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !piece.starts_with("br") && !piece.starts_with("hr") {
            depth += 1;
            deepest = deepest.max(depth);
        }
    }
    assert!(deepest <= DEPTH_MAX, "{deepest} elements within each other");
});
