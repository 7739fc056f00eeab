//! Paths inside a workspace.

use std::path::Path;

use super::{Invalid, validated_string};

/// Maximum length of a path in bytes.
pub const PATH_MAX: usize = 240;
/// Maximum depth of a path, in parts.
pub const DEPTH_MAX: usize = 16;

validated_string! {
    /// A file's path relative to the workspace: parts joined by `/`, none of them empty, `.`,
    /// `..` or `.git`, no backslash and no control characters. Symbolic links are checked
    /// when the path is opened.
    WorkspacePath, check_path
}

impl WorkspacePath {
    /// As a relative file-system path.
    pub fn as_path(&self) -> &Path {
        Path::new(self.as_str())
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.as_str().rsplit('/').next().unwrap_or_default()
    }
}

fn check_path(text: &str) -> Result<(), Invalid> {
    let refuse = |why: &str| Err(Invalid::new(format!("The path “{}” {why}", shown(text))));
    if text.is_empty() {
        return Err(Invalid::new("The path is empty."));
    }
    if text.len() > PATH_MAX {
        return refuse("is too long: 240 bytes at most.");
    }
    if text.starts_with('/') {
        return refuse("is absolute: paths are relative to the workspace.");
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return refuse("has a backslash or a control character in it.");
    }
    if text.chars().any(is_invisible) {
        return refuse("contains an invisible character or one that changes the text direction.");
    }
    let mut depth = 0;
    for part in text.split('/') {
        depth += 1;
        match part {
            "" => return refuse("has an empty part."),
            "." | ".." => return refuse("has “.” or “..” in it: paths stay inside the workspace."),
            _ if is_git(part) => return refuse("is inside .git, which belongs to the platform."),
            _ => {}
        }
    }
    if depth > DEPTH_MAX {
        return refuse("is too deep: 16 folders at most.");
    }
    Ok(())
}

/// Whether a file system may treat a name as `.git`: some fold case, drop trailing dots and spaces, have short names (NTFS)
/// or treat text after a colon as a stream (NTFS). Characters that HFS+ ignores are rejected as invisible.
fn is_git(part: &str) -> bool {
    let part = part.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    part.eq_ignore_ascii_case(".git") || part.eq_ignore_ascii_case("git~1")
}

/// Invisible characters: the default-ignorable ones (Unicode 16, `DerivedCoreProperties.txt`), which HFS+ ignores in names and
/// which make two names look the same, including controls
/// of the text direction, and the separators of lines and paragraphs.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn shown(text: &str) -> String {
    text.chars().take(80).filter(|c| !c.is_control() && !is_invisible(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["index.html", "public/a b.css", ".gitignore", "a/.github/x", "ü.txt", "日本.txt", "a:b", "git~2"]
        {
            assert!(good.parse::<WorkspacePath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            ".git/config",
            "a/.GIT/x",
            ".git./x",
            ".git. . /x",
            ".git::$INDEX_ALLOCATION/config",
            ".git :x/config",
            "a/GIT~1:x",
            "git~1 /config",
            ".g\u{200c}it/config",
            ".git\u{feff}",
            "\u{ad}.git/config",
            "photo\u{202e}gpj.exe",
            "a\u{2066}b",
            "a\u{2028}b",
            "a\u{e0041}b",
            "a\\b",
            "a\0b",
            "a\nb",
            &"a".repeat(241),
            &"a/".repeat(20),
        ] {
            assert!(bad.parse::<WorkspacePath>().is_err(), "{bad:?}");
        }
    }
}
