//! The recorded apps: their files, and the changes for the messages that may follow.
//!
//! Each folder of `recordings/` is one recording: `recording.toml` has its keywords and texts, `0/` the files of the
//! first turn, and `1/`, `2/` … the changes of each follow-up: complete new files, and `edits.toml` with text to
//! replace. They are embedded, and parsed once.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use rust_embed::Embed;
use serde::Deserialize;

use super::words::Topic;
use crate::domain::{TemplateName, WorkspacePath};

/// Maximum size of all recordings together, in bytes.
const ALL_MAX: usize = 450 * 1024;
/// Maximum size of one file, in bytes.
const FILE_MAX: usize = 64 * 1024;
/// Maximum length of an address from a description, in bytes.
const ADDRESS_MAX: usize = 500;
/// Minimum length in bytes of lines that identify an app. Shorter ones occur in any app.
const TELLING_LINE: usize = 12;

#[derive(Embed)]
#[folder = "src/generation/demo/recordings/"]
struct Embedded;

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFile {
    /// Its path.
    pub path: WorkspacePath,
    /// Its whole text.
    pub text: String,
}

/// A replacement of text. The old text occurs once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEdit {
    /// The path of the file.
    pub path: WorkspacePath,
    /// The old text.
    pub old: String,
    /// The new text.
    pub new: String,
}

/// A message that may follow, and its changes.
#[derive(Debug, Clone)]
pub struct FollowUp {
    /// The message, in a user's words.
    pub prompt: String,
    /// The text before the changes.
    pub before: String,
    /// The text after the changes.
    pub after: String,
    /// New files.
    pub files: Vec<RecordedFile>,
    /// Edits of existing files.
    pub edits: Vec<RecordedEdit>,
    topic: Topic,
}

/// An app with its conversation.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Its folder's name.
    pub name: String,
    /// Its title for users.
    pub title: String,
    /// Its template.
    pub template: TemplateName,
    /// The description, in a user's words.
    pub description: String,
    /// One sentence about it.
    pub note: String,
    /// The text before the first file.
    pub before: String,
    /// The text at the end.
    pub after: String,
    /// The files of the first turn, in the order in which they are written.
    pub files: Vec<RecordedFile>,
    /// The follow-ups, in the order in which they are offered.
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
    /// Groups of words: a description must contain one word of each.
    must: Vec<String>,
    /// Other words that fit.
    fits: String,
    /// An address in the files that is replaced with the one in a description.
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
    /// The new text.
    new: Option<String>,
    /// Text that is inserted after the old one instead.
    add: Option<String>,
}

static ALL: LazyLock<Vec<Recording>> = LazyLock::new(|| read_all().expect("a test reads each of them"));

/// All recordings, sorted by name.
pub fn all() -> &'static [Recording] {
    &ALL
}

/// The recording with this name.
pub fn named(name: &str) -> Option<&'static Recording> {
    all().iter().find(|recording| recording.name == name)
}

/// The recording that fits a description best, if any.
pub fn close_to(description: &str) -> Option<&'static Recording> {
    let words = without_addresses(description);
    best(all(), |recording| recording.topic.fits(&words))
}

/// The addresses in a description do not influence its subject.
fn without_addresses(text: &str) -> String {
    text.split_whitespace().filter(|word| address_in(word).is_none()).collect::<Vec<_>>().join(" ")
}

/// The first address of a page in a text, as a URL.
fn address_in(text: &str) -> Option<reqwest::Url> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_matches(|c: char| matches!(c, ',' | '.' | ';' | ')' | '(' | '"' | '“' | '”'));
        let url = reqwest::Url::parse(word).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && url.as_str().len() <= ADDRESS_MAX)
            .then_some(url)
    })
}

/// The item with the highest share; the first one of equal items.
fn best<T>(all: &[T], share: impl Fn(&T) -> Option<usize>) -> Option<&T> {
    let shares = all.iter().filter_map(|one| share(one).map(|share| (share, one)));
    shares
        .fold(
            None::<(usize, &T)>,
            |best, next| if best.is_some_and(|best| best.0 >= next.0) { best } else { Some(next) },
        )
        .map(|(_, one)| one)
}

/// The recording that wrote this main file, even if parts of it were changed since.
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
    /// Whether these words are its description, apart from case and punctuation.
    pub fn is_described_by(&self, words: &str) -> bool {
        super::words::tokens(words) == super::words::tokens(&self.description)
    }

    /// The files of the first turn. The address in the description replaces the recorded one.
    pub fn files_for(&self, description: &str) -> Vec<RecordedFile> {
        let mut files = self.files.clone();
        if let Some((recorded, wanted)) = self.address.as_ref().zip(address_in(description)) {
            for file in &mut files {
                file.text = file.text.replace(recorded, wanted.as_str());
            }
        }
        files
    }

    /// The follow-up that fits a message.
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
