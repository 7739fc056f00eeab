//! Folders of an app that git would treat as repositories. A program that runs git in such a folder (an editor, a
//! shell's prompt) would use the configuration in it, which can contain commands.

use std::collections::{BTreeMap, BTreeSet};

use super::WorkspaceError;

const HEAD: u8 = 1;
const OBJECTS: u8 = 2;
const REFS: u8 = 4;
/// A file that refers to the other two in another folder.
const COMMON: u8 = 8;

/// Whether a file at `path` can turn a folder of its path into a repository.
pub(super) fn can_complete(path: &str) -> bool {
    path.split('/').any(|part| mark(part) != 0)
}

/// The folders that git treats as repositories if these files exist; the empty text is the top folder. Names are
/// compared in lower case, because on some file systems `head` is the same file as `HEAD`.
pub(super) fn repositories<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let mut marks: BTreeMap<String, u8> = BTreeMap::new();
    for path in paths.into_iter().filter(|path| can_complete(path)) {
        let path = path.to_lowercase();
        let mut folder = 0;
        for part in path.split('/') {
            let mark = mark(part);
            if mark != 0 {
                *marks.entry(path[..folder].trim_end_matches('/').to_owned()).or_default() |= mark;
            }
            folder += part.len() + 1;
        }
    }
    let is_repository =
        |marks: u8| marks & HEAD != 0 && (marks & COMMON != 0 || marks & (OBJECTS | REFS) == OBJECTS | REFS);
    marks.into_iter().filter(|(_, marks)| is_repository(*marks)).map(|(folder, _)| folder).collect()
}

/// Whether this file is necessary for one of `repositories`: without it, the folder is an ordinary one.
pub(super) fn makes_one(path: &str, repositories: &BTreeSet<String>) -> bool {
    let path = path.to_lowercase();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    mark(name) & HEAD != 0 && repositories.contains(folder)
}

/// Refuses `after` if it contains a repository that is not in `before`.
pub(super) fn check<'a>(
    before: impl IntoIterator<Item = &'a str>,
    after: impl IntoIterator<Item = &'a str>,
) -> Result<(), WorkspaceError> {
    let after = repositories(after);
    if after.is_empty() {
        return Ok(());
    }
    match after.difference(&repositories(before)).next() {
        None => Ok(()),
        Some(folder) => Err(WorkspaceError::refused(format!(
            "The folder “{}” would be a git repository, whose settings can run commands for whoever opens the app: it may not hold HEAD, objects and refs together (nor HEAD and commondir). Choose another name for one of them.",
            if folder.is_empty() { "/" } else { folder }
        ))),
    }
}

fn mark(part: &str) -> u8 {
    match part.to_lowercase().as_str() {
        "head" => HEAD,
        "objects" => OBJECTS,
        "refs" => REFS,
        "commondir" => COMMON,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, note, path};
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_parts() {
        let found = |paths: &[&str]| repositories(paths.iter().copied()).into_iter().collect::<Vec<_>>();
        assert_eq!(found(&["docs/HEAD", "docs/objects/x", "docs/refs/x", "docs/config"]), ["docs"]);
        assert_eq!(found(&["HEAD", "objects/x", "refs/heads/x"]), [""]);
        assert_eq!(found(&["a/b/head", "a/b/Objects/x", "a/b/REFS/x"]), ["a/b"]);
        assert_eq!(found(&["a/HEAD", "a/commondir"]), ["a"]);
        assert_eq!(found(&["a/HEAD", "a/objects", "a/refs"]), ["a"], "programs are taken for folders there");
        for paths in
            [&["a/HEAD", "a/objects/x"][..], &["HEAD", "a/objects/x", "a/refs/x"], &["a/objects/x", "a/refs/x"]]
        {
            assert_eq!(found(paths), Vec::<String>::new(), "{paths:?}");
        }
    }

    /// Git itself verifies this in the exported folder.
    #[test]
    fn no_folder_of_an_app_becomes_a_repository() {
        let bench =
            Bench::new(&[("docs/objects/x", ""), ("docs/config", "[core]\n\tfsmonitor = touch /tmp/run; false\n")]);
        let app = &bench.app;
        app.write(&path("docs/refs/x"), b"").unwrap();
        let refused = app.write(&path("docs/HEAD"), b"ref: refs/heads/main\n").unwrap_err().to_string();
        assert!(refused.contains("“docs” would be a git repository"), "{refused}");
        assert!(!app.exists(&path("docs/HEAD")).unwrap());
        assert!(app.commit_file(&path("docs/Head"), Some(b"ref: refs/heads/main\n"), &note("x")).is_err());
        app.write(&path("docs/header.html"), b"").unwrap();
        app.delete(&path("docs/header.html")).unwrap();
        // If it is written without Slipway, it is not committed.
        std::fs::write(app.root().join("docs/HEAD"), "ref: refs/heads/main\n").unwrap();
        assert!(app.commit_all(&note("x")).unwrap_err().to_string().contains("would be a git repository"));
        let files = [("a/HEAD", "ref: refs/heads/main\n"), ("a/objects/x", ""), ("a/refs/x", "")]
            .map(|(path, text)| super::super::testing::new_file(path, text));
        assert!(bench.all.create(&"other-app".parse().unwrap(), &files, &note("x")).is_err());
    }

    #[test]
    fn one_in_an_old_version_stays_behind() {
        let bench = Bench::new(&[("a.txt", "a")]);
        let app = &bench.app;
        let ran = bench.folder.path().join("ran");
        // The files as a user could have committed them with git, or with an earlier version of Slipway.
        for (file, text) in [("HEAD", "ref: refs/heads/main\n"), ("objects/x", ""), ("refs/x", "")] {
            let file = app.root().join("docs").join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let config =
            format!("[core]\n\tbare = false\n\tworktree = ..\n\tfsmonitor = \"touch {}; false\"\n", ran.display());
        std::fs::write(app.root().join("docs/config"), config).unwrap();
        bench.app_git(&["add", "-A"]);
        bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "Hide one"]);
        let hidden = app.head().unwrap();

        let mut tar = Vec::new();
        app.export(&mut tar, "taken", &[]).unwrap();
        let there = bench.folder.path().join("there");
        tar::Archive::new(tar.as_slice()).unpack(&there).unwrap();
        let inside = there.join("taken/docs");
        assert!(inside.join("config").exists() && !inside.join("HEAD").exists());
        let top = bench.git(&inside, &["rev-parse", "--show-toplevel"]);
        assert!(top.trim_end().ends_with("/taken"), "git finds the app's repository, not one within: {top}");
        bench.git(&inside, &["status", "--porcelain"]);
        assert!(!ran.exists(), "its settings were obeyed");
        let build = app.archive(&hidden, &[]).unwrap();
        assert!(!String::from_utf8_lossy(&build).contains("docs/HEAD"));

        // The file can be deleted like any other, and cannot be restored.
        app.commit_file(&path("docs/HEAD"), None, &note("Remove it")).unwrap();
        let error = app.restore(&hidden, &note("Back")).unwrap_err().to_string();
        assert!(error.contains("would be a git repository"), "{error}");
        assert!(!app.is_dirty().unwrap());
    }
}
