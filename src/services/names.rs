//! Suggested names for new apps: an adjective and a noun.

use rand::seq::IndexedRandom;

use crate::domain::AppName;

const ADJECTIVES: &[&str] = &[
    "amber", "brave", "brisk", "bright", "calm", "clear", "clever", "cosy", "crisp", "dapper", "eager", "early",
    "fair", "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand", "happy", "hazel", "honest", "jolly", "keen",
    "kind", "lively", "lucky", "lunar", "mellow", "merry", "mild", "misty", "neat", "nimble", "noble", "olive",
    "plain", "polar", "proud", "quick", "quiet", "rapid", "ready", "rosy", "rustic", "sandy", "sharp", "silver",
    "sleek", "smart", "snug", "solar", "sound", "spry", "steady", "still", "sunny", "swift", "tidy", "velvet", "vivid",
    "warm", "wise",
];

const NOUNS: &[&str] = &[
    "acorn", "anchor", "badger", "beacon", "birch", "bloom", "breeze", "bridge", "brook", "canyon", "cedar", "cloud",
    "comet", "coral", "cove", "crane", "creek", "dune", "eagle", "ember", "falcon", "fern", "field", "finch", "fjord",
    "forest", "fox", "garden", "glade", "grove", "harbor", "hare", "heron", "hill", "island", "lagoon", "lake", "lark",
    "leaf", "maple", "meadow", "moon", "moss", "oak", "ocean", "orchard", "otter", "owl", "panda", "pebble", "pine",
    "plum", "pond", "raven", "reef", "ridge", "river", "robin", "sail", "shore", "sparrow", "spruce", "star", "stone",
    "stream", "thistle", "tide", "trail", "valley", "wave", "willow", "wren",
];

/// A random name; from the third attempt on with a number, so that a free name is found for any number of apps.
pub fn random(attempt: u32) -> AppName {
    let mut rng = rand::rng();
    let adjective = ADJECTIVES.choose(&mut rng).expect("the list is not empty");
    let noun = NOUNS.choose(&mut rng).expect("the list is not empty");
    let text = if attempt < 3 {
        format!("{adjective}-{noun}")
    } else {
        format!("{adjective}-{noun}-{}", rand::random_range(2..1_000_000))
    };
    text.parse().expect("it consists of lowercase words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_a_valid_name() {
        for adjective in ADJECTIVES {
            for noun in NOUNS {
                format!("{adjective}-{noun}").parse::<AppName>().expect("a name");
            }
        }
        assert_ne!(random(5), random(5));
    }
}
