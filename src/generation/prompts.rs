//! The system prompt: `prompts/system.md`, the same for every app, followed by
//! the template's prompt.
//!
//! It must not contain anything that changes from turn to turn, because the provider caches it.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, context};
use rust_embed::RustEmbed;

use crate::domain::{AppName, ResourceLimits, TemplateManifest, TemplateName};

#[derive(RustEmbed)]
#[folder = "prompts/"]
struct Prompts;

/// Variables of prompts.
#[derive(Debug, Clone, Copy)]
pub struct PromptFacts<'a> {
    /// The app.
    pub app_name: &'a AppName,
    /// Its template.
    pub template: &'a TemplateName,
    /// The template's manifest.
    pub manifest: &'a TemplateManifest,
    /// Names of the environment variables with the app's secrets. Never their values.
    pub secrets: &'a [String],
}

/// An invalid prompt, for example of a custom template.
#[derive(Debug, thiserror::Error)]
#[error("the prompt of the template “{template}” cannot be used: {reason}")]
pub struct PromptError {
    template: String,
    reason: String,
}

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    // A misspelt variable is an error, not an empty string.
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine
});

/// The system prompt for an app: the general part, then the part of its template. `own` is the
/// prompt in the template's folder; without it, the file with the template's name in `prompts/` is
/// used, if it exists.
pub fn system(facts: &PromptFacts<'_>, own: Option<&str>) -> Result<String, PromptError> {
    let common = embedded("system").unwrap_or_default();
    let template = own.map(str::to_owned).or_else(|| embedded(facts.template.as_str())).unwrap_or_default();
    let limits = ResourceLimits::default();
    let values = context! {
        app_name => facts.app_name.as_str(),
        template => facts.template.as_str(),
        title => &facts.manifest.title,
        port => facts.manifest.port.map(u64::from),
        health_path => facts.manifest.health.clone(),
        platform_files => facts.manifest.platform_files.clone(),
        secrets => facts.secrets.to_vec(),
        memory_mib => limits.memory_bytes / (1024 * 1024),
        cores => cores(limits.cpu_millis),
        processes => limits.processes,
    };
    let render = |text: &str| {
        let rendered = ENGINE.render_named_str("prompt.md", text, &values);
        rendered.map(|text| text.trim().to_owned()).map_err(|error| PromptError {
            template: facts.template.to_string(),
            // The engine's message names the line; its chain would repeat the whole text.
            reason: error.to_string(),
        })
    };
    let parts = [render(&common)?, render(&template)?];
    Ok(parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("\n\n"))
}

/// Thousandths of a core, in words.
fn cores(millis: i64) -> String {
    match millis {
        500 => "half a processor".to_owned(),
        1000 => "one processor".to_owned(),
        millis => format!("{millis} thousandths of a processor"),
    }
}

fn embedded(name: &str) -> Option<String> {
    let file = Prompts::get(&format!("{name}.md"))?;
    Some(String::from_utf8_lossy(&file.data).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(port: Option<u16>, platform_files: &[&str]) -> TemplateManifest {
        let quoted: Vec<String> = platform_files.iter().map(|file| format!("{file:?}")).collect();
        let port = port.map_or(String::new(), |port| format!("port = {port}\nhealth = \"/health\"\n"));
        let text = format!(
            "title = \"T\"\nsummary = \"S\"\nkind = \"service\"\nbase = \"python\"\n{port}platform_files = [{}]\n",
            quoted.join(", ")
        );
        toml::from_str(&text).unwrap()
    }

    fn render(template: &str, manifest: &TemplateManifest, own: Option<&str>) -> Result<String, PromptError> {
        let (app_name, template) = ("brisk-otter".parse().unwrap(), template.parse().unwrap());
        let secrets = ["WEBHOOK_SECRET".to_owned()];
        system(&PromptFacts { app_name: &app_name, template: &template, manifest, secrets: &secrets }, own)
    }

    #[test]
    fn prompts_match_their_snapshots() {
        let catalog = crate::catalog::Catalog::load(std::path::Path::new("/nonexistent")).unwrap();
        for template in catalog.iter() {
            let name = template.name.as_str();
            insta::assert_snapshot!(name, render(name, &template.manifest, template.prompt.as_deref()).unwrap());
        }
    }

    #[test]
    fn each_prompt_names_the_limits_of_the_platform() {
        let catalog = crate::catalog::Catalog::load(std::path::Path::new("/nonexistent")).unwrap();
        for template in catalog.iter() {
            let text = render(template.name.as_str(), &template.manifest, None).unwrap();
            for fact in
                ["ordinary user", "read-only", "`/tmp`", "128 MiB", "half a processor", "Load nothing from other hosts"]
            {
                assert!(text.contains(fact), "{}: {fact}", template.name);
            }
            match (template.manifest.port, &template.manifest.health) {
                (Some(port), Some(health)) => {
                    assert!(
                        text.contains(&format!("port {port}")) && text.contains(&format!("`{health}`"))
                            || text.contains(&format!("GET {health}")),
                        "{}",
                        template.name
                    );
                }
                _ => assert!(text.contains("no port"), "{}", template.name),
            }
            for file in &template.manifest.platform_files {
                assert!(text.contains(&format!("`{file}`")), "{}: {file}", template.name);
            }
        }
    }

    #[test]
    fn each_embedded_template_has_a_valid_prompt() {
        let manifest = manifest(Some(8080), &["Dockerfile"]);
        let alone = render("none-of-ours", &manifest, None).unwrap();
        for template in ["static-site", "simple-api", "webhook", "scheduled-job"] {
            let text = render(template, &manifest, None).unwrap();
            let own = text.strip_prefix(&alone).expect("the general part comes first and is the same for each");
            assert!(own.contains("brisk-otter") && !text.contains("{{") && !text.contains("{%"), "{text}");
        }
        // Long enough for the provider's cache: at least 512 tokens.
        assert!(alone.len() > 2_500);
    }

    #[test]
    fn a_template_can_have_its_own_prompt() {
        let manifest = manifest(Some(9000), &[]);
        let text = render("mine", &manifest, Some("Port {{ port }} of {{ app_name }}: <b>")).unwrap();
        assert!(text.ends_with("\n\nPort 9000 of brisk-otter: <b>"), "{text}");
        for wrong in ["{{ typo }}", "{% if %}"] {
            let error = render("mine", &manifest, Some(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("the prompt of the template “mine” cannot be used"), "{error}");
        }
    }
}
