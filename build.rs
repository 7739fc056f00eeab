//! Puts the browser libraries where the binary embeds them from (`static/vendor/`), and has the linker lay out optimized
//! builds so that they take little memory.
//!
//! The browser libraries come from npm by `package-lock.json` and are not committed. Nothing is fetched when the right
//! version is there already, and this does not run again until the lock file changes or a file goes missing.

use std::env;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::{Command, ExitCode};

/// From where in the package, to which name in `static/vendor/`.
const FILES: [(&str, &str); 2] = [("dist/htmx.min.js", "htmx.min.js"), ("dist/ext/hx-sse.min.js", "hx-sse.min.js")];
const PACKAGE: &str = "node_modules/htmx.org";
const VENDOR: &str = "static/vendor";
/// Folders that the binary embeds, apart from `static/vendor`, which this script writes itself.
const EMBEDDED: [&str; 4] = ["app_templates", "prompts", "static/css", "static/js"];
/// Functions that are executed at start and by the usual requests; scripts/link-order writes it.
const LINK_ORDER: &str = "link-order.txt";

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
    println!("cargo:rerun-if-changed={LINK_ORDER}");
    for argument in linker_arguments() {
        println!("cargo:rustc-link-arg-bin=slipway={argument}");
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

/// What an optimized build tells the linker. Only for the linker that comes with the compiler on x86-64: others
/// may not know these options.
fn linker_arguments() -> Vec<String> {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|held| held == value);
    let chooses_linker = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let known =
        is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") && is("HOST", "x86_64-unknown-linux-gnu");
    if !known || chooses_linker {
        return Vec::new();
    }
    let mut arguments = Vec::new();
    let order = env::current_dir().map(|folder| folder.join(LINK_ORDER)).unwrap_or_default();
    if order.exists() {
        arguments.push(format!("-Wl,--symbol-ordering-file={}", order.display()));
        // The list names functions that this build may have under another name, or not at all.
        arguments.push("-Wl,--no-warn-symbol-ordering".to_owned());
    }
    // Older C libraries refuse to start a program with packed relocations.
    if c_library().is_some_and(|version| version >= (2, 36)) {
        arguments.push("-Wl,-z,pack-relative-relocs".to_owned());
    }
    arguments
}

/// The version of this machine's GNU C library, which is the oldest that the binary has to run on.
fn c_library() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
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
