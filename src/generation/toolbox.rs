//! Executes tool calls on a [`ToolHost`], with a result for the model and a
//! line for the user.

use super::limits::Cap;
use super::material;
use super::near;
use super::outcome::{ToolOutcome, ToolStop, one_line};
use super::ports::{HostError, SearchFound, SearchLimits, ToolHost};
use super::rewrite::Rewrites;
use super::tools::ToolCall;
use super::verification;
use crate::bounded_work::Budget;
use crate::domain::{FileState, WorkspacePath};

/// Maximum bytes of a file in one result.
const READ_MAX: usize = 256 * 1024;
/// Maximum number of listed files.
const FILES_MAX: usize = 2_000;
/// Maximum length of a pattern in bytes.
const PATTERN_MAX: usize = 1_000;
/// The result of a question to the user.
const ASKED: &str = "The person sees the question now, and your turn ends. Their next message is the answer.";

/// Limits of the calls of a turn.
pub struct Bounds<'a> {
    /// Maximum bytes of a written file.
    pub file_bytes: usize,
    /// The protected files; `None` if rewriting them is allowed.
    pub rewrites: Option<&'a mut Rewrites>,
}

impl Bounds<'_> {
    /// Checks whether `path` may become `text`, or be deleted if it is `None`.
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

/// Whether a tool changes files.
pub fn is_edit(tool: &str) -> bool {
    matches!(tool, "write_file" | "edit_file" | "delete_file")
}

/// Executes a call within its limits.
pub async fn run<H: ToolHost>(
    host: &mut H,
    name: &str,
    call: ToolCall,
    mut bounds: Bounds<'_>,
) -> Result<ToolOutcome, ToolStop> {
    let path = call.changes().cloned();
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
        ToolCall::Verification(call) => verification::run(host, call).await,
        ToolCall::DeleteFile { path } => {
            bounds.check(&path, None)?;
            let done = host.delete(&path).await;
            if done.is_ok() {
                bounds.changed(&path, None);
            }
            done.map(|()| ToolOutcome::changed(format!("Deleted {path}"), path, FileState::Deleted))
        }
        ToolCall::NameVersion(title) => {
            Ok(ToolOutcome::done(format!("Named this version “{title}”"), "The version has this title.".into()))
        }
        ToolCall::AskUser(question) => {
            let summary = format!("Asked: {}", one_line(&question.text));
            Ok(ToolOutcome::done(summary, ASKED.into()))
        }
    };
    match outcome {
        Ok(outcome) => Ok(outcome),
        Err(HostError::Refused(why)) => Ok(ToolOutcome::refused(name, path.as_ref(), why)),
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
    let SearchFound { mut lines, files, more, late } = host.search(pattern, SearchLimits::default()).await?;
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
    let work = move |budget: &Budget| match near::explain_no_match(&name, &before, &old, budget) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::stage::MemoryHost;

    async fn searched(host: &mut MemoryHost, pattern: &str) -> ToolOutcome {
        match search(host, pattern).await {
            Ok(outcome) => outcome,
            Err(error) => ToolOutcome::refused("search", None, error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_search_reports_its_results_and_its_limits() {
        let long = format!("{}needle", "x".repeat(SearchLimits::default().line_bytes));
        let mut host = MemoryHost::with(&[("a.txt", "needle\nhay\n"), ("b.txt", &long), ("c.txt", "a needle\n")]);
        let found = searched(&mut host, "needle").await;
        assert_eq!(found.summary, "Searched “needle” · 2 lines in 2 files");
        assert!(found.answer.contains("a.txt:1: needle\nc.txt:1: a needle"), "{}", found.answer);
        assert_eq!(searched(&mut host, "nothing").await.answer, "No line matches.");
        assert_eq!(host.searches, 2, "each search is one call of the host");
        for pattern in ["(", &"a".repeat(PATTERN_MAX + 1), &"(a{1000}){1000}".repeat(3)] {
            assert!(!searched(&mut host, pattern).await.ok, "{}", &pattern[..pattern.len().min(40)]);
        }
    }
}
