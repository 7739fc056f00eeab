//! The rules of `.gitignore` files: which paths of a work tree are no part of the app.

use globset::{GlobBuilder, GlobMatcher};

/// Longest `.gitignore` that is read, in bytes; a longer one has no rules.
pub(super) const RULES_MAX: usize = 64 * 1024;

/// The name of the files that hold rules.
pub(super) const FILE: &str = ".gitignore";

/// The rules of one `.gitignore`, for paths below its folder.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The folder that the rules belong to: empty, or ending in `/`.
    base: String,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    glob: GlobMatcher,
    keep: bool,
    folders_only: bool,
}

impl Rules {
    /// Reads rules that stand in the folder `base` (empty, or ending in `/`). A line that is no pattern counts for nothing.
    pub(super) fn parse(base: &str, text: &[u8]) -> Self {
        let text = if text.len() > RULES_MAX { "" } else { std::str::from_utf8(text).unwrap_or_default() };
        Self { base: base.to_owned(), rules: text.lines().filter_map(parse_line).collect() }
    }

    /// What these rules say about a path of the workspace: ignored, kept, or nothing.
    fn verdict(&self, path: &str, folder: bool) -> Option<bool> {
        let path = path.strip_prefix(&self.base)?;
        let rule = self.rules.iter().rev().find(|rule| (folder || !rule.folders_only) && rule.glob.is_match(path))?;
        Some(!rule.keep)
    }
}

/// What a stack of rules, the outermost folder's first, says about one path. The innermost
/// file that says anything decides; that a parent folder is ignored is for the caller to know.
pub(super) fn is_ignored(stack: &[Rules], path: &str, folder: bool) -> bool {
    stack.iter().rev().find_map(|rules| rules.verdict(path, folder)).unwrap_or(false)
}

fn parse_line(line: &str) -> Option<Rule> {
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
    // A slash anywhere but at the end ties the pattern to the folder of its file.
    let anchored = line.contains('/');
    line = line.trim_start_matches('/');
    // Braces are alternatives to globset and mere characters to git.
    let escaped = line.replace('{', "[{]").replace('}', "[}]");
    let pattern = if anchored { escaped } else { format!("**/{escaped}") };
    let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build().ok()?;
    Some(Rule { glob: glob.compile_matcher(), keep, folders_only })
}

/// Without spaces at the end, unless a backslash keeps one.
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
    fn inner_rules_decide() {
        let stack = [Rules::parse("", b"*.log"), Rules::parse("a/", b"!keep.log\n/here")];
        assert!(is_ignored(&stack, "a/x.log", false));
        assert!(!is_ignored(&stack, "a/keep.log", false));
        assert!(is_ignored(&stack, "keep.log", false));
        assert!(is_ignored(&stack, "a/here", false));
        assert!(!is_ignored(&stack, "here", false));
    }
}
