//! What the tools do: each call run against a [`ToolHost`], with an answer for the model and a
//! line for the user.

use regex::RegexBuilder;
use similar::{ChangeTag, TextDiff};

use super::agent::Rewrites;
use super::limits::Cap;
use super::material;
use super::near;
use super::ports::{HostError, ToolHost};
use super::proving;
use super::tools::ToolCall;
use crate::domain::{FileState, Question, WorkspacePath};

/// Most bytes of a file that one answer shows.
const READ_MAX: usize = 256 * 1024;
/// Most files that a list shows and a search looks into.
const FILES_MAX: usize = 2_000;
/// Largest file that a search looks into, in bytes.
const SEARCHED_MAX: u64 = 1024 * 1024;
/// Most lines that a search gives.
const MATCHES_MAX: usize = 100;
/// Longest piece of a matching line that is shown, in characters.
const MATCH_WIDTH: usize = 240;

/// Answers a question to the user.
const ASKED: &str = "The person sees the question now, and your turn ends. Their next message is the answer.";

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// For the model.
    pub answer: String,
    /// For the user, one line.
    pub summary: String,
    /// Whether it was done.
    pub ok: bool,
    /// What it did to a file.
    pub change: Option<(WorkspacePath, FileState)>,
}

impl ToolOutcome {
    /// A call that was done.
    pub fn done(summary: String, answer: String) -> Self {
        Self { answer, summary, ok: true, change: None }
    }

    fn changed(summary: String, path: WorkspacePath, state: FileState) -> Self {
        Self { answer: format!("{summary}."), summary, ok: true, change: Some((path, state)) }
    }

    /// A call that was not done, and why.
    pub fn refused(name: &str, why: impl Into<String>) -> Self {
        let answer = why.into();
        let reason = answer.split_once(". ").map_or(answer.as_str(), |(first, _)| first).trim_end_matches('.');
        Self { summary: format!("{name} refused: {}", one_line(reason)), answer, ok: false, change: None }
    }
}

/// A call that was run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What came of it.
    pub outcome: ToolOutcome,
    /// It was refused, so that it says nothing about what was written.
    pub refused: bool,
}

/// Why a call ends the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolStop {
    /// The turn's limit.
    Cap(Cap),
    /// The machine failed: a sentence for the user.
    Failed(String),
    /// The person is to be asked first; nothing was done.
    Ask(Question),
}

/// What bounds the calls of a turn.
pub struct Bounds<'a> {
    /// Bytes of any file written.
    pub file_bytes: usize,
    /// What may not be thrown away without asking; none where that is allowed.
    pub rewrites: Option<&'a mut Rewrites>,
}

impl Bounds<'_> {
    /// Whether `path` may become `text`, or be deleted where there is none.
    fn check(&self, path: &WorkspacePath, text: Option<&str>) -> Result<(), ToolStop> {
        if text.is_some_and(|text| text.len() > self.file_bytes) {
            return Err(ToolStop::Cap(Cap::FileBytes));
        }
        let question = self.rewrites.as_ref().and_then(|rewrites| rewrites.question(path, text));
        question.map_or(Ok(()), |question| Err(ToolStop::Ask(question)))
    }

    fn changed(&mut self, path: &WorkspacePath, text: Option<&str>) {
        if let Some(rewrites) = &mut self.rewrites {
            rewrites.changed(path, text);
        }
    }
}

/// Runs a call within its bounds.
pub async fn run<H: ToolHost>(
    host: &mut H,
    name: &str,
    call: ToolCall,
    mut bounds: Bounds<'_>,
) -> Result<Ran, ToolStop> {
    let outcome = match call {
        ToolCall::ListFiles => list(host).await,
        ToolCall::ReadFile { path, from_line, to_line } => read(host, path, from_line, to_line).await,
        ToolCall::Search { pattern } => search(host, &pattern).await,
        ToolCall::WriteFile { path, content } => {
            bounds.check(&path, Some(&content))?;
            let done = write(host, path.clone(), &content).await;
            if done.is_ok() {
                bounds.changed(&path, Some(&content));
            }
            done
        }
        ToolCall::EditFile { path, old_text, new_text } => match edited(host, &path, &old_text, &new_text).await {
            Ok((before, after)) => {
                bounds.check(&path, Some(&after))?;
                let done = write_edited(host, path.clone(), &before, &after).await;
                if done.is_ok() {
                    bounds.changed(&path, Some(&after));
                }
                done
            }
            Err(error) => Err(error),
        },
        ToolCall::Proving(call) => proving::run(host, call).await,
        ToolCall::DeleteFile { path } => {
            bounds.check(&path, None)?;
            let done = host.delete(&path).await;
            if done.is_ok() {
                bounds.changed(&path, None);
            }
            done.map(|()| ToolOutcome::changed(format!("Deleted {path}"), path, FileState::Deleted))
        }
        ToolCall::AskUser(question) => {
            let summary = format!("Asked: {}", one_line(&question.text));
            Ok(ToolOutcome::done(summary, ASKED.into()))
        }
    };
    match outcome {
        Ok(outcome) => Ok(Ran { outcome, refused: false }),
        Err(HostError::Refused(why)) => Ok(Ran { outcome: ToolOutcome::refused(name, why), refused: true }),
        Err(HostError::Failed(why)) => Err(ToolStop::Failed(why)),
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, HostError> {
    Err(HostError::Refused(why.into()))
}

async fn list<H: ToolHost>(host: &mut H) -> Result<ToolOutcome, HostError> {
    let files = host.list().await?;
    let mut lines: Vec<String> =
        files.iter().take(FILES_MAX).map(|file| format!("{} ({} bytes)", file.path, file.bytes)).collect();
    if files.len() > FILES_MAX {
        lines.push(format!("… and {} more", files.len() - FILES_MAX));
    }
    if lines.is_empty() {
        lines.push("The workspace is empty.".into());
    }
    Ok(ToolOutcome::done(format!("Listed {}", counted(files.len(), "file")), lines.join("\n")))
}

async fn read<H: ToolHost>(
    host: &mut H,
    path: WorkspacePath,
    from_line: Option<usize>,
    to_line: Option<usize>,
) -> Result<ToolOutcome, HostError> {
    let text = read_text(host, &path).await?;
    let total = text.lines().count();
    let (from, to) = (from_line.unwrap_or(1).max(1), to_line.unwrap_or(total).min(total));
    let whole = from_line.is_none() && to_line.is_none();
    if !whole && from > to {
        return refuse(format!("{path} has {}: there are none from {from} to {to}.", counted(total, "line")));
    }
    let mut answer =
        if whole { text } else { text.split_inclusive('\n').skip(from - 1).take(to + 1 - from).collect::<String>() };
    let cut = answer.len() > READ_MAX;
    answer.truncate(answer.floor_char_boundary(READ_MAX));
    let summary = if whole {
        format!("Read {path} · {}", counted(total, "line"))
    } else {
        format!("Read {path} · lines {from}–{to} of {total}")
    };
    let source = if whole { format!("file {path}") } else { format!("lines {from}–{to} of file {path}") };
    let answer = if answer.is_empty() { "The file is empty.".into() } else { material::wrap(&source, &answer) };
    let more = if cut { "\n… cut here: the rest can be read with from_line and to_line." } else { "" };
    let answer = answer + more;
    Ok(ToolOutcome::done(summary, answer))
}

async fn read_text<H: ToolHost>(host: &mut H, path: &WorkspacePath) -> Result<String, HostError> {
    let bytes = host.read(path).await?;
    let size = bytes.len();
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => refuse(format!("{path} is not a text file ({size} bytes).")),
    }
}

async fn search<H: ToolHost>(host: &mut H, pattern: &str) -> Result<ToolOutcome, HostError> {
    let regex = match RegexBuilder::new(pattern).size_limit(1 << 20).build() {
        Ok(regex) => regex,
        Err(error) => {
            return refuse(format!("The pattern is no regular expression: {}.", one_line(&error.to_string())));
        }
    };
    let (mut lines, mut files, mut more) = (Vec::new(), 0, false);
    let listed = host.list().await?;
    for file in listed.into_iter().take(FILES_MAX).filter(|file| file.bytes <= SEARCHED_MAX) {
        let text = match read_text(host, &file.path).await {
            Ok(text) => text,
            Err(HostError::Refused(_)) => continue,
            Err(failed @ HostError::Failed(_)) => return Err(failed),
        };
        let before = lines.len();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| regex.is_match(line)) {
            if lines.len() == MATCHES_MAX {
                more = true;
                break;
            }
            let shown: String = line.trim_end().chars().take(MATCH_WIDTH).collect();
            lines.push(format!("{}:{}: {shown}", file.path, number + 1));
        }
        files += usize::from(lines.len() > before);
        if more {
            lines.push("… and more: narrow the pattern.".into());
            break;
        }
    }
    let found = lines.len().min(MATCHES_MAX);
    let shown: String = one_line(pattern).chars().take(60).collect();
    let summary = match found {
        0 => format!("Searched “{shown}” · nothing found"),
        _ => format!("Searched “{shown}” · {} in {}", counted(found, "line"), counted(files, "file")),
    };
    let answer =
        if found == 0 { "No line matches.".into() } else { material::wrap("lines of files", &lines.join("\n")) };
    Ok(ToolOutcome::done(summary, answer))
}

async fn write<H: ToolHost>(host: &mut H, path: WorkspacePath, content: &str) -> Result<ToolOutcome, HostError> {
    host.write(&path, content).await?;
    let summary = format!("Wrote {path} · {}", counted(content.lines().count(), "line"));
    Ok(ToolOutcome::changed(summary, path, FileState::Written))
}

/// A file's text before and after an edit that is not yet written.
async fn edited<H: ToolHost>(
    host: &mut H,
    path: &WorkspacePath,
    old: &str,
    new: &str,
) -> Result<(String, String), HostError> {
    if old.is_empty() {
        return refuse("old_text is empty: give the text to replace, or use write_file for a new file.");
    }
    if old == new {
        return refuse("old_text and new_text are the same: there is nothing to change.");
    }
    let before = read_text(host, path).await?;
    if let Some(why) = near::misfit(path.as_str(), &before, old) {
        return refuse(why);
    }
    let at = before.find(old).unwrap_or_default();
    let after = [&before[..at], new, &before[at + old.len()..]].concat();
    Ok((before, after))
}

async fn write_edited<H: ToolHost>(
    host: &mut H,
    path: WorkspacePath,
    before: &str,
    after: &str,
) -> Result<ToolOutcome, HostError> {
    host.write(&path, after).await?;
    let (mut added, mut removed) = (0, 0);
    for change in TextDiff::from_lines(before, after).iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => added += 1,
            ChangeTag::Delete => removed += 1,
            ChangeTag::Equal => {}
        }
    }
    Ok(ToolOutcome::changed(format!("Edited {path} +{added} −{removed}"), path, FileState::Written))
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Text on one line, of bounded length.
fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(200) {
        line.truncate(at);
        line.push('…');
    }
    line
}
