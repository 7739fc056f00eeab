//! The size of the difference between two versions of a file, within limits: the time of a comparison grows with the
//! product of the number of lines and the number of differences.

use git2::{Blob, Diff, DiffDelta, DiffFindOptions, DiffOptions, Oid, Patch, Repository};

use super::WorkspaceError;
use crate::bounded_work::Budget;
use crate::domain::ChangeSize;

/// Maximum size in bytes of a file that is compared line by line.
const COMPARE_MAX: u64 = 2 * 1024 * 1024;
/// Maximum number of lines that are compared in both versions of a file together, without the lines that are the same at
/// the beginning and at the end. The time for this grows with their number times that of the differences.
const FILE_COMPARED_MAX: usize = 40_000;
/// Maximum number of lines that are compared in all files of one version.
const ALL_COMPARED_MAX: usize = 400_000;
/// Maximum number of lines in both versions of a file together for which differences are shown.
const FILE_SHOWABLE_MAX: usize = 200_000;

/// Decides which files are compared line by line, and counts the lines of the others.
pub(super) struct Comparer<'r> {
    repo: &'r Repository,
    budget: &'r Budget,
    /// Number of lines that may still be compared.
    lines_left: usize,
}

/// The result for the two versions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// Its differences can be calculated.
    Showable,
    /// It is too large; its size in bytes.
    TooLarge(u64),
    /// It has too many lines: all lines between the equal ones at the beginning and the end count as replaced.
    TooManyLines { additions: u32, deletions: u32 },
}

impl Compared {
    pub(super) fn additions(self) -> u32 {
        if let Self::TooManyLines { additions, .. } = self { additions } else { 0 }
    }

    pub(super) fn deletions(self) -> u32 {
        if let Self::TooManyLines { deletions, .. } = self { deletions } else { 0 }
    }
}

impl<'r> Comparer<'r> {
    pub(super) fn new(repo: &'r Repository, budget: &'r Budget) -> Self {
        Self { repo, budget, lines_left: ALL_COMPARED_MAX }
    }

    /// Checks a file before its differences are calculated.
    pub(super) fn compare(&mut self, delta: &DiffDelta<'_>) -> Result<Compared, WorkspaceError> {
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

    /// Number of lines added and removed from `old` to `new`; 0 for binary files.
    pub(super) fn count(&mut self, old: &[u8], new: &[u8]) -> Result<(u32, u32), WorkspaceError> {
        if old.len().max(new.len()) as u64 > COMPARE_MAX || is_binary(old) || is_binary(new) {
            return Ok((0, 0));
        }
        let middle = Middle::of(old, new);
        if middle.is_one_sided() || self.budget.is_spent() || !self.take(&middle) {
            return Ok(middle.replaced());
        }
        line_counts(&Patch::from_buffers(middle.old, None, middle.new, None, Some(&mut options()))?)
    }

    /// Whether these lines may be compared. If so, they are subtracted from the budget.
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

    /// The two versions of a file, as far as they exist.
    fn contents(&self, delta: &DiffDelta<'_>) -> (Option<Blob<'r>>, Option<Blob<'r>>) {
        let blob = |id: Oid| if id.is_zero() { None } else { self.repo.find_blob(id).ok() };
        (blob(delta.old_file().id()), blob(delta.new_file().id()))
    }
}

fn content<'b>(blob: Option<&'b Blob<'_>>) -> &'b [u8] {
    blob.map_or(&[], |blob| blob.content())
}

/// The parts of two texts between the lines that are the same at the beginning and at the end.
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
        // The first equal line may only be the end of a line that differs.
        let tail = &old[old.len() - same..];
        let tail = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| tail.len() - at - 1);
        Self { old: &old[..old.len() - tail], new: &new[..new.len() - tail] }
    }

    fn is_one_sided(&self) -> bool {
        self.old.is_empty() || self.new.is_empty()
    }

    /// Number of lines added and removed if everything was replaced.
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

/// The same heuristic as git's: text has no zero byte near its beginning.
fn is_binary(text: &[u8]) -> bool {
    text[..text.len().min(8000)].contains(&0)
}

/// The difference between a commit and its first parent, or an empty tree.
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

/// The size of a difference. Without rename detection, a renamed file counts as deleted and added. If there is too much
/// to compare, lines count as replaced.
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

/// Number of lines added and removed from `old` to `new`; 0 for binary files.
pub(super) fn count_lines(repo: &Repository, old: &[u8], new: &[u8]) -> Result<(u32, u32), WorkspaceError> {
    Comparer::new(repo, &Budget::unlimited()).count(old, new)
}

pub(super) fn options() -> DiffOptions {
    let mut options = DiffOptions::new();
    options.context_lines(3).max_size(i64::try_from(COMPARE_MAX).unwrap_or(i64::MAX)).indent_heuristic(true);
    options
}

pub(super) fn line_counts(patch: &Patch<'_>) -> Result<(u32, u32), WorkspaceError> {
    let (_, additions, deletions) = patch.line_stats()?;
    Ok((clamp(additions), clamp(deletions)))
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The larger size of a file's two versions.
fn bytes_of(repo: &Repository, delta: &DiffDelta<'_>) -> u64 {
    let size = |id: Oid| match repo.odb() {
        Ok(odb) if !id.is_zero() => odb.read_header(id).map_or(0, |(size, _)| size as u64),
        _ => 0,
    };
    size(delta.old_file().id()).max(size(delta.new_file().id()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

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
}
