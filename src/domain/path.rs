//! Paths inside a workspace.

use std::path::Path;

use super::{Invalid, validated_string};

/// Longest path, in bytes.
pub const PATH_MAX: usize = 240;
/// Deepest path, in parts.
pub const DEPTH_MAX: usize = 16;

validated_string! {
    /// A file's path relative to the workspace: parts joined by `/`, none of them empty, `.`,
    /// `..` or `.git`, no backslash and no control characters. That the path does not leave
    /// through a symbolic link is for the file system to check when it is opened.
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

/// `.git` as file systems that fold case or drop trailing dots and spaces would read it.
fn is_git(part: &str) -> bool {
    let part = part.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    part == ".git" || part == "git~1" || part.starts_with(".git:")
}

fn shown(text: &str) -> String {
    text.chars().take(80).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["index.html", "public/a b.css", ".gitignore", "a/.github/x", "ü.txt"] {
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
