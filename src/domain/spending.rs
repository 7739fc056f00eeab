//! The cost of many turns.

use serde::Serialize;

/// Tokens and money of all turns of an app, a day or a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Spending {
    /// Turns that sent requests to a model.
    pub turns: u64,
    /// Input tokens at the full price.
    pub input_tokens: u64,
    /// Output tokens, including thinking.
    pub output_tokens: u64,
    /// Tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the prompt cache.
    pub cache_write_tokens: u64,
    /// US dollars, for models with a known price.
    pub cost_usd: f64,
    /// Tokens without a known price, which `cost_usd` does not include.
    pub unpriced_tokens: u64,
    /// Some tokens are estimated from the length of the text, because a model's server reports no usage.
    pub estimated: bool,
}

impl Spending {
    /// All tokens, including cached ones.
    pub fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}
