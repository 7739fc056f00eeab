//! The rules of `.gitignore` files, which exclude paths of a work tree from the app.

//!
//! Each path is matched against all rules of a file at once, and compiled rules are cached by the file's content. The
//! number and the length of rules are limited, since the time for matching grows with both.

use std::sync::{Arc, LazyLock};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::WorkspaceError;
use crate::bounded_work::Kept;
use crate::domain::WorkspacePath;

/// Maximum size in bytes of a `.gitignore`. The rules of a larger file are ignored.
pub(super) const RULES_MAX: usize = 64 * 1024;
/// Maximum number of rules in one file. The rules of a file with more are ignored.
const COUNT_MAX: usize = 500;
/// Maximum number of rules that apply to one path, and that an app may have. Files in deeper folders that would exceed
/// it are ignored.
pub(super) const TOTAL_MAX: usize = 1_000;
/// Maximum length of a rule in bytes. Longer ones are ignored.
const RULE_MAX: usize = 500;
/// Size of the cache of compiled rules, in bytes.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Approximate size of a compiled rule, in bytes.
const RULE_BYTES: usize = 4 * 1024;

/// The name of the files that contain rules.
pub(super) const FILE: &str = ".gitignore";

static KEPT: LazyLock<Kept<Arc<Compiled>>> = LazyLock::new(|| Kept::new(KEPT_BYTES));

/// The rules of one `.gitignore`, for paths below its folder.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The folder that the rules belong to: empty, or ending in `/`.
    base: String,
    compiled: Arc<Compiled>,
}

/// The rules of a file, in order.
#[derive(Debug, Default)]
struct Compiled {
    globs: GlobSet,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    keep: bool,
    folders_only: bool,
}

impl Rules {
    /// Parses the rules of the folder `base` (empty, or ending in `/`). Lines that are not patterns are ignored.
    pub(super) fn parse(base: &str, text: &[u8]) -> Self {
        let compiled = if text.is_empty() { Arc::default() } else { compiled(text) };
        Self { base: base.to_owned(), compiled }
    }

    /// The number of rules.
    pub(super) fn len(&self) -> usize {
        self.compiled.rules.len()
    }

    /// What these rules say about a path of the workspace: ignored, not ignored, or none if no rule matches.
    fn verdict(&self, path: &str, folder: bool) -> Option<bool> {
        if self.compiled.rules.is_empty() {
            return None;
        }
        let path = path.strip_prefix(&self.base)?;
        let rules = &self.compiled.rules;
        let matching = self.compiled.globs.matches(path).into_iter().filter(|nth| folder || !rules[*nth].folders_only);
        // The last matching rule decides.
        matching.max().map(|nth| !rules[nth].keep)
    }
}

/// Refuses a `.gitignore` with rules beyond the limits.
pub(super) fn check(path: &WorkspacePath, text: &[u8]) -> Result<(), WorkspaceError> {
    let too_large = |actual: usize, limit: usize, unit| {
        let (actual, limit) = (actual as u64, limit as u64);
        Err(WorkspaceError::TooLarge { what: format!("“{path}”"), actual, limit, unit })
    };
    if text.len() > RULES_MAX {
        return too_large(text.len(), RULES_MAX, "bytes");
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    if let Some(nth) = text.lines().position(|line| line.len() > RULE_MAX) {
        return Err(WorkspaceError::refused(format!(
            "Line {} of “{path}” is longer than {RULE_MAX} bytes: rules are shorter, e.g. “*.log”.",
            nth + 1
        )));
    }
    let count = count(text);
    if count > COUNT_MAX { too_large(count, COUNT_MAX, "rules") } else { Ok(()) }
}

/// The number of lines in a file that may be rules.
pub(super) fn count(text: &str) -> usize {
    text.lines().map(trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

fn compiled(text: &[u8]) -> Arc<Compiled> {
    let text = if text.len() > RULES_MAX { "" } else { std::str::from_utf8(text).unwrap_or_default() };
    if count(text) > COUNT_MAX {
        return Arc::default();
    }
    let key = Kept::<Arc<Compiled>>::key(&[text.as_bytes()]);
    if let Some(kept) = KEPT.get(&key) {
        return kept;
    }
    let (globs, rules): (Vec<Glob>, Vec<Rule>) = text.lines().filter_map(parse_line).unzip();
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob);
    }
    // Together the rules may be too large for the matcher, although each alone is not: then all are ignored.
    let compiled = Arc::new(set.build().map_or_else(|_| Compiled::default(), |globs| Compiled { globs, rules }));
    KEPT.put(key, compiled.clone(), compiled.rules.len() * RULE_BYTES, None);
    compiled
}

/// Whether a stack of rules, with the outermost folder first, ignores a path. The innermost file with a matching rule
/// decides. The caller checks whether a parent folder is ignored.
pub(super) fn is_ignored(stack: &[Rules], path: &str, folder: bool) -> bool {
    stack.iter().rev().find_map(|rules| rules.verdict(path, folder)).unwrap_or(false)
}

fn parse_line(line: &str) -> Option<(Glob, Rule)> {
    if line.len() > RULE_MAX {
        return None;
    }
    let mut line = trim_end(line);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let keep = line.starts_with('!');
    if keep {
        line = &line[1..];
    }
    let folders_only = line.ends_with('/');
    line = line.trim_end_matches('/');
    if line.is_empty() {
        return None;
    }
    // A slash before the end anchors the pattern to the folder of its file.
    let anchored = line.contains('/');
    line = line.trim_start_matches('/');
    // Braces are alternatives in globset, and ordinary characters in git.
    let escaped = line.replace('{', "[{]").replace('}', "[}]");
    let pattern = if anchored { escaped } else { format!("**/{escaped}") };
    let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build().ok()?;
    Some((glob, Rule { keep, folders_only }))
}

/// Removes spaces at the end, unless a backslash protects one.
fn trim_end(line: &str) -> &str {
    let trimmed = line.trim_end_matches([' ', '\t', '\r']);
    if trimmed.ends_with('\\') && trimmed.len() < line.len() { &line[..=trimmed.len()] } else { trimmed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str, folder: bool) -> bool {
        is_ignored(&[Rules::parse("", rules.as_bytes())], path, folder)
    }

    #[test]
    fn patterns_mean_what_git_means() {
        for (rules, path) in [
            ("*.pyc", "a.pyc"),
            ("*.pyc", "deep/er/a.pyc"),
            ("dist", "x/dist"),
            ("/dist", "dist"),
            ("a/b", "a/b"),
            ("a/**", "a/b/c"),
            ("**/tmp", "x/y/tmp"),
            ("\\#x", "#x"),
            ("\\!x", "!x"),
            ("{a}", "{a}"),
            ("x  ", "x"),
            ("[ab].txt", "b.txt"),
            ("*\n!keep", "other"),
        ] {
            assert!(ignored(rules, path, false), "{rules:?} ignores {path}");
        }
        for (rules, path) in [
            ("", "a"),
            ("# a", "# a"),
            ("/dist", "x/dist"),
            ("a/b", "x/a/b"),
            ("dist/", "dist"),
            ("*.txt\n!b.txt", "b.txt"),
            ("a*c", "a/c"),
            ("{a,b}", "a"),
            ("[", "["),
        ] {
            assert!(!ignored(rules, path, false), "{rules:?} leaves {path}");
        }
        assert!(ignored("dist/", "dist", true));
    }

    #[test]
    fn rules_beyond_the_bounds_are_refused_when_written_and_unused_when_found() {
        let path: WorkspacePath = ".gitignore".parse().unwrap();
        let lines = |count: usize| (0..count).map(|n| format!("x{n}\n")).collect::<String>();
        check(&path, lines(COUNT_MAX).as_bytes()).unwrap();
        let error = check(&path, lines(10_000).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("10000 rules") && error.contains("at most 500"), "{error}");
        assert!(ignored(&lines(COUNT_MAX), "x499", false) && !ignored(&lines(COUNT_MAX + 1), "x0", false));
        check(&path, format!("{}{}", "# words\n\n".repeat(2_000), lines(3)).as_bytes()).unwrap();
        let long = format!("a\n{}\n", "*a".repeat(RULE_MAX));
        let error = check(&path, long.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("Line 2 of “.gitignore” is longer than 500 bytes"), "{error}");
        assert!(ignored(&long, "a", false) && !ignored(&long, &"a".repeat(RULE_MAX), false));
        assert!(check(&path, " \n".repeat(RULES_MAX).as_bytes()).is_err());
    }

    #[test]
    fn rules_are_compiled_once() {
        let text = b"kept-once-*\n!kept-once-not\n";
        let (one, other) = (Rules::parse("", text), Rules::parse("deep/er/", text));
        assert!(Arc::ptr_eq(&one.compiled, &other.compiled));
        assert!(is_ignored(&[one, other], "deep/er/kept-once-x", false));
    }

    #[test]
    fn inner_rules_decide() {
        let stack = [Rules::parse("", b"*.log"), Rules::parse("a/", b"!keep.log\n/here")];
        assert!(is_ignored(&stack, "a/x.log", false));
        assert!(!is_ignored(&stack, "a/keep.log", false));
        assert!(is_ignored(&stack, "keep.log", false));
        assert!(is_ignored(&stack, "a/here", false));
        assert!(!is_ignored(&stack, "here", false));
    }
}
