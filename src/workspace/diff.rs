//! Differences between versions, as text and as lines for pages.

use git2::{Delta, Diff, DiffDelta, DiffFindOptions, DiffLineType, ObjectType, Oid, Patch};

use super::compare::{Compared, Comparer, against_parent, line_counts, options, size_of};
use super::index::Known;
use super::tree::files_of;
use super::{Workspace, WorkspaceError, repo};
use crate::domain::{ChangeSize, VersionId, WorkspacePath};

/// Maximum size in bytes of one file's differences in a text.
const FILE_TEXT_MAX: usize = 256 * 1024;
/// Maximum size in bytes of the whole text.
const TEXT_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of lines of one file's differences on a page.
const FILE_LINES_MAX: usize = 3000;
/// Maximum number of lines of all differences on a page.
const LINES_MAX: usize = 20_000;
/// Maximum length of one line on a page, in characters.
const LINE_CHARS_MAX: usize = 1000;

/// How a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStatus {
    /// It is new.
    Added,
    /// Its content changed.
    Modified,
    /// It was deleted.
    Deleted,
    /// Its path changed, and perhaps its content.
    Renamed,
}

/// The kind of a line in a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// In both versions.
    Context,
    /// In the new version only.
    Added,
    /// In the old version only.
    Removed,
    /// The position of the lines that follow: `@@ -1,3 +1,4 @@`.
    Hunk,
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    /// Its kind.
    pub kind: LineKind,
    /// Its number in the old version, from 1.
    pub old_no: Option<u32>,
    /// Its number in the new version, from 1.
    pub new_no: Option<u32>,
    /// The line without its line break, truncated if it is very long.
    pub text: String,
}

/// One file's difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiff {
    /// Its path, or its earlier path if it was deleted.
    pub path: WorkspacePath,
    /// Its earlier path, if it was renamed.
    pub old_path: Option<WorkspacePath>,
    /// How it changed.
    pub status: FileStatus,
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
    /// Whether it is binary: then it has no lines.
    pub binary: bool,
    /// The changed lines, with context.
    pub lines: Vec<DiffLine>,
    /// Whether lines were left out.
    pub truncated: bool,
}

/// The differences between a version and the work tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkChanges {
    /// Their size.
    pub size: ChangeSize,
    /// The changed files, sorted by path. Renames are not detected.
    pub files: Vec<(WorkspacePath, FileStatus)>,
}

impl Workspace {
    /// The differences between a version and the one before it, as a unified diff. Binary files are only named. Text
    /// beyond the limits is replaced with a sentence that says so.
    pub fn diff(&self, version: &VersionId) -> Result<String, WorkspaceError> {
        let repo = self.repo()?;
        let diff = against_parent(&repo, &repo::commit_of(&repo, version)?, true)?;
        text_of(&mut Comparer::new(&repo, &self.0.budget), &diff, FILE_TEXT_MAX, TEXT_MAX)
    }

    /// The differences between an earlier version and the newest one, as a unified diff of at most about `bytes`. Text
    /// beyond the limits is replaced with a sentence that says so.
    pub fn diff_since(&self, version: &VersionId, bytes: usize) -> Result<String, WorkspaceError> {
        let repo = self.repo()?;
        let (from, to) = (repo::commit_of(&repo, version)?.tree()?, repo::commit_of(&repo, &self.head()?)?.tree()?);
        let mut diff = repo.diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options()))?;
        diff.find_similar(Some(DiffFindOptions::new().renames(true).rename_limit(200)))?;
        text_of(&mut Comparer::new(&repo, &self.0.budget), &diff, bytes / 2, bytes)
    }

    /// How much one version differs from another, and how many lines the first one has.
    pub fn change_between(&self, from: &VersionId, to: &VersionId) -> Result<(ChangeSize, u32), WorkspaceError> {
        let repo = self.repo()?;
        let (from, to) = (repo::commit_of(&repo, from)?.tree()?, repo::commit_of(&repo, to)?.tree()?);
        // From nothing: what it has is what it adds.
        let whole = size_of(&repo, &repo.diff_tree_to_tree(None, Some(&from), Some(&mut options()))?);
        let diff = repo.diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options()))?;
        Ok((size_of(&repo, &diff), whole.additions))
    }

    /// The files that a version changed compared to the one before it. Does not compare their contents.
    pub fn changed_files(&self, version: &VersionId) -> Result<Vec<(WorkspacePath, FileStatus)>, WorkspaceError> {
        let repo = self.repo()?;
        let diff = against_parent(&repo, &repo::commit_of(&repo, version)?, true)?;
        Ok(diff.deltas().filter_map(|delta| Some((path_of(&delta)?, status_of(&delta)))).collect())
    }

    /// The differences between a version and the one before it, file by file.
    pub fn file_diffs(&self, version: &VersionId) -> Result<Vec<FileDiff>, WorkspaceError> {
        let repo = self.repo()?;
        let diff = against_parent(&repo, &repo::commit_of(&repo, version)?, true)?;
        let mut comparer = Comparer::new(&repo, &self.0.budget);
        let mut files = Vec::new();
        let mut lines_left = LINES_MAX;
        for (at, delta) in diff.deltas().enumerate() {
            let Some(path) = path_of(&delta) else { continue };
            let status = status_of(&delta);
            let old_path = (status == FileStatus::Renamed)
                .then(|| delta.old_file().path().and_then(|path| path.to_str()?.parse().ok()))
                .flatten();
            let outcome = comparer.compare(&delta)?;
            let mut file = FileDiff {
                path,
                old_path,
                status,
                additions: outcome.additions(),
                deletions: outcome.deletions(),
                binary: false,
                lines: Vec::new(),
                truncated: outcome != Compared::Showable,
            };
            if !file.truncated {
                // Only the comparison shows whether a file is text.
                match Patch::from_diff(&diff, at)? {
                    Some(changes) if !changes.delta().flags().is_binary() => {
                        (file.additions, file.deletions) = line_counts(&changes)?;
                        file.truncated = !read_lines(&changes, lines_left.min(FILE_LINES_MAX), &mut file.lines)?;
                    }
                    _ => file.binary = true,
                }
            }
            lines_left -= file.lines.len();
            files.push(file);
        }
        Ok(files)
    }

    /// The differences between a version and the work tree.
    pub fn changed_since(&self, version: &VersionId) -> Result<WorkChanges, WorkspaceError> {
        let repo = self.repo()?;
        let mut old_files = files_of(&repo, &repo::commit_of(&repo, version)?.tree()?)?;
        let known = Known::of(&repo);
        let tree = self.tree()?;
        let mut changes = Vec::new();
        let mut size = ChangeSize::default();
        let mut comparer = Comparer::new(&repo, &self.0.budget);
        let mut count = |old: Option<Oid>, new: &[u8]| -> Result<(), WorkspaceError> {
            self.0.budget.check()?;
            let blob = old.map(|id| repo.find_blob(id)).transpose()?;
            let (additions, deletions) = comparer.count(blob.as_ref().map_or(&[], |blob| blob.content()), new)?;
            size.files += 1;
            size.additions += additions;
            size.deletions += deletions;
            Ok(())
        };
        for found in self.found(&tree)? {
            let old = old_files.remove(found.path.as_str()).map(|file| file.id);
            if old.is_some() && known.id_of(&found) == old {
                continue;
            }
            let Some(bytes) = tree.read(&found.path, self.limits().total_bytes)? else { continue };
            if old == Some(Oid::hash_object(ObjectType::Blob, &bytes)?) {
                continue;
            }
            count(old, &bytes)?;
            changes.push((found.path, if old.is_some() { FileStatus::Modified } else { FileStatus::Added }));
        }
        for (path, file) in old_files {
            let Ok(path) = path.parse() else { continue };
            count(Some(file.id), &[])?;
            changes.push((path, FileStatus::Deleted));
        }
        changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(WorkChanges { size, files: changes })
    }
}

/// Differences as text: at most about `file_max` bytes for one file, and `text_max` for all.
fn text_of(
    comparer: &mut Comparer<'_>,
    diff: &Diff<'_>,
    file_max: usize,
    text_max: usize,
) -> Result<String, WorkspaceError> {
    let mut parts: Vec<String> = Vec::new();
    let mut length = 0;
    let count = diff.deltas().len();
    for (at, delta) in diff.deltas().enumerate() {
        if length > text_max {
            parts.push(format!("The differences of {} more files are not shown.\n", count - at));
            break;
        }
        let name = path_of(&delta).map_or_else(|| "?".to_owned(), String::from);
        let unshown = |why: String| format!("diff --git a/{name} b/{name}\n{why}: its differences are not shown.\n");
        let part = match comparer.compare(&delta)? {
            Compared::TooLarge(bytes) => unshown(format!("The file has {bytes} bytes")),
            Compared::TooManyLines { additions, deletions } => {
                unshown(format!("The file has {additions} new and {deletions} old lines to compare"))
            }
            Compared::Showable => match Patch::from_diff(diff, at)? {
                Some(mut patch) => {
                    let whole = patch.to_buf()?;
                    let whole = String::from_utf8_lossy(&whole);
                    match cut_lines(&whole, file_max) {
                        (_, 0) => whole.into_owned(),
                        (start, more) => {
                            format!("{start}{more} more lines of the differences in {name} are not shown.\n")
                        }
                    }
                }
                None => unshown("The file cannot be compared".to_owned()),
            },
        };
        length += part.len();
        parts.push(part);
    }
    Ok(parts.concat())
}

/// Adds up to `limit` lines of a patch. Returns false if there are more.
fn read_lines(patch: &Patch<'_>, limit: usize, lines: &mut Vec<DiffLine>) -> Result<bool, WorkspaceError> {
    for hunk_at in 0..patch.num_hunks() {
        let (hunk, count) = patch.hunk(hunk_at)?;
        if lines.len() >= limit {
            return Ok(false);
        }
        lines.push(DiffLine { kind: LineKind::Hunk, old_no: None, new_no: None, text: line_text(hunk.header()) });
        for line_at in 0..count {
            if lines.len() >= limit {
                return Ok(false);
            }
            let line = patch.line_in_hunk(hunk_at, line_at)?;
            let (kind, old_no, new_no) = match line.origin_value() {
                DiffLineType::Addition => (LineKind::Added, None, line.new_lineno()),
                DiffLineType::Deletion => (LineKind::Removed, line.old_lineno(), None),
                DiffLineType::Context => (LineKind::Context, line.old_lineno(), line.new_lineno()),
                // “No newline at end of file” is not a line of either version.
                _ => (LineKind::Context, None, None),
            };
            lines.push(DiffLine { kind, old_no, new_no, text: line_text(line.content()) });
        }
    }
    Ok(true)
}

fn line_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\n').trim_end_matches(['\n', '\r']);
    match text.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The complete lines within the first `limit` bytes, and the number of lines after them.
fn cut_lines(text: &str, limit: usize) -> (&str, usize) {
    if text.len() <= limit {
        return (text, 0);
    }
    let end = text.as_bytes()[..limit].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (&text[..end], text[end..].lines().count())
}

fn path_of(delta: &DiffDelta<'_>) -> Option<WorkspacePath> {
    let file = if delta.status() == Delta::Deleted { delta.old_file() } else { delta.new_file() };
    file.path()?.to_str()?.parse().ok()
}

fn status_of(delta: &DiffDelta<'_>) -> FileStatus {
    match delta.status() {
        Delta::Added | Delta::Copied => FileStatus::Added,
        Delta::Deleted => FileStatus::Deleted,
        Delta::Renamed => FileStatus::Renamed,
        _ => FileStatus::Modified,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, note, path};
    use super::*;
    use crate::bounded_work::Budget;

    fn line(kind: LineKind, old_no: Option<u32>, new_no: Option<u32>, text: &str) -> DiffLine {
        DiffLine { kind, old_no, new_no, text: text.to_owned() }
    }

    #[test]
    fn a_version_is_compared_with_the_one_before() {
        let moved = "one\ntwo\nthree\nfour\nfive\n";
        let bench = Bench::new(&[("a.txt", "1\n2\n3\n"), ("gone.txt", "x\n"), ("old.txt", moved)]);
        let app = &bench.app;
        bench.write("a.txt", "1\ntwo\n3");
        app.delete(&path("gone.txt")).unwrap();
        app.delete(&path("old.txt")).unwrap();
        bench.write("new name.txt", moved);
        bench.write("é.txt", "é\r\n");
        app.write(&path("bin"), b"\0\xff").unwrap();
        let commit = app.commit_all(&note("x")).unwrap().unwrap();

        let files = app.file_diffs(&commit.id).unwrap();
        let all: Vec<_> = files
            .iter()
            .map(|file| (file.path.as_str(), file.status, file.additions, file.deletions, file.binary))
            .collect();
        assert_eq!(
            all,
            [
                ("a.txt", FileStatus::Modified, 2, 2, false),
                ("bin", FileStatus::Added, 0, 0, true),
                ("gone.txt", FileStatus::Deleted, 0, 1, false),
                ("new name.txt", FileStatus::Renamed, 0, 0, false),
                ("é.txt", FileStatus::Added, 1, 0, false),
            ]
        );
        assert_eq!(files[3].old_path, Some(path("old.txt")));
        assert!(
            files
                .iter()
                .all(|file| !file.truncated && (file.old_path.is_none() || file.path.as_str() == "new name.txt"))
        );
        assert_eq!(
            files[0].lines,
            [
                line(LineKind::Hunk, None, None, "@@ -1,3 +1,3 @@"),
                line(LineKind::Context, Some(1), Some(1), "1"),
                line(LineKind::Removed, Some(2), None, "2"),
                line(LineKind::Removed, Some(3), None, "3"),
                line(LineKind::Added, None, Some(2), "two"),
                line(LineKind::Added, None, Some(3), "3"),
                line(LineKind::Context, None, None, "\\ No newline at end of file"),
            ]
        );
        assert_eq!(files[4].lines[1], line(LineKind::Added, None, Some(1), "é"));

        let text = app.diff(&commit.id).unwrap();
        for part in [
            "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n 1\n-2\n",
            "Binary files",
            "deleted file",
            "rename to new name.txt",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(app.diff(&bench.first).unwrap().contains("--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1,3 @@"));
        assert_eq!(app.file_diffs(&bench.first).unwrap().len(), 3);
        let unknown: VersionId = "f".repeat(40).parse().unwrap();
        assert!(matches!(app.diff(&unknown), Err(WorkspaceError::UnknownVersion(_))));
    }

    #[test]
    fn all_that_happened_since_a_version_is_told_within_bounds() {
        let bench = Bench::new(&[("a.txt", "one\ntwo\n"), ("b.txt", "b\n")]);
        assert_eq!(bench.app.diff_since(&bench.first, 1_000).unwrap(), "");
        bench.write("a.txt", "one\n2\n");
        bench.app.commit_all(&note("First")).unwrap();
        bench.write("c.txt", "new\n");
        bench.app.delete(&path("b.txt")).unwrap();
        let second = bench.app.commit_all(&note("Second")).unwrap().unwrap();
        let text = bench.app.diff_since(&bench.first, 10_000).unwrap();
        for part in ["-two\n+2\n", "--- a/b.txt", "+++ b/c.txt", "+new\n"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(bench.app.diff_since(&second.id, 1_000).unwrap(), "");
        bench.write("a.txt", &"long line\n".repeat(5_000));
        bench.app.commit_all(&note("Third")).unwrap();
        let text = bench.app.diff_since(&bench.first, 4_000).unwrap();
        assert!(text.len() < 6_000 && text.contains("more lines of the differences in a.txt"), "{}", text.len());
    }

    #[test]
    fn the_text_is_what_git_applies() {
        let bench = Bench::new(&[("a.txt", "1\n2\n3\n"), ("b/c.txt", "c")]);
        bench.write("a.txt", "1\n2\n3\n4");
        bench.write("b/d.txt", "d\n");
        bench.app.delete(&path("b/c.txt")).unwrap();
        let commit = bench.app.commit_all(&note("x")).unwrap().unwrap();
        let patch = bench.folder.path().join("patch");
        std::fs::write(&patch, bench.app.diff(&commit.id).unwrap()).unwrap();
        bench.app.restore(&bench.first, &note("back")).unwrap();
        bench.app_git(&["apply", patch.to_str().unwrap()]);
        assert_eq!(bench.app.changed_since(&commit.id).unwrap(), WorkChanges::default());
    }

    #[test]
    fn long_differences_are_cut_and_say_so() {
        let bench = Bench::new(&[]);
        let lines: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
        bench.write("many.txt", &lines.join("\n"));
        bench.write("wide.txt", &"x".repeat(50_000));
        let commit = bench.app.commit_all(&note("x")).unwrap().unwrap();
        let files = bench.app.file_diffs(&commit.id).unwrap();
        assert_eq!((files[0].lines.len(), files[0].truncated, files[0].additions), (FILE_LINES_MAX, true, 20_000));
        assert_eq!(files[1].lines[1].text.chars().count(), LINE_CHARS_MAX + 1);
        assert!(!files[1].truncated);
        assert_eq!(cut_lines("a\nb\nc\n", 4), ("a\nb\n", 1));
        assert_eq!(cut_lines("a\nb\n", 4), ("a\nb\n", 0));
        assert_eq!(cut_lines("abcdef", 4), ("", 1));
    }

    #[test]
    fn huge_files_are_not_compared() {
        let bench = Bench::new(&[("a.txt", "a\n")]);
        // Larger than `write` allows, so it is committed with git.
        let huge = "line\n".repeat(500_000);
        std::fs::write(bench.app.root().join("huge.txt"), &huge).unwrap();
        bench.write("a.txt", "b\n");
        bench.app_git(&["add", "."]);
        bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "Huge"]);
        let head = bench.app.head().unwrap();
        let text = bench.app.diff(&head).unwrap();
        assert!(
            text.contains("The file has 2500000 bytes: its differences are not shown.") && text.len() < 1000,
            "{text}"
        );
        let files = bench.app.file_diffs(&head).unwrap();
        assert!(files[1].truncated && files[1].lines.is_empty());
        assert_eq!(files[0].lines.len(), 3);
    }

    /// The worst case: the maximum number of compared lines with the most differences, since each line is one of two
    /// letters.
    #[test]
    fn files_of_very_many_lines_are_counted_and_not_compared() {
        let lines = |seed: usize, count: usize| -> String {
            (0..count).map(|n| if (n * n / 7 + n / seed).is_multiple_of(3) { "a\n" } else { "b\n" }).collect()
        };
        let bench = Bench::new(&[("many.txt", &lines(5, 30_000)), ("top.txt", &lines(5, 60_000))]);
        let started = std::time::Instant::now();
        // Both versions together exceed the limit. Adding one line to an even larger file does not, because all other
        // lines are equal.
        let outcome = bench.app.write(&path("many.txt"), lines(11, 30_000).as_bytes()).unwrap();
        assert!(outcome.additions > 29_000 && outcome.deletions > 29_000, "{outcome:?}");
        let outcome = bench.app.write(&path("top.txt"), format!("c\n{}", lines(5, 60_000)).as_bytes()).unwrap();
        assert_eq!((outcome.additions, outcome.deletions), (1, 0));
        let commit = bench.app.commit_all(&note("x")).unwrap().unwrap();
        assert!(commit.size.additions > 29_000, "{:?}", commit.size);
        let files = bench.app.file_diffs(&commit.id).unwrap();
        assert!(files[0].truncated && files[0].lines.is_empty() && files[0].additions > 29_000);
        assert!(!files[1].truncated && files[1].additions == 1);
        let text = bench.app.diff(&commit.id).unwrap();
        assert!(
            text.contains("old lines to compare: its differences are not shown.") && text.contains("+c\n"),
            "{text}"
        );
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
        let changed = bench.app.changed_files(&commit.id).unwrap();
        assert_eq!(changed, [(path("many.txt"), FileStatus::Modified), (path("top.txt"), FileStatus::Modified)]);
        let stopped = Budget::of(std::time::Duration::ZERO);
        let late = bench.all.open_within(bench.app.app(), &stopped).unwrap();
        assert!(matches!(late.file_diffs(&commit.id), Err(WorkspaceError::Stopped)));
    }

    #[test]
    fn the_work_tree_is_compared_with_any_version() {
        let bench = Bench::new(&[("a.txt", "1\n2\n"), ("b.txt", "b\n"), ("c.txt", "c\n")]);
        let app = &bench.app;
        assert_eq!(app.changed_since(&bench.first).unwrap(), WorkChanges::default());
        bench.write("a.txt", "1\n3\n4\n");
        let second = app.commit_all(&note("x")).unwrap().unwrap();
        app.delete(&path("b.txt")).unwrap();
        bench.write("d/e.txt", "e\n");
        let changes = app.changed_since(&second.id).unwrap();
        let files = vec![(path("b.txt"), FileStatus::Deleted), (path("d/e.txt"), FileStatus::Added)];
        assert_eq!(changes, WorkChanges { size: ChangeSize { files: 2, additions: 1, deletions: 1 }, files });
        let changes = app.changed_since(&bench.first).unwrap();
        assert_eq!(changes.size, ChangeSize { files: 3, additions: 3, deletions: 2 });
        assert_eq!(changes.files[0], (path("a.txt"), FileStatus::Modified));
    }
}
