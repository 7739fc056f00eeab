//! Views of the *Code* tab: the tree and one file. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use askama::Template;

use super::history_views::DiffView;
use crate::bounded_work::Budget;
use crate::domain::AppName;
use crate::services::files::ListedFile;
use crate::web::format::{self, Html};
use crate::web::highlight::{self, WithoutColours};
use crate::web::ui::{self, icon, icon_with};

/// Maximum number of lines of a file on the page.
const LINES_SHOWN: usize = 5_000;
/// Folders are open in trees of up to this many files.
const OPEN_TREE: usize = 60;

/// A file in the tree.
pub struct TreeFile<'a> {
    /// Its path.
    pub path: &'a str,
    /// Whether it may be changed.
    pub hold: Hold,
    /// It differs from the version before.
    pub changed: bool,
}

/// The reason why a file cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It can be changed.
    None,
    /// A user locked it.
    Locked,
    /// It belongs to the platform.
    Platform,
}

impl Hold {
    /// From a file in the services' list.
    pub fn of(file: &ListedFile) -> Self {
        match (file.platform, file.locked) {
            (true, _) => Self::Platform,
            (false, true) => Self::Locked,
            (false, false) => Self::None,
        }
    }
}

/// The tab.
#[derive(Template)]
#[template(path = "app/code.html")]
pub struct CodeTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// How many files there are.
    pub count: usize,
    /// The current file.
    pub current: Option<&'a str>,
    /// The path of a new file that cannot be used, and why.
    pub new_problem: Option<(&'a str, &'a str)>,
    /// The folder where uploaded files are saved, unless the user changes it.
    pub folder: &'a str,
    /// The reason why files could not be uploaded.
    pub upload_problem: Option<&'a str>,
    /// Maximum bytes of a file.
    pub file_bytes: u64,
    /// Maximum number of files of one upload.
    pub files_max: usize,
    /// Maximum bytes of one upload.
    pub bytes_max: usize,
    /// The rendered tree.
    pub tree: Html,
    /// The rendered [`FilePanel`], or what was found.
    pub file: String,
}

impl CodeTab<'_> {
    fn file_words(&self) -> String {
        format!("{} MiB", self.file_bytes >> 20)
    }
}

/// One file.
#[derive(Template)]
#[template(path = "app/file.html")]
pub struct FilePanel<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Its path.
    pub path: &'a str,
    /// Its path, with links to its folders.
    pub crumbs: Html,
    /// Its page.
    pub href: String,
    /// Its bytes.
    pub raw: String,
    /// The address that deletes it.
    pub delete: String,
    /// Size and lines.
    pub facts: String,
    /// The address that locks it.
    pub lock: String,
    /// The address that unlocks it.
    pub unlock: String,
    /// The address that moves it.
    pub rename_action: String,
    /// The new path that the user has typed; none if it is not being renamed.
    pub rename: Option<String>,
    /// Whether it can be changed.
    pub hold: Hold,
    /// It is text, and the user may change it.
    pub editable: bool,
    /// Its changes are shown.
    pub is_changes: bool,
    /// The reason why it could not be saved or renamed.
    pub problem: Option<&'a str>,
    /// Its content.
    pub view: FileView,
}

/// The content of the file panel.
pub enum FileView {
    /// No file is chosen.
    None,
    /// There is no such file.
    Missing {
        /// A sentence that says so.
        why: String,
        /// The address that creates it.
        create: Option<String>,
    },
    /// A folder.
    Folder {
        /// The files in it and below it.
        files: Vec<FolderFile>,
        /// How many are not listed.
        more: usize,
    },
    /// A binary file.
    Binary {
        /// Its size.
        bytes: String,
        /// It is an image.
        picture: Option<Picture>,
    },
    /// The viewer, with syntax highlighting.
    Source {
        /// The text.
        html: Html,
        /// Line numbers.
        gutter: Html,
        /// The text is truncated.
        cut: bool,
        /// A sentence that says why a part has no syntax highlighting.
        without_colours: Option<String>,
    },
    /// The differences from the version before.
    Changes {
        /// Which version changed it.
        words: String,
        /// That version's page.
        version: Option<String>,
        /// The changes.
        diff: Option<DiffView>,
    },
    /// The editor.
    Edit {
        /// The text.
        text: String,
        /// The version it was read at.
        head: String,
        /// It does not exist yet.
        new: bool,
    },
}

/// A file of a folder.
pub struct FolderFile {
    /// Its path inside the folder.
    pub name: String,
    /// Its page.
    pub href: String,
    /// Its size.
    pub bytes: String,
}

/// An image, which browsers can show.
pub struct Picture {
    /// The address of its bytes.
    pub src: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl<'a> FilePanel<'a> {
    /// A panel for a path, or for none.
    pub fn new(app: &'a AppName, path: &'a str, hold: Hold, facts: String, view: FileView) -> Self {
        let encoded = format::encode_path(path, true);
        Self {
            app,
            path,
            crumbs: crumbs(app, path),
            href: format!("/apps/{app}/code/{encoded}"),
            raw: format!("/api/v1/apps/{app}/files/{encoded}"),
            delete: format!("/apps/{app}/delete-file/{encoded}"),
            lock: format!("/apps/{app}/lock-file/{encoded}"),
            unlock: format!("/apps/{app}/unlock-file/{encoded}"),
            rename_action: format!("/apps/{app}/rename-file/{encoded}"),
            rename: None,
            facts,
            hold,
            editable: hold == Hold::None && matches!(view, FileView::Source { .. } | FileView::Changes { .. }),
            is_changes: matches!(view, FileView::Changes { .. }),
            problem: None,
            view,
        }
    }

    fn is_folder(&self) -> bool {
        matches!(self.view, FileView::Folder { .. })
    }

    fn is_free(&self) -> bool {
        self.hold == Hold::None
    }

    /// The page after the editor: the file, or the tree if the file does not exist yet.
    fn back(&self) -> String {
        match self.view {
            FileView::Edit { new: true, .. } => format!("/apps/{}/code", self.app),
            _ => self.href.clone(),
        }
    }
}

/// A path whose folders are links.
fn crumbs(app: &AppName, path: &str) -> Html {
    let mut out = String::new();
    let mut from = 0;
    for (at, _) in path.match_indices('/') {
        let href = format!("/apps/{app}/code/{}", format::encode_path(&path[..at], true));
        let _ = write!(out, r##"<a href="{href}" hx-get="{href}" hx-target="#stage" hx-push-url="true">"##);
        highlight::escape_into(&path[from..at], &mut out);
        out.push_str("</a>/");
        from = at + 1;
    }
    highlight::escape_into(&path[from..], &mut out);
    Html(out)
}

/// A file's text with syntax highlighting. CPU-bound: call it off the async threads.
pub fn source(path: &str, text: &str, budget: &Budget) -> FileView {
    let cut = text.match_indices('\n').nth(LINES_SHOWN - 1).map(|(at, _)| at + 1).filter(|at| *at < text.len());
    let shown = &text[..cut.unwrap_or(text.len())];
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut gutter = String::new();
    // As wide as in the editor, which also numbers the empty line after the last line break.
    let width = shown.split('\n').count().to_string().len();
    for number in 1..=shown.lines().count().max(1) {
        let _ = write!(gutter, r##"<a id="L{number}" href="#L{number}" tabindex="-1">{number:>width$}</a>{}"##, '\n');
    }
    let coloured = highlight::render(name, shown, budget);
    let without_colours = coloured.without.map(|without| match without {
        WithoutColours::TooLong => "Syntax highlighting is off, because the file is long.".to_owned(),
        WithoutColours::From(line) => {
            format!("Syntax highlighting ends at line {line}, because it takes too long.")
        }
    });
    FileView::Source { html: coloured.html, gutter: Html(gutter), cut: cut.is_some(), without_colours }
}

#[derive(Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: Vec<(&'a str, &'a TreeFile<'a>)>,
}

/// The tree as nested lists, folders first. Folders with the current file or a changed file are open.
pub fn tree(app: &AppName, files: &[TreeFile<'_>], current: Option<&str>) -> Html {
    let mut root = Folder::default();
    for file in files {
        let mut folder = &mut root;
        let mut parts = file.path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                folder = folder.folders.entry(part).or_default();
            } else {
                folder.files.push((part, file));
            }
        }
    }
    let mut out = String::new();
    let all_open = files.len() <= OPEN_TREE;
    write_folder(&root, &TreeContext { app, current, all_open }, &mut out);
    Html(out)
}

struct TreeContext<'a> {
    app: &'a AppName,
    current: Option<&'a str>,
    all_open: bool,
}

impl Folder<'_> {
    fn any(&self, test: &impl Fn(&TreeFile<'_>) -> bool) -> bool {
        self.files.iter().any(|(_, file)| test(file)) || self.folders.values().any(|folder| folder.any(test))
    }
}

fn write_folder(folder: &Folder<'_>, context: &TreeContext<'_>, out: &mut String) {
    out.push_str("<ul>");
    for (name, inner) in &folder.folders {
        let open = context.all_open || inner.any(&|file| file.changed || context.current == Some(file.path));
        let _ = write!(
            out,
            "<li><details{}><summary>{}<span class=\"name\">",
            if open { " open" } else { "" },
            icon("folder")
        );
        highlight::escape_into(name, out);
        let _ = write!(out, "</span>{}</summary>", icon_with("right", "disclosure-arrow"));
        write_folder(inner, context, out);
        out.push_str("</details></li>");
    }
    for (name, file) in &folder.files {
        let href = format!("/apps/{}/code/{}", context.app, format::encode_path(file.path, true));
        let current = if context.current == Some(file.path) { " aria-current=\"page\"" } else { "" };
        let _ = write!(
            out,
            "<li><a href=\"{href}\" hx-get=\"{href}\" hx-target=\"#stage\" hx-swap=\"innerMorph\" hx-push-url=\"true\"{current}>{}<span class=\"name\">",
            icon(if file.hold == Hold::None { "file" } else { "lock" })
        );
        highlight::escape_into(name, out);
        out.push_str("</span>");
        if file.changed {
            out.push_str("<span class=\"changed\" title=\"Changed in the newest version\"><span aria-hidden=\"true\">M</span><span class=\"sr\">changed</span></span>");
        }
        out.push_str("</a></li>");
    }
    out.push_str("</ul>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn the_tree_nests_and_escapes() {
        let files = [
            TreeFile { path: "Dockerfile", hold: Hold::Platform, changed: false },
            TreeFile { path: "public/<b>.html", hold: Hold::None, changed: true },
            TreeFile { path: "public/a b/c.css", hold: Hold::None, changed: false },
        ];
        let html = tree(&samples::app().name, &files, Some("public/a b/c.css")).0;
        let page = samples::select(&html);
        assert_eq!(page.texts("a .name"), ["c.css", "<b>.html", "Dockerfile"]);
        assert_eq!(page.attribute("[aria-current]", "href"), "/apps/brisk-otter/code/public/a%20b/c.css");
        assert_eq!(page.count(".changed"), 1);
        assert_eq!(page.count("b"), 0);
    }

    #[test]
    fn a_long_file_is_cut_at_a_line() {
        let text = "x\n".repeat(LINES_SHOWN + 3);
        let FileView::Source { html, cut, .. } = source("a.txt", &text, &Budget::unlimited()) else {
            panic!("it is text")
        };
        assert!(cut);
        assert_eq!(html.0.lines().count(), LINES_SHOWN);
        let FileView::Source { cut, .. } = source("a.txt", "x\n", &Budget::unlimited()) else { panic!("it is text") };
        assert!(!cut);
    }
}
