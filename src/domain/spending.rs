//! What was spent on the model, over many turns.

use serde::Serialize;

/// Tokens and money of all turns of something: an app, a day, a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Spending {
    /// Turns that asked a model.
    pub turns: u64,
    /// Tokens read at the full price.
    pub input_tokens: u64,
    /// Tokens written, thinking included.
    pub output_tokens: u64,
    /// Tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the prompt cache.
    pub cache_write_tokens: u64,
    /// US dollars, as far as the models' prices are known.
    pub cost_usd: f64,
    /// Tokens among these whose price is not known: they are not in `cost_usd`.
    pub unpriced_tokens: u64,
    /// Some of it is estimated from the length of the text, since a model's server does not count.
    pub estimated: bool,
}

impl Spending {
    /// All tokens, cached ones included.
    pub fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}
