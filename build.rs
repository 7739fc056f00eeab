//! Puts the browser libraries where the binary embeds them from: `static/vendor/`.
//!
//! They come from npm by `package-lock.json` and are not committed. Nothing is fetched when the right
//! version is there already, and this does not run again until the lock file changes or a file goes missing.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::{Command, ExitCode};

/// From where in the package, to which name in `static/vendor/`.
const FILES: [(&str, &str); 2] = [("dist/htmx.min.js", "htmx.min.js"), ("dist/ext/hx-sse.min.js", "hx-sse.min.js")];
const PACKAGE: &str = "node_modules/htmx.org";
const VENDOR: &str = "static/vendor";
/// Folders that the binary embeds, apart from `static/vendor`, which this script writes itself.
const EMBEDDED: [&str; 4] = ["app_templates", "prompts", "static/css", "static/js"];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=package-lock.json");
    for (_, name) in FILES {
        println!("cargo:rerun-if-changed={VENDOR}/{name}");
    }
    // The compiler notices a changed file that is embedded, but not an added or removed one.
    for folder in EMBEDDED {
        println!("cargo:rerun-if-changed={folder}");
    }
    match vendor() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!(
                "\nThe browser libraries are not there: {reason}.\n\
                 Run scripts/setup, which fetches them, or `npm ci` at the top of the repository, and build again.\n"
            );
            ExitCode::FAILURE
        }
    }
}

fn vendor() -> Result<(), String> {
    let lock = read("package-lock.json")?;
    let wanted =
        version_after(&lock, &format!("\"{PACKAGE}\"")).ok_or("package-lock.json names no version of htmx.org")?;
    if installed().as_deref() != Some(wanted) {
        if vendored(wanted) {
            return Ok(());
        }
        npm_ci()?;
        if installed().as_deref() != Some(wanted) {
            return Err(format!("npm ran, yet {PACKAGE} is not version {wanted}"));
        }
    }
    fs::create_dir_all(VENDOR).map_err(|error| format!("cannot make {VENDOR}: {error}"))?;
    for (from, name) in FILES {
        place(&Path::new(PACKAGE).join(from), &Path::new(VENDOR).join(name))?;
    }
    Ok(())
}

/// The version in `node_modules`, if there is one.
fn installed() -> Option<String> {
    let manifest = fs::read_to_string(Path::new(PACKAGE).join("package.json")).ok()?;
    version_after(&manifest, "{").map(str::to_owned)
}

/// Whether the files are in place already, as on a machine that was handed them without npm.
fn vendored(wanted: &str) -> bool {
    let held = |name: &str| fs::read_to_string(Path::new(VENDOR).join(name)).unwrap_or_default();
    held("htmx.min.js").contains(&format!("version=\"{wanted}\"")) && !held("hx-sse.min.js").is_empty()
}

/// Installs what the lock file names; what the browser tests need only where that was there before.
fn npm_ci() -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    if !Path::new("node_modules/playwright-core").exists() {
        npm.arg("--omit=dev");
    }
    let output = npm.output().map_err(|error| format!("npm cannot be started ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("npm ci failed:\n{}", words.trim_end()))
}

/// Copies when the content differs. The copy is dated like the lock file: a file younger than this run
/// would make cargo run it, and compile everything after it, once more.
fn place(from: &Path, to: &Path) -> Result<(), String> {
    let content = fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    let failed = |error| format!("cannot write {}: {error}", to.display());
    if fs::read(to).is_ok_and(|held| held == content) {
        return Ok(());
    }
    fs::write(to, content).map_err(failed)?;
    let date = fs::metadata("package-lock.json").and_then(|lock| lock.modified());
    let times = FileTimes::new().set_modified(date.map_err(failed)?);
    File::options().append(true).open(to).and_then(|file| file.set_times(times)).map_err(failed)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// The value of the first `"version": "…"` after `marker`. npm writes both files, one key a line, so that
/// this needs no JSON parser, and the build no dependency.
fn version_after<'a>(json: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(marker)?;
    let (_, rest) = rest.split_once("\"version\": \"")?;
    rest.split_once('"').map(|(version, _)| version)
}
