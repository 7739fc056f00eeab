//! What changed between versions, as text and as lines for pages.

use git2::{
    Blob, Delta, Diff, DiffDelta, DiffFindOptions, DiffLineType, DiffOptions, ObjectType, Oid, Patch, Repository,
};

use super::index::Known;
use super::tree::files_of;
use super::{Workspace, WorkspaceError, repo};
use crate::bounded_work::Budget;
use crate::domain::{ChangeSize, VersionId, WorkspacePath};

/// Larger files, in bytes, are not compared line by line.
const COMPARE_MAX: u64 = 2 * 1024 * 1024;
/// Most lines of a file's two versions together, that are not the same at its beginning and its end, that are
/// compared. The time for this grows with their number times that of the differences.
const FILE_COMPARED_MAX: usize = 40_000;
/// Most lines that are compared of all files of one version.
const ALL_COMPARED_MAX: usize = 400_000;
/// Most lines of a file's two versions together of which differences are made to be shown.
const FILE_SHOWABLE_MAX: usize = 200_000;
/// Bytes of one file's differences in a text.
const FILE_TEXT_MAX: usize = 256 * 1024;
/// Bytes of a whole text.
const TEXT_MAX: usize = 4 * 1024 * 1024;
/// Lines of one file's differences on a page.
const FILE_LINES_MAX: usize = 3000;
/// Lines of all differences on a page.
const LINES_MAX: usize = 20_000;
/// Characters of one line on a page.
const LINE_CHARS_MAX: usize = 1000;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStatus {
    /// It is new.
    Added,
    /// Its content changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It has another path, and perhaps other content.
    Renamed,
}

/// What a line in a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// In both versions.
    Context,
    /// In the new version only.
    Added,
    /// In the old version only.
    Removed,
    /// Says where the lines below it stand: `@@ -1,3 +1,4 @@`.
    Hunk,
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    /// What it is.
    pub kind: LineKind,
    /// Its number in the old version, from 1.
    pub old_no: Option<u32>,
    /// Its number in the new version, from 1.
    pub new_no: Option<u32>,
    /// The line without its end, cut when it is very long.
    pub text: String,
}

/// One file's difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiff {
    /// Where it is, or was when it was deleted.
    pub path: WorkspacePath,
    /// Where it was before, when it was renamed.
    pub old_path: Option<WorkspacePath>,
    /// What happened to it.
    pub status: FileStatus,
    /// Lines added.
    pub additions: u32,
    /// Lines removed.
    pub deletions: u32,
    /// No text: it has no lines.
    pub binary: bool,
    /// The lines, with some around them.
    pub lines: Vec<DiffLine>,
    /// There are more lines than are given here.
    pub truncated: bool,
}

/// How the work tree differs from a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkChanges {
    /// How much.
    pub size: ChangeSize,
    /// Which files, in the order of their paths. Renames are not looked for.
    pub files: Vec<(WorkspacePath, FileStatus)>,
}

impl Workspace {
    /// A version's differences from the one before as a unified diff. Of a binary file only that
    /// it differs is said; what is too long is cut with a sentence that says so.
    pub fn diff(&self, version: &VersionId) -> Result<String, WorkspaceError> {
        let repo = self.repo()?;
        let diff = against_parent(&repo, &repo::commit_of(&repo, version)?, true)?;
        text_of(&mut Comparer::new(&repo, &self.0.budget), &diff, FILE_TEXT_MAX, TEXT_MAX)
    }

    /// All differences of the newest version from an earlier one, as a unified diff of about `bytes`
    /// at most; what is too long is cut with a sentence that says so.
    pub fn diff_since(&self, version: &VersionId, bytes: usize) -> Result<String, WorkspaceError> {
        let repo = self.repo()?;
        let (from, to) = (repo::commit_of(&repo, version)?.tree()?, repo::commit_of(&repo, &self.head()?)?.tree()?);
        let mut diff = repo.diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options()))?;
        diff.find_similar(Some(DiffFindOptions::new().renames(true).rename_limit(200)))?;
        text_of(&mut Comparer::new(&repo, &self.0.budget), &diff, bytes / 2, bytes)
    }

    /// The files that a version changed, against the one before, without comparing what stands in them.
    pub fn changed_files(&self, version: &VersionId) -> Result<Vec<(WorkspacePath, FileStatus)>, WorkspaceError> {
        let repo = self.repo()?;
        let diff = against_parent(&repo, &repo::commit_of(&repo, version)?, true)?;
        Ok(diff.deltas().filter_map(|delta| Some((path_of(&delta)?, status_of(&delta)))).collect())
    }

    /// A version's differences from the one before, file by file.
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
                // Only comparing tells whether a file is text.
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

    /// How the work tree differs from a version.
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

/// Decides which files are compared line by line, and counts lines where they are not.
struct Comparer<'r> {
    repo: &'r Repository,
    budget: &'r Budget,
    /// Lines that may still be compared.
    lines_left: usize,
}

/// What comes of a file's two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// Its differences can be made.
    Showable,
    /// It has so many bytes.
    TooLarge(u64),
    /// It has so many lines: what is not the same at its beginning and its end counts as replaced.
    TooManyLines { additions: u32, deletions: u32 },
}

impl Compared {
    fn additions(self) -> u32 {
        if let Self::TooManyLines { additions, .. } = self { additions } else { 0 }
    }

    fn deletions(self) -> u32 {
        if let Self::TooManyLines { deletions, .. } = self { deletions } else { 0 }
    }
}

impl<'r> Comparer<'r> {
    fn new(repo: &'r Repository, budget: &'r Budget) -> Self {
        Self { repo, budget, lines_left: ALL_COMPARED_MAX }
    }

    /// Looks at a file before its differences are made.
    fn compare(&mut self, delta: &DiffDelta<'_>) -> Result<Compared, WorkspaceError> {
        self.budget.check()?;
        let bytes = bytes_of(self.repo, delta);
        if bytes > COMPARE_MAX {
            return Ok(Compared::TooLarge(bytes));
        }
        let (old, new) = self.contents(delta);
        let (old, new) = (content(old.as_ref()), content(new.as_ref()));
        if is_binary(old) || is_binary(new) {
            return Ok(Compared::Showable);
        }
        let middle = Middle::of(old, new);
        if line_count(old) + line_count(new) > FILE_SHOWABLE_MAX || !self.take(&middle) {
            let (additions, deletions) = middle.replaced();
            return Ok(Compared::TooManyLines { additions, deletions });
        }
        Ok(Compared::Showable)
    }

    /// Lines added and removed from `old` to `new`; none between files that are no text.
    fn count(&mut self, old: &[u8], new: &[u8]) -> Result<(u32, u32), WorkspaceError> {
        if old.len().max(new.len()) as u64 > COMPARE_MAX || is_binary(old) || is_binary(new) {
            return Ok((0, 0));
        }
        let middle = Middle::of(old, new);
        if middle.is_one_sided() || self.budget.is_spent() || !self.take(&middle) {
            return Ok(middle.replaced());
        }
        line_counts(&Patch::from_buffers(middle.old, None, middle.new, None, Some(&mut options()))?)
    }

    /// Whether these lines may be compared, of which there are only so many.
    fn take(&mut self, middle: &Middle<'_>) -> bool {
        if middle.is_one_sided() {
            return true;
        }
        let lines = line_count(middle.old) + line_count(middle.new);
        let fits = lines <= FILE_COMPARED_MAX.min(self.lines_left);
        if fits {
            self.lines_left -= lines;
        }
        fits
    }

    /// A file's two versions, as far as they are there.
    fn contents(&self, delta: &DiffDelta<'_>) -> (Option<Blob<'r>>, Option<Blob<'r>>) {
        let blob = |id: Oid| if id.is_zero() { None } else { self.repo.find_blob(id).ok() };
        (blob(delta.old_file().id()), blob(delta.new_file().id()))
    }
}

fn content<'b>(blob: Option<&'b Blob<'_>>) -> &'b [u8] {
    blob.map_or(&[], |blob| blob.content())
}

/// What is left of two texts without the lines that are the same at their beginning and at their end.
struct Middle<'t> {
    old: &'t [u8],
    new: &'t [u8],
}

impl<'t> Middle<'t> {
    fn of(old: &'t [u8], new: &'t [u8]) -> Self {
        let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let whole = same == old.len() && same == new.len();
        let start = if whole { same } else { after_last_line(&old[..same]) };
        let (old, new) = (&old[start..], &new[start..]);
        let same = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
        // The first line of what is the same may be the end of one that is not.
        let tail = &old[old.len() - same..];
        let tail = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| tail.len() - at - 1);
        Self { old: &old[..old.len() - tail], new: &new[..new.len() - tail] }
    }

    fn is_one_sided(&self) -> bool {
        self.old.is_empty() || self.new.is_empty()
    }

    /// Lines added and removed, where all of it was replaced.
    fn replaced(&self) -> (u32, u32) {
        (clamp(line_count(self.new)), clamp(line_count(self.old)))
    }
}

fn after_last_line(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn line_count(text: &[u8]) -> usize {
    let ends = text.iter().filter(|byte| **byte == b'\n').count();
    ends + usize::from(text.last().is_some_and(|last| *last != b'\n'))
}

/// Git's own guess: text has no zero byte at its beginning.
fn is_binary(text: &[u8]) -> bool {
    text[..text.len().min(8000)].contains(&0)
}

/// Differences as text; of one file at most about `file_max` bytes, of all about `text_max`.
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

/// A commit's difference from its first parent, or from nothing.
pub(super) fn against_parent<'r>(
    repo: &'r Repository,
    commit: &git2::Commit<'_>,
    renames: bool,
) -> Result<Diff<'r>, WorkspaceError> {
    let parent = match commit.parent_count() {
        0 => None,
        _ => Some(commit.parent(0)?.tree()?),
    };
    let mut diff = repo.diff_tree_to_tree(parent.as_ref(), Some(&commit.tree()?), Some(&mut options()))?;
    if renames {
        diff.find_similar(Some(DiffFindOptions::new().renames(true).rename_limit(200)))?;
    }
    Ok(diff)
}

/// How much a difference is. A renamed file counts as one that went and one that came, if renames were not looked
/// for. Where there is too much to compare, lines count as replaced.
pub(super) fn size_of(repo: &Repository, diff: &Diff<'_>) -> ChangeSize {
    let unlimited = Budget::unlimited();
    let mut comparer = Comparer::new(repo, &unlimited);
    let mut size = ChangeSize::default();
    for delta in diff.deltas() {
        size.files += 1;
        if bytes_of(repo, &delta) > COMPARE_MAX {
            continue;
        }
        let (old, new) = comparer.contents(&delta);
        let (additions, deletions) = comparer.count(content(old.as_ref()), content(new.as_ref())).unwrap_or_default();
        size.additions = size.additions.saturating_add(additions);
        size.deletions = size.deletions.saturating_add(deletions);
    }
    size
}

/// Lines added and removed from `old` to `new`; none between files that are no text.
pub(super) fn count_lines(repo: &Repository, old: &[u8], new: &[u8]) -> Result<(u32, u32), WorkspaceError> {
    Comparer::new(repo, &Budget::unlimited()).count(old, new)
}

fn options() -> DiffOptions {
    let mut options = DiffOptions::new();
    options.context_lines(3).max_size(i64::try_from(COMPARE_MAX).unwrap_or(i64::MAX)).indent_heuristic(true);
    options
}

fn line_counts(patch: &Patch<'_>) -> Result<(u32, u32), WorkspaceError> {
    let (_, additions, deletions) = patch.line_stats()?;
    Ok((clamp(additions), clamp(deletions)))
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Adds up to `limit` lines of a patch. False when there were more.
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
                // “No newline at end of file” is no line of either.
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

/// The whole lines within the first `limit` bytes, and how many lines come after them.
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

/// The larger of a file's two sizes.
fn bytes_of(repo: &Repository, delta: &DiffDelta<'_>) -> u64 {
    let size = |id: Oid| match repo.odb() {
        Ok(odb) if !id.is_zero() => odb.read_header(id).map_or(0, |(size, _)| size as u64),
        _ => 0,
    };
    size(delta.old_file().id()).max(size(delta.new_file().id()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, note, path};
    use super::*;

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
        // Larger than may be written, so committed by hand.
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

    /// The most lines that are compared, and the most differences between them: each line of one of two letters.
    #[test]
    fn files_of_very_many_lines_are_counted_and_not_compared() {
        let lines = |seed: usize, count: usize| -> String {
            (0..count).map(|n| if (n * n / 7 + n / seed).is_multiple_of(3) { "a\n" } else { "b\n" }).collect()
        };
        let bench = Bench::new(&[("many.txt", &lines(5, 30_000)), ("top.txt", &lines(5, 60_000))]);
        let started = std::time::Instant::now();
        // Both versions together are beyond the bound, and a line added to the one that is larger still is not.
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
    fn counting_agrees_with_git_whatever_the_texts() {
        use rand::rngs::StdRng;
        use rand::{RngExt as _, SeedableRng};
        let bench = Bench::new(&[]);
        let repo = bench.app.repo().unwrap();
        let mut random = StdRng::seed_from_u64(3);
        let mut text = || -> Vec<u8> {
            let alphabet = [b'a', b'b', b'\n'];
            (0..random.random_range(0..24)).map(|_| alphabet[random.random_range(0..3)]).collect()
        };
        for _ in 0..2_000 {
            let (old, new) = (text(), text());
            let whole = Patch::from_buffers(&old, None, &new, None, Some(&mut options())).unwrap();
            let expected = line_counts(&whole).unwrap();
            assert_eq!(count_lines(&repo, &old, &new).unwrap(), expected, "{old:?} {new:?}");
        }
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
