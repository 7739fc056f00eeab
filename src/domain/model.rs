//! The user's choice of model and effort.

use serde::{Deserialize, Serialize};

use super::{Invalid, validated_string, words};

/// Maximum length of a model's id in bytes.
const MODEL_ID_MAX: usize = 200;

validated_string! {
    /// A provider's id of a model, such as `claude-opus-5-5` or `library/qwen3:32b`.
    ModelId, check_model_id
}

fn check_model_id(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > MODEL_ID_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new(format!(
            "A model's id has 1 to {MODEL_ID_MAX} letters, digits and special characters, without spaces."
        )));
    }
    Ok(())
}

/// How much the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Least.
    Low,
    /// Less than usual.
    Medium,
    /// Enough for most work.
    High,
    /// More.
    Xhigh,
    /// Most.
    Max,
}

words!(Effort { Low = "low", Medium = "medium", High = "high", Xhigh = "xhigh", Max = "max" });

impl Effort {
    /// All levels, the lowest first.
    pub const ALL: [Self; 5] = [Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];
}

/// An app's choice of model; the builder's defaults apply to missing fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelChoice {
    /// The model.
    pub model: Option<ModelId>,
    /// The effort.
    pub effort: Option<Effort>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_characters_of_providers() {
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
