//! What a user says about the model: which one, how deep it thinks.

use serde::{Deserialize, Serialize};

use super::{Invalid, validated_string, words};

/// Longest id of a model, in bytes.
const MODEL_ID_MAX: usize = 200;

validated_string! {
    /// What a provider calls a model: any word of it, such as `claude-opus-5-5` or `library/qwen3:32b`.
    ModelId, check_model_id
}

fn check_model_id(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > MODEL_ID_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new(format!(
            "A model's id has 1 to {MODEL_ID_MAX} letters, digits and signs, without spaces."
        )));
    }
    Ok(())
}

/// How deep the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Least.
    Low,
    /// Less than usual.
    Medium,
    /// As much as most work needs.
    High,
    /// More.
    Xhigh,
    /// Most.
    Max,
}

words!(Effort { Low = "low", Medium = "medium", High = "high", Xhigh = "xhigh", Max = "max" });

impl Effort {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];
}

/// What an app says about its model; what it leaves open is the builder's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelChoice {
    /// Which model.
    pub model: Option<ModelId>,
    /// How deep it thinks.
    pub effort: Option<Effort>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_words_of_the_provider() {
        for good in ["claude-opus-5-5", "library/qwen3:32b", "ft:gpt-x:org::id"] {
            assert_eq!(good.parse::<ModelId>().expect("an id").as_str(), good);
        }
        for wrong in ["", "two words", "tab\t", "ümlaut", &"x".repeat(201)] {
            assert!(wrong.parse::<ModelId>().is_err(), "{wrong}");
        }
        for effort in Effort::ALL {
            assert_eq!(effort.as_str().parse(), Ok(effort));
        }
    }
}
