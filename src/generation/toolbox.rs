//! What the tools do: each call run against a [`ToolHost`], with an answer for the model and a
//! line for the user.

use std::time::{Duration, Instant};

use regex::{Regex, RegexBuilder};

use super::agent::Rewrites;
use super::limits::Cap;
use super::material;
use super::near;
use super::ports::{HostError, ToolHost};
use super::proving;
use super::tools::ToolCall;
use crate::bounded_work::Budget;
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
/// Longest pattern, in bytes.
const PATTERN_MAX: usize = 1_000;
/// Bytes that a compiled pattern may take: matching takes time that grows with it.
const PATTERN_COMPILED_MAX: usize = 1 << 20;
/// Bytes at the beginning of a line that are searched: the budget is looked at between lines.
const LINE_SEARCHED_MAX: usize = 16 * 1024;
/// Bytes of files that are searched at once.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long a search may take.
const SEARCH_TIME: Duration = Duration::from_secs(6);

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
            Ok(after) => {
                bounds.check(&path, Some(&after))?;
                let done = write_edited(host, path.clone(), &after).await;
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
    if pattern.len() > PATTERN_MAX {
        return refuse(format!("The pattern has {} bytes, and at most {PATTERN_MAX} are allowed.", pattern.len()));
    }
    let text = pattern.to_owned();
    let compiled = host.compute("compile a search", move |_| compiled(&text)).await?;
    let regex = match compiled {
        Ok(regex) => regex,
        Err(why) => return refuse(format!("The pattern is no regular expression: {why}.")),
    };
    let mut search = Search::default();
    let listed = host.list().await?;
    let mut files = listed.into_iter().take(FILES_MAX).filter(|file| file.bytes <= SEARCHED_MAX);
    while !search.is_over() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(file) = files.next()
        {
            match read_text(host, &file.path).await {
                Ok(text) => {
                    bytes += text.len();
                    batch.push((file.path, text));
                }
                Err(HostError::Refused(_)) => {}
                Err(failed @ HostError::Failed(_)) => return Err(failed),
            }
        }
        if batch.is_empty() {
            break;
        }
        let regex = regex.clone();
        let work = move |budget: &Budget| {
            search.look(&regex, &batch, budget);
            search
        };
        search = host.compute("search", work).await?;
    }
    let Search { mut lines, files, more, late, .. } = search;
    let found = lines.len();
    if more {
        lines.push("… and more: narrow the pattern.".into());
    }
    if late {
        lines.push(
            "… the search took too long and was stopped: not all files were searched. Use a simpler pattern.".into(),
        );
    }
    let shown: String = one_line(pattern).chars().take(60).collect();
    let summary = match found {
        0 if late => format!("Searched “{shown}” · stopped, it took too long"),
        0 => format!("Searched “{shown}” · nothing found"),
        _ => format!("Searched “{shown}” · {} in {}", counted(found, "line"), counted(files, "file")),
    };
    let answer =
        if lines.is_empty() { "No line matches.".into() } else { material::wrap("lines of files", &lines.join("\n")) };
    Ok(ToolOutcome::done(summary, answer))
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_COMPILED_MAX).build();
    built.map_err(|error| one_line(&error.to_string()))
}

/// What a search has found.
#[derive(Default)]
struct Search {
    lines: Vec<String>,
    /// Files with lines that match.
    files: usize,
    /// There are more lines.
    more: bool,
    /// It was stopped.
    late: bool,
    took: Duration,
}

impl Search {
    fn is_over(&self) -> bool {
        self.more || self.late
    }

    fn look(&mut self, regex: &Regex, files: &[(WorkspacePath, String)], budget: &Budget) {
        let started = Instant::now();
        let budget = budget.at_most(SEARCH_TIME.saturating_sub(self.took));
        for (path, text) in files {
            let before = self.lines.len();
            for (nth, line) in text.lines().enumerate() {
                if budget.is_spent() {
                    self.late = true;
                    break;
                }
                if !regex.is_match(&line[..line.floor_char_boundary(LINE_SEARCHED_MAX)]) {
                    continue;
                }
                if self.lines.len() == MATCHES_MAX {
                    self.more = true;
                    break;
                }
                let shown: String = line.trim_end().chars().take(MATCH_WIDTH).collect();
                self.lines.push(format!("{path}:{}: {shown}", nth + 1));
            }
            self.files += usize::from(self.lines.len() > before);
            if self.is_over() {
                break;
            }
        }
        self.took += started.elapsed();
    }
}

async fn write<H: ToolHost>(host: &mut H, path: WorkspacePath, content: &str) -> Result<ToolOutcome, HostError> {
    host.write(&path, content).await?;
    let summary = format!("Wrote {path} · {}", counted(content.lines().count(), "line"));
    Ok(ToolOutcome::changed(summary, path, FileState::Written))
}

/// A file's text after an edit that is not yet written.
async fn edited<H: ToolHost>(host: &mut H, path: &WorkspacePath, old: &str, new: &str) -> Result<String, HostError> {
    if old.is_empty() {
        return refuse("old_text is empty: give the text to replace, or use write_file for a new file.");
    }
    if old == new {
        return refuse("old_text and new_text are the same: there is nothing to change.");
    }
    let before = read_text(host, path).await?;
    let (name, old, new) = (path.to_string(), old.to_owned(), new.to_owned());
    let work = move |budget: &Budget| match near::misfit(&name, &before, &old, budget) {
        Some(why) => Err(HostError::Refused(why)),
        None => Ok(before.replacen(&old, &new, 1)),
    };
    host.compute("edit a file", work).await?
}

async fn write_edited<H: ToolHost>(host: &mut H, path: WorkspacePath, after: &str) -> Result<ToolOutcome, HostError> {
    let written = host.write(&path, after).await?;
    let summary = format!("Edited {path} +{} −{}", written.additions, written.deletions);
    Ok(ToolOutcome::changed(summary, path, FileState::Written))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::stage::MemoryHost;

    async fn searched(host: &mut MemoryHost, pattern: &str) -> ToolOutcome {
        match search(host, pattern).await {
            Ok(outcome) => outcome,
            Err(error) => ToolOutcome::refused("search", error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_search_says_what_it_found_and_where_it_was_stopped() {
        let long = format!("{}needle", "x".repeat(LINE_SEARCHED_MAX));
        let mut host = MemoryHost::with(&[("a.txt", "needle\nhay\n"), ("b.txt", &long), ("c.txt", "a needle\n")]);
        let found = searched(&mut host, "needle").await;
        assert_eq!(found.summary, "Searched “needle” · 2 lines in 2 files");
        assert!(found.answer.contains("a.txt:1: needle\nc.txt:1: a needle"), "{}", found.answer);
        assert_eq!(searched(&mut host, "nothing").await.answer, "No line matches.");
        for pattern in ["(", &"a".repeat(PATTERN_MAX + 1), &"(a{1000}){1000}".repeat(3)] {
            assert!(!searched(&mut host, pattern).await.ok, "{}", &pattern[..pattern.len().min(40)]);
        }
    }

    #[test]
    fn a_search_ends_with_its_budget() {
        let files = [("a.txt".parse().unwrap(), "needle\n".repeat(10))];
        let regex = compiled("needle").unwrap();
        let mut search = Search::default();
        search.look(&regex, &files, &Budget::of(Duration::ZERO));
        assert!(search.late && search.is_over() && search.lines.is_empty());
        let mut search = Search { took: SEARCH_TIME, ..Search::default() };
        search.look(&regex, &files, &Budget::unlimited());
        assert!(search.late, "over all files together");
        let mut search = Search::default();
        search.look(&regex, &files, &Budget::unlimited());
        assert_eq!((search.lines.len(), search.late), (10, false));
    }
}
