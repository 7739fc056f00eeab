//! Which models are known, what they cost and how much they take: `models.toml`, read once.
//!
//! Knows no model by name: ids, prices and limits are data.

use std::sync::LazyLock;

use serde::Deserialize;

use super::wire::WireUsage;
use crate::domain::Usage;

/// Tokens that a model without an entry is taken to read.
const UNKNOWN_CONTEXT_TOKENS: u64 = 200_000;

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| toml::from_str(include_str!("models.toml")).expect("a test reads the embedded table"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    default: String,
    cache_read_factor: f64,
    cache_write_factor: f64,
    models: Vec<Model>,
}

/// A model that is known.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What the provider calls it.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// US dollars per million tokens read.
    pub input_usd: f64,
    /// US dollars per million tokens written.
    pub output_usd: f64,
    /// Tokens of a whole conversation, at most.
    pub context_tokens: u64,
    /// Tokens of one answer, at most.
    pub output_tokens: u32,
}

/// The model to use when none is configured.
pub fn default_model() -> &'static str {
    &CATALOG.default
}

/// All known models, the demo model last.
pub fn known_models() -> &'static [Model] {
    &CATALOG.models
}

/// The model with this id, if it is known.
pub fn find_model(id: &str) -> Option<&'static Model> {
    CATALOG.models.iter().find(|model| model.id == id)
}

/// How many tokens a conversation with this model may have.
pub fn context_tokens(id: &str) -> u64 {
    find_model(id).map_or(UNKNOWN_CONTEXT_TOKENS, |model| model.context_tokens)
}

/// What these tokens cost with this model, in US dollars; none when its price is not known.
#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
pub fn cost_usd(id: &str, used: WireUsage) -> Option<f64> {
    let model = find_model(id)?;
    let read = used.input_tokens as f64
        + used.cache_read_tokens as f64 * CATALOG.cache_read_factor
        + used.cache_write_tokens as f64 * CATALOG.cache_write_factor;
    Some((read * model.input_usd + used.output_tokens as f64 * model.output_usd) / 1e6)
}

/// Tokens with their price, as the rest of the program knows them.
pub fn priced(id: &str, used: WireUsage) -> Usage {
    Usage {
        input_tokens: used.input_tokens,
        output_tokens: used.output_tokens,
        cache_read_tokens: used.cache_read_tokens,
        cache_write_tokens: used.cache_write_tokens,
        cost_usd: cost_usd(id, used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(find_model(default_model()).is_some());
        for model in known_models() {
            assert_eq!(known_models().iter().filter(|other| other.id == model.id).count(), 1, "{}", model.id);
            assert!(model.context_tokens > u64::from(model.output_tokens) && model.input_usd >= 0.0);
        }
        assert!(find_model(crate::generation::demo::DEMO_MODEL).is_some_and(|model| model.output_usd == 0.0));
    }

    #[test]
    fn cost_counts_cached_tokens_apart() {
        let used = WireUsage {
            input_tokens: 1_000_000,
            output_tokens: 100_000,
            cache_read_tokens: 2_000_000,
            cache_write_tokens: 400_000,
        };
        // 4.00 + 2.00 + 0.80 + 2.00
        let cost = cost_usd("claude-opus-5-5", used).expect("a known price");
        assert!((cost - 8.8).abs() < 1e-9, "{cost}");
        assert_eq!(cost_usd("claude-haiku-5-5", used), None);
        assert_eq!(priced("slipway-demo", used).cost_usd, Some(0.0));
    }
}
