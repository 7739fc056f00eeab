//! Known models, their prices and limits: `models.toml`, merged with the
//! operator's own file.
//!
//! The code contains no model names: ids, prices and limits are data.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use super::limits::Threshold;
use super::listed::ListedModel;
use super::wire::WireUsage;
use crate::domain::{ModelId, Usage};

/// The operator's file, in the data directory.
pub const FILE: &str = "models.toml";
/// Assumed context window of a model without an entry, in tokens.
const UNKNOWN_CONTEXT_TOKENS: u64 = 200_000;

/// A known model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The provider's id.
    pub id: ModelId,
    /// Its title.
    pub title: String,
    /// `anthropic`, `openai` or `demo`; `None`: any provider.
    pub provider: Option<String>,
    /// Its price, if known.
    pub price: Option<Price>,
    /// Context window in tokens.
    pub context_tokens: u64,
    /// Maximum tokens of one answer.
    pub output_tokens: Option<u32>,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Input.
    pub input_usd: f64,
    /// Output.
    pub output_usd: f64,
    /// Price of tokens read from the cache, as a fraction of `input_usd`.
    pub cache_read_factor: f64,
    /// Price of tokens written to the cache, as a fraction of `input_usd`.
    pub cache_write_factor: f64,
}

/// An invalid price table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the price table {} cannot be used: {reason}", .file.display())]
pub struct TableError {
    /// The file.
    pub file: PathBuf,
    /// The key and the error.
    pub reason: String,
}

/// The table of models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModelTable(Arc<Known>);

#[derive(Debug, Clone, Default)]
struct Known {
    models: Vec<Model>,
    compact: Compact,
    /// Models whose limits the operator's own file sets; these take precedence.
    fixed: HashSet<ModelId>,
}

/// The thresholds of compaction.
#[derive(Debug, Clone, Copy, Default)]
struct Compact {
    at_tokens: u64,
    to_tokens: u64,
    /// A fraction of the model's context window.
    at_window: f64,
}

impl ModelTable {
    /// The table in the binary.
    pub fn embedded() -> Self {
        let table = read(include_str!("models.toml"));
        let known = table.and_then(|table| table.over(Known::default())).expect("tests read the embedded table");
        Self(Arc::new(known))
    }

    /// The table in the binary, merged with [`FILE`] in `folder` if it exists.
    pub fn load(folder: &Path) -> Result<Self, TableError> {
        let file = folder.join(FILE);
        let own = Self::embedded();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(own),
            Err(error) => return Err(TableError { file, reason: error.to_string() }),
        };
        let known = read(&text).and_then(|table| {
            let limited = table.rows.iter().filter(|row| row.context_tokens.is_some() || row.output_tokens.is_some());
            let fixed = limited.map(|row| row.id.clone()).collect();
            Ok(Known { fixed, ..table.over(Known::clone(&own.0))? })
        });
        match known {
            Ok(known) => Ok(Self(Arc::new(known))),
            Err(reason) => Err(TableError { file, reason }),
        }
    }

    /// The same, with the limits that a provider reports for one of its models.
    #[must_use]
    pub fn with_provider_limits(&self, listed: &ListedModel) -> Self {
        let says_nothing = listed.context_tokens.is_none() && listed.output_tokens.is_none();
        if says_nothing || self.0.fixed.contains(&listed.id) {
            return self.clone();
        }
        let mut known = Known::clone(&self.0);
        let at = known.models.iter().position(|model| model.id == listed.id).unwrap_or_else(|| {
            known.models.push(Model {
                id: listed.id.clone(),
                title: listed.title.clone().unwrap_or_else(|| listed.id.to_string()),
                provider: None,
                price: None,
                context_tokens: UNKNOWN_CONTEXT_TOKENS,
                output_tokens: None,
            });
            known.models.len() - 1
        });
        let model = &mut known.models[at];
        model.context_tokens = listed.context_tokens.unwrap_or(model.context_tokens);
        model.output_tokens = listed.output_tokens.or(model.output_tokens);
        Self(Arc::new(known))
    }

    /// All models, in the table's order.
    pub fn models(&self) -> &[Model] {
        &self.0.models
    }

    /// The model with this id, if it is known.
    pub fn find(&self, id: &str) -> Option<&Model> {
        self.0.models.iter().find(|model| model.id.as_str() == id)
    }

    /// The context window of this model in tokens.
    pub fn context_tokens(&self, id: &str) -> u64 {
        self.find(id).map_or(UNKNOWN_CONTEXT_TOKENS, |model| model.context_tokens)
    }

    /// The thresholds of compaction for this model.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a window"
    )]
    pub fn compaction(&self, id: &str) -> Threshold {
        let compact = self.0.compact;
        let at = compact.at_tokens.min((self.context_tokens(id) as f64 * compact.at_window) as u64);
        Threshold { at, to: compact.to_tokens.min(at / 2) }
    }

    /// Maximum tokens of one answer, if known.
    pub fn output_tokens(&self, id: &str) -> Option<u32> {
        self.find(id)?.output_tokens
    }

    /// The cost of these tokens with this model, in US dollars; `None` if its price is not known.
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
    pub fn cost_usd(&self, id: &str, used: WireUsage) -> Option<f64> {
        let price = self.find(id)?.price?;
        let read = used.input_tokens as f64
            + used.cache_read_tokens as f64 * price.cache_read_factor
            + used.cache_write_tokens as f64 * price.cache_write_factor;
        Some((read * price.input_usd + used.output_tokens as f64 * price.output_usd) / 1e6)
    }

    /// Tokens with their cost, as the domain type.
    pub fn priced(&self, id: &str, used: WireUsage) -> Usage {
        Usage {
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cache_read_tokens: used.cache_read_tokens,
            cache_write_tokens: used.cache_write_tokens,
            cost_usd: self.cost_usd(id, used),
            estimated: used.is_estimated,
        }
    }
}

/// The content of a file; missing values stay unchanged.
struct FileTable {
    rows: Vec<Row>,
    compact_at_tokens: Option<u64>,
    compact_to_tokens: Option<u64>,
    compact_at_window: Option<f64>,
}

impl FileTable {
    /// Merges it into the known models.
    fn over(self, known: Known) -> Result<Known, String> {
        let old = known.compact;
        let compact = Compact {
            at_tokens: self.compact_at_tokens.unwrap_or(old.at_tokens),
            to_tokens: self.compact_to_tokens.unwrap_or(old.to_tokens),
            at_window: self.compact_at_window.unwrap_or(old.at_window),
        };
        Ok(Known { models: merge(known.models, self.rows)?, compact, fixed: known.fixed })
    }
}

/// A model in a file; missing values stay unchanged.
struct Row {
    /// Its position in the file, for errors.
    place: String,
    id: ModelId,
    title: Option<String>,
    provider: Option<String>,
    input_usd: Option<f64>,
    output_usd: Option<f64>,
    cache_read_factor: Option<f64>,
    cache_write_factor: Option<f64>,
    context_tokens: Option<u64>,
    output_tokens: Option<u32>,
}

/// A table whose keys are removed when they are read; remaining keys are unknown.
struct Keys {
    place: String,
    table: Table,
}

impl Keys {
    fn wrong(&self, key: &str, expected: &str) -> String {
        let dot = if self.place.is_empty() { "" } else { "." };
        format!("`{}{dot}{key}`: {expected}", self.place)
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "expected a text")),
        }
    }

    fn amount(&mut self, key: &str) -> Result<Option<f64>, String> {
        let amount = match self.table.remove(key) {
            None => return Ok(None),
            Some(Value::Float(number)) => number,
            #[expect(clippy::cast_precision_loss, reason = "no price is that large")]
            Some(Value::Integer(number)) => number as f64,
            Some(_) => -1.0,
        };
        if amount.is_finite() && amount >= 0.0 {
            Ok(Some(amount))
        } else {
            Err(self.wrong(key, "expected a number from 0"))
        }
    }

    fn count<T: TryFrom<i64> + PartialOrd + From<u8>>(&mut self, key: &str) -> Result<Option<T>, String> {
        let count = match self.table.remove(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => T::try_from(number).ok().filter(|count| *count >= T::from(1)),
            Some(_) => None,
        };
        count.map(Some).ok_or_else(|| self.wrong(key, "expected a whole number from 1"))
    }

    fn end(self) -> Result<(), String> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong(key, "unknown key")),
        }
    }
}

/// Parses a file. Its default factors apply to its rows without factors.
fn read(text: &str) -> Result<FileTable, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let mut top = Keys { place: String::new(), table };
    let (read_factor, write_factor) = (top.amount("cache_read_factor")?, top.amount("cache_write_factor")?);
    let (compact_at_tokens, compact_to_tokens) = (top.count("compact_at_tokens")?, top.count("compact_to_tokens")?);
    let compact_at_window = top.amount("compact_at_window")?;
    if compact_at_window.is_some_and(|part| part <= 0.0 || part > 1.0) {
        return Err(top.wrong("compact_at_window", "expected a fraction of the window, above 0 and at most 1"));
    }
    let models = match top.table.remove("models") {
        None => Vec::new(),
        Some(Value::Array(models)) => models,
        Some(_) => return Err(top.wrong("models", "expected a list: each model begins with [[models]]")),
    };
    top.end()?;
    let mut seen = HashSet::new();
    let rows = models.into_iter().enumerate().map(|(at, model)| {
        let place = format!("models[{at}]");
        let Value::Table(table) = model else { return Err(format!("`{place}`: expected a table")) };
        let mut keys = Keys { place, table };
        let id = keys.text("id")?.ok_or_else(|| keys.wrong("id", "is missing"))?;
        let id = ModelId::try_from(id).map_err(|error| keys.wrong("id", &error.0))?;
        if !seen.insert(id.clone()) {
            return Err(keys.wrong("id", &format!("“{id}” occurs twice")));
        }
        let row = Row {
            title: keys.text("title")?,
            provider: keys.text("provider")?,
            input_usd: keys.amount("input_usd")?,
            output_usd: keys.amount("output_usd")?,
            cache_read_factor: keys.amount("cache_read_factor")?.or(read_factor),
            cache_write_factor: keys.amount("cache_write_factor")?.or(write_factor),
            context_tokens: keys.count("context_tokens")?,
            output_tokens: keys.count("output_tokens")?,
            place: keys.place.clone(),
            id,
        };
        if let Some(provider) = &row.provider
            && !["anthropic", "openai", "demo"].contains(&provider.as_str())
        {
            return Err(keys.wrong("provider", "expected anthropic, openai or demo"));
        }
        keys.end()?;
        Ok(row)
    });
    let rows = rows.collect::<Result<_, String>>()?;
    Ok(FileTable { rows, compact_at_tokens, compact_to_tokens, compact_at_window })
}

/// Merges rows into models: known ones are changed, new ones are added.
fn merge(mut models: Vec<Model>, rows: Vec<Row>) -> Result<Vec<Model>, String> {
    for row in rows {
        let known = models.iter().position(|model| model.id == row.id);
        let before = known.map(|at| models[at].clone());
        let old = before.as_ref().and_then(|model| model.price);
        let price = match (
            row.input_usd.or(old.map(|price| price.input_usd)),
            row.output_usd.or(old.map(|price| price.output_usd)),
        ) {
            (Some(input_usd), Some(output_usd)) => Some(Price {
                input_usd,
                output_usd,
                // By default cached tokens cost as much as others, so the estimate is never too low.
                cache_read_factor: row.cache_read_factor.or(old.map(|price| price.cache_read_factor)).unwrap_or(1.0),
                cache_write_factor: row.cache_write_factor.or(old.map(|price| price.cache_write_factor)).unwrap_or(1.0),
            }),
            (None, None) => None,
            (given, _) => {
                let missing = if given.is_some() { "output_usd" } else { "input_usd" };
                return Err(format!(
                    "`{}.{missing}`: is missing, so the price of “{}” is incomplete",
                    row.place, row.id
                ));
            }
        };
        let old = |of: fn(&Model) -> Option<String>| before.as_ref().and_then(of);
        let model = Model {
            title: row.title.or_else(|| old(|model| Some(model.title.clone()))).unwrap_or_else(|| row.id.to_string()),
            provider: row.provider.or_else(|| old(|model| model.provider.clone())),
            price,
            context_tokens: row
                .context_tokens
                .or(before.as_ref().map(|model| model.context_tokens))
                .unwrap_or(UNKNOWN_CONTEXT_TOKENS),
            output_tokens: row.output_tokens.or(before.as_ref().and_then(|model| model.output_tokens)),
            id: row.id,
        };
        match known {
            Some(at) => models[at] = model,
            None => models.push(model),
        }
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: WireUsage = WireUsage {
        input_tokens: 1_000_000,
        output_tokens: 100_000,
        cache_read_tokens: 2_000_000,
        cache_write_tokens: 400_000,
        is_estimated: false,
    };

    fn load(text: &str) -> Result<ModelTable, TableError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        ModelTable::load(folder.path())
    }

    #[test]
    fn the_table_is_complete() {
        let table = ModelTable::embedded();
        for model in table.models() {
            // This one's price is not published.
            let is_priced = model.id.as_str() != "claude-haiku-5-5";
            assert!(model.price.is_some() == is_priced && model.provider.is_some(), "{}", model.id);
            assert!(model.context_tokens > u64::from(model.output_tokens.unwrap()), "{}", model.id);
        }
        let demo = table.find(crate::generation::demo::DEMO_MODEL).and_then(|model| model.price);
        assert!(demo.is_some_and(|price| price.output_usd == 0.0));
        let none = tempfile::tempdir().unwrap();
        assert_eq!(ModelTable::load(none.path()).unwrap().models(), table.models());
    }

    #[test]
    fn cached_tokens_have_their_own_price() {
        let table = ModelTable::embedded();
        // 4.00 + 2.00 + 0.80 + 2.00
        let cost = table.cost_usd("claude-opus-5-5", USED).expect("a known price");
        assert!((cost - 8.8).abs() < 1e-9, "{cost}");
        assert_eq!(table.cost_usd("claude-haiku-5-5", USED), None);
        assert_eq!(table.priced("slipway-demo", USED).cost_usd, Some(0.0));
    }

    #[test]
    fn the_operators_limits_take_precedence_over_the_providers() {
        let listed = |id: &str, context_tokens, output_tokens| ListedModel {
            id: id.parse().unwrap(),
            title: None,
            context_tokens,
            output_tokens,
        };
        let table = load("[[models]]\nid = 'mine'\ncontext_tokens = 9_000\n").unwrap();
        let known = table.with_provider_limits(&listed("claude-opus-5-5", Some(200_000), Some(64_000)));
        assert_eq!(
            (known.context_tokens("claude-opus-5-5"), known.output_tokens("claude-opus-5-5")),
            (200_000, Some(64_000))
        );
        assert_eq!(known.cost_usd("claude-opus-5-5", USED), table.cost_usd("claude-opus-5-5", USED));
        assert_eq!(known.compaction("claude-opus-5-5").at, 120_000);
        let known = table.with_provider_limits(&listed("qwen3:32b", Some(32_768), None));
        assert_eq!((known.context_tokens("qwen3:32b"), known.output_tokens("qwen3:32b")), (32_768, None));
        assert_eq!(known.cost_usd("qwen3:32b", USED), None);
        assert_eq!(table.with_provider_limits(&listed("mine", Some(1_000_000), None)).context_tokens("mine"), 9_000);
        assert_eq!(
            table.with_provider_limits(&listed("claude-opus-5-5", None, None)).context_tokens("claude-opus-5-5"),
            1_000_000
        );
    }

    #[test]
    fn an_operator_changes_prices_and_adds_models() {
        let table = load(
            "[[models]]\nid = 'claude-opus-5-5'\ninput_usd = 3\n\n[[models]]\nid = 'qwen3:32b'\ncontext_tokens = 32_768\n\n\
             [[models]]\nid = 'x/y'\ntitle = 'Y'\ninput_usd = 1.5\noutput_usd = 2\ncache_read_factor = 0.5\nprovider = 'openai'\n",
        )
        .unwrap();
        // 3.00 + 2.00 + 0.60 + 1.50: values that the file leaves out stay unchanged.
        assert!((table.cost_usd("claude-opus-5-5", USED).unwrap() - 7.1).abs() < 1e-9);
        assert_eq!(table.find("claude-opus-5-5").unwrap().title, "Claude Opus 5.5");
        assert_eq!((table.cost_usd("qwen3:32b", USED), table.context_tokens("qwen3:32b")), (None, 32_768));
        // 1.50 + 0.20 + 1.50 + 0.60
        assert!((table.cost_usd("x/y", USED).unwrap() - 3.8).abs() < 1e-9);
        assert_eq!(table.models().len(), ModelTable::embedded().models().len() + 2);
        assert_eq!((table.context_tokens("nobody"), table.output_tokens("nobody")), (UNKNOWN_CONTEXT_TOKENS, None));
    }

    #[test]
    fn errors_name_file_and_key() {
        for (text, named) in [
            (
                "[[models]]\nid = 'a'\ninput_usd = -1\noutput_usd = 1\n",
                "`models[0].input_usd`: expected a number from 0",
            ),
            ("[[models]]\nid = 'a'\noutput_usd = 1\n", "`models[0].input_usd`: is missing"),
            ("[[models]]\nid = 'a'\n[[models]]\nid = 'b'\nprice = 1\n", "`models[1].price`: unknown key"),
            ("[[models]]\nid = 'a'\n[[models]]\nid = 'a'\n", "`models[1].id`: “a” occurs twice"),
            ("[[models]]\nid = 'a b'\n", "`models[0].id`: A model's id"),
            ("[[models]]\ntitle = 'a'\n", "`models[0].id`: is missing"),
            (
                "[[models]]\nid = 'a'\noutput_tokens = 0.5\n",
                "`models[0].output_tokens`: expected a whole number from 1",
            ),
            ("[[models]]\nid = 'a'\nprovider = 'me'\n", "`models[0].provider`: expected anthropic"),
            ("cache_read_factor = nan\n", "`cache_read_factor`: expected a number from 0"),
            ("compact_at_window = 1.5\n", "`compact_at_window`: expected a fraction of the window"),
            ("models = 3\n", "`models`: expected a list"),
            ("defualt = 'x'\n", "`defualt`: unknown key"),
            ("[[models]\n", "line 1"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.to_string().contains(named), "{error}");
            assert!(error.to_string().contains(FILE), "{error}");
        }
    }
}
