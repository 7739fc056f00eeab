//! Functions for templates: icons (inline SVG)
//! and the addresses of styles and scripts.

use std::fmt;

use askama::filters::HtmlSafe;

pub use super::assets::asset;
pub use crate::boot_script::source as boot_script;

/// The files that can be attached, as the value of `accept`.
pub const ATTACHABLE: &str = "image/png,image/jpeg,image/webp,image/gif,text/*,.md,.json,.csv,.toml,.yaml,.yml,.py,.js,.ts,.css,.html,.svg,.sql,.xml,.log";

/// A drawing, with classes beside `icon`.
#[derive(Debug, Clone, Copy)]
pub struct Icon {
    name: &'static str,
    class: &'static str,
}

/// The drawing called `name`.
pub fn icon(name: &'static str) -> Icon {
    Icon { name, class: "" }
}

/// The drawing called `name`, with more classes.
pub fn icon_with(name: &'static str, class: &'static str) -> Icon {
    Icon { name, class }
}

impl HtmlSafe for Icon {}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.class.is_empty() { "" } else { " " };
        write!(
            f,
            r#"<svg class="icon{gap}{}" viewBox="0 0 16 16" aria-hidden="true">{}</svg>"#,
            self.class,
            shape(self.name)
        )
    }
}

fn shape(name: &str) -> &'static str {
    match name {
        "check" => r#"<path d="M3 8.5 6.5 12 13 4.5"/>"#,
        "cross" => r#"<path d="m4 4 8 8M12 4l-8 8"/>"#,
        "circle" => r#"<circle cx="8" cy="8" r="5.5"/>"#,
        "dash" => r#"<path d="M4 8h8"/>"#,
        "spinner" => r#"<path d="M8 2a6 6 0 1 1-6 6"/>"#,
        "warning" => r#"<path d="M8 2.5 14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1"/>"#,
        "info" => r#"<circle cx="8" cy="8" r="6"/><path d="M8 7.3v3.7M8 5v.1"/>"#,
        "pause" => r#"<path d="M5.5 3.5v9M10.5 3.5v9"/>"#,
        "stop" => r#"<rect x="4.2" y="4.2" width="7.6" height="7.6" rx="1.4" fill="currentColor"/>"#,
        "play" => r#"<path d="M5 3.2v9.6l7.6-4.8z"/>"#,
        "up" => r#"<path d="M8 13V3.5M3.8 7.5 8 3.2l4.2 4.3"/>"#,
        "right" => r#"<path d="m6 3.5 4.5 4.5L6 12.5"/>"#,
        "down" => r#"<path d="m3.5 6 4.5 4.5L12.5 6"/>"#,
        "left" => r#"<path d="M10 3.5 5.5 8l4.5 4.5"/>"#,
        "open" => {
            r#"<path d="M9.5 2.5h4v4M13 3 7.5 8.5M11.5 9.5v3a1 1 0 0 1-1 1h-7a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1h3"/>"#
        }
        "reload" => r#"<path d="M13.2 6.5A5.5 5.5 0 1 0 13.5 9M13.5 2.8v3.9H9.6"/>"#,
        "desktop" => r#"<rect x="1.5" y="2.5" width="13" height="8.5" rx="1.2"/><path d="M5.5 13.5h5"/>"#,
        "tablet" => r#"<rect x="3" y="1.8" width="10" height="12.4" rx="1.4"/><path d="M7.4 12h1.2"/>"#,
        "phone" => r#"<rect x="4.5" y="1.8" width="7" height="12.4" rx="1.6"/><path d="M7.5 12h1"/>"#,
        "copy" => {
            r#"<rect x="5.5" y="5.5" width="8" height="8" rx="1.4"/><path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2"/>"#
        }
        "more" => r#"<path d="M3.5 8h.1M8 8h.1M12.5 8h.1" stroke-width="2.4"/>"#,
        "file" => r#"<path d="M9 1.8H4.2a1 1 0 0 0-1 1v10.4a1 1 0 0 0 1 1h7.6a1 1 0 0 0 1-1V5.6zM9 1.8v3.8h3.8"/>"#,
        "folder" => {
            r#"<path d="M1.8 4.2a1 1 0 0 1 1-1h3.1l1.5 1.8h5.8a1 1 0 0 1 1 1v6.2a1 1 0 0 1-1 1H2.8a1 1 0 0 1-1-1z"/>"#
        }
        "edit" => r#"<path d="m2.8 13.2.7-3L10.8 3a1.4 1.4 0 0 1 2 0l.2.2a1.4 1.4 0 0 1 0 2L5.8 12.5z"/>"#,
        "trash" => r#"<path d="M2.5 4.2h11M6 4V2.5h4V4M4 4.2l.6 9.3h6.8l.6-9.3M6.8 7v4M9.2 7v4"/>"#,
        "clock" => r#"<circle cx="8" cy="8" r="6"/><path d="M8 4.6V8l2.4 1.6"/>"#,
        "plus" => r#"<path d="M8 3v10M3 8h10"/>"#,
        "key" => r#"<circle cx="5.2" cy="10.8" r="2.9"/><path d="m7.4 8.7 5.8-5.9M10.8 5.2l2 2"/>"#,
        "sun" => {
            r#"<circle cx="8" cy="8" r="2.8"/><path d="M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1"/>"#
        }
        "moon" => r#"<path d="M13.2 9.8A5.8 5.8 0 0 1 6.2 2.8a5.8 5.8 0 1 0 7 7z"/>"#,
        "log" => r#"<path d="M2.5 4h11M2.5 8h11M2.5 12h6.5"/>"#,
        "gear" => {
            r#"<circle cx="8" cy="8" r="2.2"/><path d="M8 1.6v2M8 12.4v2M1.6 8h2M12.4 8h2M3.5 3.5l1.4 1.4M11.1 11.1l1.4 1.4M3.5 12.5l1.4-1.4M11.1 4.9l1.4-1.4"/>"#
        }
        "back" => r#"<path d="M5.5 3 2.2 6.2l3.3 3.3M2.5 6.2h6.8a4 4 0 0 1 0 8H6"/>"#,
        "search" => r#"<circle cx="7" cy="7" r="4.5"/><path d="m10.4 10.4 3.4 3.4"/>"#,
        "lock" => r#"<rect x="3" y="7" width="10" height="7" rx="1.4"/><path d="M5.2 7V5a2.8 2.8 0 0 1 5.6 0v2"/>"#,
        "shuffle" => {
            r#"<path d="M2 4.5h2.5l6 7H14M2 11.5h2.5l1.8-2.1M8.8 6.5l1.7-2H14M12 2.5l2 2-2 2M12 9.5l2 2-2 2"/>"#
        }
        "export" => r#"<path d="M8 10V2.2M5 5l3-3 3 3M2.5 10v2.5a1 1 0 0 0 1 1h9a1 1 0 0 0 1-1V10"/>"#,
        "download" => r#"<path d="M8 2.2V10M5 7l3 3 3-3M2.5 10v2.5a1 1 0 0 0 1 1h9a1 1 0 0 0 1-1V10"/>"#,
        "chat" => {
            r#"<path d="M2.2 3.6a1 1 0 0 1 1-1h9.6a1 1 0 0 1 1 1v6.2a1 1 0 0 1-1 1H7l-3.4 2.8v-2.8h-.4a1 1 0 0 1-1-1z"/>"#
        }
        "screen" => {
            r#"<rect x="1.8" y="2.8" width="12.4" height="10.4" rx="1.4"/><path d="M1.8 6h12.4M4 4.4h.1M6 4.4h.1"/>"#
        }
        "box" => r#"<path d="M8 1.8 13.8 5v6L8 14.2 2.2 11V5zM2.4 5.1 8 8.2l5.6-3.1M8 8.2v5.8"/>"#,
        "bolt" => r#"<path d="M9 1.8 3.5 9h4l-.6 5.2L12.5 7h-4z"/>"#,
        "thought" => {
            r#"<path d="M5.5 11.5h5M6 14h4M5.6 9.6a4.4 4.4 0 1 1 4.8 0c-.5.4-.7.9-.7 1.9H6.3c0-1-.2-1.5-.7-1.9z"/>"#
        }
        "heart" => r#"<path d="M1.5 8.3h3l1.6-4 3 7.6 1.7-3.6h3.7"/>"#,
        // A hull on its slope.
        "clip" => {
            r#"<path d="m13 7.2-5.400 5.300a3.300 3.300 0 0 1-4.700-4.700L8.600 2.200a2.200 2.200 0 0 1 3.100 3.100L6.200 10.800a1.100 1.100 0 0 1-1.600-1.600l4.900-4.800"/>"#
        }
        "brand" => {
            r#"<path d="M1 13.6 15 10.4" stroke-width="1.5"/><path d="M2.6 7.2h9.9l1.7-2.4c.4 2.7-.9 4.8-3.6 5.3l-4.4 1C4 11.400 2.700 9.800 2.600 7.200z" fill="currentColor" stroke="none"/><path d="M7.300 6V1.800l4 4.200z" fill="currentColor" stroke="none"/>"#
        }
        other => unreachable!("no drawing is called {other}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_drawing_is_hidden_from_screen_readers() {
        let html = super::icon_with("spinner", "spin").to_string();
        assert!(html.starts_with(r#"<svg class="icon spin""#) && html.contains("aria-hidden"));
    }
}
