//! Colours by name, and shades of them on which or in which text is readable. Pure.

/// Names and their colours; CSS's value if CSS has the name.
const NAMES: [(&str, u32); 47] = [
    ("red", 0xd9_2d20),
    ("dark red", 0x8b_1a1a),
    ("crimson", 0xdc_143c),
    ("maroon", 0x80_1f2f),
    ("burgundy", 0x80_0020),
    ("pink", 0xf0_6292),
    ("hot pink", 0xff_4fa3),
    ("rose", 0xe1_4d72),
    ("magenta", 0xd1_29b8),
    ("salmon", 0xfa_8072),
    ("coral", 0xff_7f50),
    ("orange", 0xf5_7c00),
    ("terracotta", 0xc4_5b3c),
    ("rust", 0xb7_410e),
    ("brown", 0x7b_4b2a),
    ("chocolate", 0x6b_3a1e),
    ("beige", 0xe8_dcc0),
    ("cream", 0xff_f6dd),
    ("sand", 0xdc_c9a0),
    ("gold", 0xd4_a017),
    ("amber", 0xff_b300),
    ("mustard", 0xd1_a11d),
    ("yellow", 0xfd_d835),
    ("lime", 0x9c_cc28),
    ("olive", 0x70_7a22),
    ("green", 0x2e_8b45),
    ("dark green", 0x1b_5e30),
    ("light green", 0x90_d49a),
    ("forest green", 0x22_6b35),
    ("mint", 0x98_e0c0),
    ("sage", 0x9c_af88),
    ("emerald", 0x10_9c68),
    ("teal", 0x0b_8075),
    ("turquoise", 0x30_c4b8),
    ("cyan", 0x00_b8d4),
    ("sky blue", 0x6c_b8ec),
    ("light blue", 0x90_c8f0),
    ("blue", 0x1f_66d0),
    ("dark blue", 0x12_2a5c),
    ("navy", 0x14_2850),
    ("indigo", 0x3f_51b5),
    ("violet", 0x7e_57c2),
    ("purple", 0x7b_2fa8),
    ("lavender", 0xb4_a4e4),
    ("plum", 0x8e_4585),
    ("silver", 0xb0_b7bd),
    ("grey", 0x70_7880),
];

/// Other spellings.
const ALIASES: [(&str, &str); 6] = [
    ("gray", "grey"),
    ("navy blue", "navy"),
    ("lilac", "lavender"),
    ("aqua", "cyan"),
    ("scarlet", "crimson"),
    ("bottle green", "dark green"),
];

/// A colour that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// Its name for users.
    pub name: &'static str,
    rgb: [u8; 3],
}

/// A page's background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Background {
    /// Its colour, as a CSS value.
    pub paper: String,
    /// The colour of text on it, as a CSS value.
    pub ink: String,
    /// Whether its text is light.
    pub is_dark: bool,
}

/// Minimum contrast of text according to WCAG 2.2, and of long text on a background.
const TEXT: f64 = 4.5;
const BODY: f64 = 7.0;
/// Background and text colours of the light and the dark scheme.
const WHITE: [u8; 3] = [255, 255, 255];
const BLACK: [u8; 3] = [0x12, 0x16, 0x1a];
/// Steps from a colour to white or black.
const STEPS: u16 = 40;

impl Colour {
    /// The colour of these words, in lower case: `red`, `dark blue`.
    pub fn named(words: &str) -> Option<Self> {
        let words = ALIASES.iter().find(|(alias, _)| *alias == words).map_or(words, |(_, name)| name);
        let (name, rgb) = NAMES.iter().find(|(name, _)| *name == words)?;
        let [_, red, green, blue] = rgb.to_be_bytes();
        Some(Self { name, rgb: [red, green, blue] })
    }

    /// Text in this colour on a light and on a dark page, as a CSS value.
    pub fn as_text(self) -> String {
        light_dark(self.toward(BLACK, WHITE, TEXT), self.toward(WHITE, BLACK, TEXT))
    }

    /// A background in this colour, in a shade on which text is readable. It is dark, with light text, if `asks_dark`
    /// says so, or without it if the colour itself is dark.
    pub fn as_background(self, asks_dark: Option<bool>) -> Background {
        let is_dark = asks_dark.unwrap_or_else(|| contrast(self.rgb, WHITE) >= TEXT);
        let (paper, ink) =
            if is_dark { (self.toward(BLACK, WHITE, TEXT), WHITE) } else { (self.toward(WHITE, BLACK, BODY), BLACK) };
        Background { paper: format!("#{}", hex::encode(paper)), ink: format!("#{}", hex::encode(ink)), is_dark }
    }

    /// A surface such as a button, as the CSS values of the surface and of the text on it.
    pub fn as_surface(self) -> (String, String) {
        let surface = |back| self.toward(back, if back == BLACK { WHITE } else { BLACK }, TEXT);
        // White text on the light page's darker shade; dark text on the dark page's lighter one.
        (light_dark(surface(BLACK), surface(WHITE)), light_dark(WHITE, BLACK))
    }

    /// The first shade on the way to `end` that has this contrast with `against`.
    fn toward(self, end: [u8; 3], against: [u8; 3], wanted: f64) -> [u8; 3] {
        let mixed = |step: u16| {
            let mut shade = [0; 3];
            for (channel, value) in shade.iter_mut().enumerate() {
                let (from, to) = (u16::from(self.rgb[channel]), u16::from(end[channel]));
                *value = u8::try_from((from * (STEPS - step) + to * step) / STEPS).unwrap_or(u8::MAX);
            }
            shade
        };
        (0..=STEPS).map(mixed).find(|shade| contrast(*shade, against) >= wanted).unwrap_or(end)
    }
}

fn light_dark(light: [u8; 3], dark: [u8; 3]) -> String {
    format!("light-dark(#{}, #{})", hex::encode(light), hex::encode(dark))
}

/// Relative luminance, as WCAG 2.2 defines it.
fn luminance(rgb: [u8; 3]) -> f64 {
    let channel = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2])
}

/// Contrast from 1 to 21, as WCAG 2.2 defines it.
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_colour_gives_text_that_can_be_read() {
        for (name, _) in NAMES {
            let colour = Colour::named(name).expect("it has its own name");
            assert!(contrast(colour.toward(BLACK, WHITE, TEXT), WHITE) >= TEXT, "{name} as text on white");
            assert!(contrast(colour.toward(WHITE, BLACK, TEXT), BLACK) >= TEXT, "{name} as text in the dark");
            assert!(contrast(colour.toward(WHITE, BLACK, BODY), BLACK) >= BODY, "{name} as a light background");
            for asks_dark in [None, Some(true), Some(false)] {
                let back = colour.as_background(asks_dark);
                assert!(asks_dark.is_none_or(|dark| dark == back.is_dark) && back.paper != back.ink, "{name}");
            }
        }
        for (alias, name) in ALIASES {
            assert_eq!(Colour::named(alias), Colour::named(name), "{alias}");
        }
        assert_eq!(Colour::named("heading"), None);
    }

    #[test]
    fn a_colour_stays_itself_where_it_can() {
        assert_eq!(Colour::named("dark blue").unwrap().as_text(), "light-dark(#122a5c, #707f9d)");
        assert!(Colour::named("red").unwrap().as_text().starts_with("light-dark(#d92d20,"));
        let background = |name, asks_dark| Colour::named(name).unwrap().as_background(asks_dark);
        assert_eq!((background("red", None).paper.as_str(), background("red", None).is_dark), ("#d92d20", true));
        assert!(background("navy", None).is_dark && !background("cream", None).is_dark);
        assert!(background("cream", Some(true)).is_dark, "it becomes a dark shade of cream");
    }
}
