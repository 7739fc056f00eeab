//! The templates: those embedded in the binary, and a user's own from the data directory.
//!
//! Owns what a template's folder looks like. A folder in the data directory with the name of an
//! embedded one takes its place. Knows nothing of apps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rust_embed::RustEmbed;

use crate::domain::{Invalid, TemplateKind, TemplateManifest, TemplateName, WorkspacePath};

#[derive(RustEmbed)]
#[folder = "app_templates/"]
struct Embedded;

/// A template with its starter files.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its folder's name.
    pub name: TemplateName,
    /// Its manifest.
    pub manifest: TemplateManifest,
    /// What a new app begins with.
    pub files: Vec<(WorkspacePath, Vec<u8>)>,
    /// Its own prompt for the model, if it has one.
    pub prompt: Option<String>,
}

impl Template {
    /// Whether this file belongs to the platform.
    pub fn owns(&self, path: &WorkspacePath) -> bool {
        self.manifest.platform_files.iter().any(|file| file == path.as_str())
    }

    /// The platform's files, as every build of this template gets them.
    pub fn platform_files(&self) -> impl Iterator<Item = &(WorkspacePath, Vec<u8>)> {
        self.files.iter().filter(|(path, _)| self.owns(path))
    }
}

/// A template's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("template {folder}: {reason}")]
pub struct CatalogError {
    folder: String,
    reason: String,
}

/// All templates, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog(BTreeMap<TemplateName, Arc<Template>>);

impl Catalog {
    /// Reads the embedded templates, then the folders in `own` if that folder exists.
    pub fn load(own: &Path) -> Result<Self, CatalogError> {
        let mut folders: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for path in Embedded::iter() {
            if let (Some((folder, file)), Some(content)) = (path.split_once('/'), Embedded::get(&path)) {
                folders.entry(folder.to_owned()).or_default().insert(file.to_owned(), content.data.into_owned());
            }
        }
        for (name, path) in subfolders(own)? {
            let mut files = BTreeMap::new();
            read_folder(&path, "", &mut files).map_err(|error| failed(&name, &error))?;
            folders.insert(name, files);
        }
        folders
            .into_iter()
            .map(|(folder, files)| template(&folder, files).map(|template| (template.name.clone(), Arc::new(template))))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The template of this name.
    pub fn get(&self, name: &TemplateName) -> Option<&Arc<Template>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.0.values()
    }

    /// The template whose keywords a description mentions most; without any, a static site, since
    /// that is what most first wishes are. Keywords of several words count for more.
    pub fn suggest(&self, description: &str) -> Option<&Arc<Template>> {
        let words: String = description
            .to_lowercase()
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { ' ' })
            .collect::<String>()
            .split_whitespace()
            // “every 15 minutes” is “every # minutes”, whatever the number.
            .map(|word| if word.bytes().all(|b| b.is_ascii_digit()) { "#" } else { word })
            .fold(" ".to_owned(), |text, word| text + word + " ");
        let score = |template: &Template| -> usize {
            template
                .manifest
                .keywords
                .iter()
                .filter(|keyword| words.contains(&format!(" {} ", keyword.to_lowercase())))
                .map(|keyword| keyword.split_whitespace().count() + 1)
                .sum()
        };
        let by_default = |template: &Template| template.manifest.kind == TemplateKind::Static;
        self.iter().max_by_key(|template| (score(template), by_default(template)))
    }
}

fn failed(folder: &str, reason: &dyn std::fmt::Display) -> CatalogError {
    CatalogError { folder: folder.to_owned(), reason: reason.to_string() }
}

fn subfolders(own: &Path) -> Result<Vec<(String, PathBuf)>, CatalogError> {
    let Ok(entries) = std::fs::read_dir(own) else { return Ok(Vec::new()) };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(&own.display().to_string(), &error))?;
        if entry.path().is_dir() {
            folders.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(folders)
}

fn read_folder(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_folder(&entry.path(), &format!("{name}/"), files)?;
        } else if kind.is_file() {
            files.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

fn template(folder: &str, files: BTreeMap<String, Vec<u8>>) -> Result<Template, CatalogError> {
    let name: TemplateName = folder.parse().map_err(|error: Invalid| failed(folder, &error))?;
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map_err(|error| failed(folder, &error));
    let manifest = files.get("template.toml").ok_or_else(|| failed(folder, &"there is no template.toml"))?;
    let manifest: TemplateManifest =
        toml::from_str(&text(manifest)?).map_err(|error| failed(folder, &error.message()))?;
    manifest.deployment().map_err(|error| failed(folder, &error))?;
    let prompt = files.get("prompt.md").map(text).transpose()?;
    let files = files
        .into_iter()
        .filter_map(|(path, bytes)| Some((path.strip_prefix("files/")?.to_owned(), bytes)))
        .map(|(path, bytes)| Ok((path.parse().map_err(|error: Invalid| failed(folder, &error))?, bytes)))
        .collect::<Result<Vec<_>, CatalogError>>()?;
    if !files.iter().any(|(path, _): &(WorkspacePath, _)| path.as_str() == "Dockerfile") {
        return Err(failed(folder, &"there is no files/Dockerfile"));
    }
    Ok(Template { name, manifest, files, prompt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_of_the_contract_are_there_and_are_suggested() {
        let catalog = Catalog::load(Path::new("/nonexistent")).expect("readable");
        let names: Vec<_> = catalog.iter().map(|template| template.name.to_string()).collect();
        assert_eq!(names, ["scheduled-job", "simple-api", "static-site", "webhook"]);
        for (description, expected) in [
            ("A landing page for my bakery", "static-site"),
            ("", "static-site"),
            ("A REST API that keeps a list of books", "simple-api"),
            ("Receive GitHub webhooks and count pushes", "webhook"),
            ("Every morning, send me a report", "scheduled-job"),
            ("Every 15 minutes, print how long a page takes", "scheduled-job"),
            ("A page about minutes of meetings every 2 years", "static-site"),
        ] {
            let suggested = catalog.suggest(description).expect("one");
            assert_eq!(suggested.name.as_str(), expected, "{description}");
        }
    }

    #[test]
    fn a_folder_of_ones_own_is_taken_in() {
        let own = tempfile::tempdir().expect("a folder");
        let folder = own.path().join("go-service");
        std::fs::create_dir_all(folder.join("files/src")).expect("made");
        std::fs::write(
            folder.join("template.toml"),
            "title='Go'\nsummary='s'\nkind='service'\nport=8080\nhealth='/health'\nbase='python'\nplatform_files=['Dockerfile']",
        )
        .expect("written");
        std::fs::write(folder.join("files/Dockerfile"), "FROM scratch").expect("written");
        std::fs::write(folder.join("files/src/main.go"), "package main").expect("written");
        let catalog = Catalog::load(own.path()).expect("readable");
        let template = catalog.get(&"go-service".parse().expect("a name")).expect("there");
        assert!(template.owns(&"Dockerfile".parse().expect("a path")));
        assert_eq!(template.files.len(), 2);
        std::fs::write(folder.join("template.toml"), "title='Go'").expect("written");
        let error = Catalog::load(own.path()).expect_err("refused").to_string();
        assert!(error.contains("go-service"), "{error}");
    }
}
