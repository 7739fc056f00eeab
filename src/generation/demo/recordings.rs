//! The recorded apps: what is written for a description, and for what may be asked next.
//!
//! Each folder of `recordings/` is one: `recording.toml` names its words and sentences, `0/` holds the files of the first
//! turn, `1/`, `2/` … what each follow-up changes: new files as they are, and `edits.toml` with text to replace. Embedded
//! and read once.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use rust_embed::Embed;
use serde::Deserialize;

use super::words::Topic;
use crate::domain::{TemplateName, WorkspacePath};

/// Most bytes of all recordings together.
const ALL_MAX: usize = 450 * 1024;
/// Most bytes of one file.
const FILE_MAX: usize = 64 * 1024;
/// Longest address that is taken from a description, in bytes.
const ADDRESS_MAX: usize = 500;
/// Lines shorter than this occur in any app and tell none from another, in bytes.
const TELLING_LINE: usize = 12;

#[derive(Embed)]
#[folder = "src/generation/demo/recordings/"]
struct Embedded;

/// A file as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFile {
    /// Where.
    pub path: WorkspacePath,
    /// All of it.
    pub text: String,
}

/// Text that is replaced. The old text occurs once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEdit {
    /// In which file.
    pub path: WorkspacePath,
    /// What is there.
    pub old: String,
    /// What takes its place.
    pub new: String,
}

/// What may be asked next.
#[derive(Debug, Clone)]
pub struct FollowUp {
    /// In a person's words.
    pub prompt: String,
    /// What is said before it is done.
    pub before: String,
    /// What is said after.
    pub after: String,
    /// New files.
    pub files: Vec<RecordedFile>,
    /// Changes to files.
    pub edits: Vec<RecordedEdit>,
    topic: Topic,
}

/// An app with its conversation.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Its folder's name.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// What it is built from.
    pub template: TemplateName,
    /// What a person wrote.
    pub description: String,
    /// One sentence about it.
    pub note: String,
    /// What is said before the first file.
    pub before: String,
    /// What is said at the end.
    pub after: String,
    /// The first turn's files in the order in which they are written.
    pub files: Vec<RecordedFile>,
    /// In the order in which they are offered.
    pub follow_ups: Vec<FollowUp>,
    address: Option<String>,
    topic: Topic,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    title: String,
    template: String,
    description: String,
    note: String,
    /// Groups of words: one of each has to be in a description.
    must: Vec<String>,
    /// Words that fit.
    fits: String,
    /// An address in the files that gives way to the one in a description.
    #[serde(default)]
    address: Option<String>,
    before: String,
    after: String,
    /// The order in which the first turn's files are written.
    files: Vec<String>,
    follow_up: Vec<FollowUpManifest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowUpManifest {
    prompt: String,
    must: Vec<String>,
    #[serde(default)]
    fits: String,
    before: String,
    after: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Edits {
    #[serde(default)]
    edit: Vec<EditManifest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditManifest {
    path: String,
    old: String,
    /// What takes its place.
    new: Option<String>,
    /// What is put behind it instead.
    add: Option<String>,
}

static ALL: LazyLock<Vec<Recording>> = LazyLock::new(|| read_all().expect("a test reads each of them"));

/// All of them, by name.
pub fn all() -> &'static [Recording] {
    &ALL
}

/// The one of this name.
pub fn named(name: &str) -> Option<&'static Recording> {
    all().iter().find(|recording| recording.name == name)
}

/// The one that a description is close to.
pub fn close_to(description: &str) -> Option<&'static Recording> {
    let words = without_addresses(description);
    best(all(), |recording| recording.topic.fits(&words))
}

/// What a description is about does not depend on the addresses in it.
fn without_addresses(text: &str) -> String {
    text.split_whitespace().filter(|word| address_in(word).is_none()).collect::<Vec<_>>().join(" ")
}

/// The address of a page that a text names, as a URL.
fn address_in(text: &str) -> Option<reqwest::Url> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_matches(|c: char| matches!(c, ',' | '.' | ';' | ')' | '(' | '"' | '“' | '”'));
        let url = reqwest::Url::parse(word).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && url.as_str().len() <= ADDRESS_MAX)
            .then_some(url)
    })
}

/// The one with the best share; the first of equals.
fn best<T>(all: &[T], share: impl Fn(&T) -> Option<usize>) -> Option<&T> {
    let shares = all.iter().filter_map(|one| share(one).map(|share| (share, one)));
    shares
        .fold(
            None::<(usize, &T)>,
            |best, next| if best.is_some_and(|best| best.0 >= next.0) { best } else { Some(next) },
        )
        .map(|(_, one)| one)
}

/// The one that wrote this main file, also where parts of it have changed since.
pub fn writer_of(main_file: &str, content: &str) -> Option<&'static Recording> {
    let there: HashSet<&str> = content.lines().map(str::trim).collect();
    best(all(), |recording| {
        let file = recording.files.iter().find(|file| file.path.as_str() == main_file)?;
        let telling: HashSet<&str> =
            file.text.lines().map(str::trim).filter(|line| line.len() >= TELLING_LINE).collect();
        let found = telling.iter().filter(|line| there.contains(*line)).count();
        Some(found * 100 / telling.len().max(1)).filter(|share| *share >= 60)
    })
}

impl Recording {
    /// Whether these are the words of its description, but for case and punctuation.
    pub fn is_described_by(&self, words: &str) -> bool {
        super::words::tokens(words) == super::words::tokens(&self.description)
    }

    /// The first turn's files, with the address that the description names in the place of the recorded one.
    pub fn files_for(&self, description: &str) -> Vec<RecordedFile> {
        let mut files = self.files.clone();
        if let Some((recorded, wanted)) = self.address.as_ref().zip(address_in(description)) {
            for file in &mut files {
                file.text = file.text.replace(recorded, wanted.as_str());
            }
        }
        files
    }

    /// The follow-up that a message asks for.
    pub fn follow_up(&self, message: &str) -> Option<&FollowUp> {
        best(&self.follow_ups, |follow_up| follow_up.topic.fits(message))
    }
}

fn read_all() -> Result<Vec<Recording>, String> {
    let mut folders: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut bytes = 0;
    for path in Embedded::iter() {
        let Some((folder, file)) = path.split_once('/') else { continue };
        let content = Embedded::get(&path).map(|file| file.data.into_owned()).unwrap_or_default();
        bytes += content.len();
        if content.len() > FILE_MAX || bytes > ALL_MAX {
            return Err(format!("{path}: the recordings are too large"));
        }
        let text = String::from_utf8(content).map_err(|_| format!("{path} is no text"))?;
        folders.entry(folder.to_owned()).or_default().insert(file.to_owned(), text);
    }
    folders.into_iter().map(|(name, files)| read(&name, files).map_err(|why| format!("{name}: {why}"))).collect()
}

fn read(name: &str, mut files: BTreeMap<String, String>) -> Result<Recording, String> {
    let manifest = files.remove("recording.toml").ok_or("recording.toml is missing")?;
    let manifest: Manifest = toml::from_str(&manifest).map_err(|error| error.to_string())?;
    let mut first = Vec::new();
    for path in &manifest.files {
        let text = files.remove(&format!("0/{path}")).ok_or_else(|| format!("0/{path} is missing"))?;
        first.push(RecordedFile { path: parsed(path)?, text });
    }
    let mut follow_ups = Vec::new();
    for (nth, follow_up) in manifest.follow_up.into_iter().enumerate() {
        follow_ups.push(read_follow_up(nth + 1, follow_up, &mut files)?);
    }
    if let Some(path) = files.keys().next() {
        return Err(format!("{path} belongs to no turn"));
    }
    let topic = Topic::new(
        manifest.must.iter().map(String::as_str),
        [manifest.description.as_str(), &manifest.fits, &manifest.title],
    );
    Ok(Recording {
        name: name.to_owned(),
        title: manifest.title,
        template: manifest.template.parse().map_err(|error: crate::domain::Invalid| error.to_string())?,
        description: manifest.description,
        note: manifest.note,
        before: manifest.before,
        after: manifest.after,
        files: first,
        follow_ups,
        address: manifest.address,
        topic,
    })
}

fn read_follow_up(
    number: usize,
    manifest: FollowUpManifest,
    files: &mut BTreeMap<String, String>,
) -> Result<FollowUp, String> {
    let folder = format!("{number}/");
    let paths: Vec<String> = files.keys().filter(|path| path.starts_with(&folder)).cloned().collect();
    let (mut new, mut edits) = (Vec::new(), Vec::new());
    for full in paths {
        let text = files.remove(&full).unwrap_or_default();
        let path = &full[folder.len()..];
        if path != "edits.toml" {
            new.push(RecordedFile { path: parsed(path)?, text });
            continue;
        }
        let read: Edits = toml::from_str(&text).map_err(|error| format!("{full}: {error}"))?;
        for edit in read.edit {
            let new = match (edit.new, edit.add) {
                (Some(new), None) => new,
                (None, Some(add)) => format!("{}{add}", edit.old),
                _ => return Err(format!("{full}: an edit has either new or add")),
            };
            edits.push(RecordedEdit { path: parsed(&edit.path)?, old: edit.old, new });
        }
    }
    if new.is_empty() && edits.is_empty() {
        return Err(format!("follow-up {number} changes nothing"));
    }
    let topic = Topic::new(manifest.must.iter().map(String::as_str), [manifest.prompt.as_str(), &manifest.fits]);
    Ok(FollowUp { prompt: manifest.prompt, before: manifest.before, after: manifest.after, files: new, edits, topic })
}

fn parsed(path: &str) -> Result<WorkspacePath, String> {
    path.parse().map_err(|error: crate::domain::Invalid| error.to_string())
}
