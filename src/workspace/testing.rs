//! Shared code of this module's tests: a real workspace in a temporary folder.

use std::path::Path;
use std::process::Command;

use super::{CommitNote, Limits, NewFile, Workspace, Workspaces};
use crate::domain::{TurnId, VersionId, VersionKind, WorkspacePath};

/// Workspaces in a temporary folder, with one app. The folder is removed when this is dropped.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) all: Workspaces,
    pub(super) app: Workspace,
    pub(super) first: VersionId,
}

pub(super) const SMALL: Limits = Limits { file_bytes: 200_000, files: 20, total_bytes: 1_000_000 };

impl Bench {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let all = Workspaces::new(folder.path().join("workspaces"), SMALL).unwrap();
        let files: Vec<NewFile> = files.iter().map(|(path, text)| new_file(path, text)).collect();
        let (app, first) = all.create(&"brisk-otter".parse().unwrap(), &files, &note("Scaffold")).unwrap();
        Self { folder, all, app, first }
    }

    /// Runs git in a folder, without the user's and the machine's settings, and returns its output.
    pub(super) fn git(&self, folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("HOME", self.folder.path())
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs git in the app's work tree.
    pub(super) fn app_git(&self, args: &[&str]) -> String {
        self.git(self.app.root(), args)
    }

    /// Checks that git finds no errors, and agrees with Slipway about the state of the work tree.
    pub(super) fn check(&self) {
        self.app_git(&["fsck", "--strict"]);
        let clean = self.app_git(&["status", "--porcelain"]).is_empty();
        assert_eq!(clean, !self.app.is_dirty().unwrap(), "git and we agree on what is dirty");
    }

    pub(super) fn write(&self, at: &str, text: &str) {
        self.app.write(&path(at), text.as_bytes()).unwrap();
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.app.list().unwrap().into_iter().map(|entry| entry.path.into()).collect()
    }
}

pub(super) fn path(text: &str) -> WorkspacePath {
    text.parse().unwrap()
}

pub(super) fn new_file(path: &str, text: &str) -> NewFile {
    NewFile { path: path.parse().unwrap(), bytes: text.as_bytes().to_vec() }
}

pub(super) fn note(title: &str) -> CommitNote {
    CommitNote {
        title: title.to_owned(),
        body: String::new(),
        kind: VersionKind::Turn,
        turn: Some(TurnId(3)),
        at: "2026-03-04T05:06:07Z".parse().unwrap(),
    }
}
