//! Bundles the pages' scripts and styles (`browser/`) into `static/built/`, from where the binary embeds them, and has the
//! linker lay out optimized builds so that they take little memory.
//!
//! The libraries and the bundler come from npm by `package-lock.json` and are not committed. Nothing is fetched when the right
//! versions are there already.

use std::env;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

/// The sources of what pages load.
const SOURCES: &str = "browser";
/// What becomes of them, each a file of its own: one script and one style sheet for each kind of page, and the editor.
const BUNDLES: [&str; 7] =
    ["boot.js", "site.js", "workbench.js", "editor.js", "styles/site.css", "styles/workbench.css", "styles/docs.css"];
const BUILT: &str = "static/built";
/// What has to be installed, in the version that the lock file names.
const PACKAGES: [&str; 4] =
    ["node_modules/htmx.org", "node_modules/esbuild", "node_modules/@codemirror/view", "node_modules/style-mod"];
/// Other folders that the binary embeds.
const EMBEDDED: [&str; 3] = ["app_templates", "prompts", "src/generation/demo/recordings"];
/// Functions that are executed at start and by the usual requests; scripts/link-order writes it.
const LINK_ORDER: &str = "link-order.txt";

/// Set by scripts/link-order, which needs the names of functions.
const KEEP_SYMBOLS: &str = "SLIPWAY_KEEP_SYMBOLS";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=package-lock.json");
    println!("cargo:rerun-if-changed={SOURCES}");
    for name in BUNDLES {
        println!("cargo:rerun-if-changed={}", built(name).display());
    }
    // The compiler notices a changed file that is embedded, but not an added or removed one.
    for folder in EMBEDDED {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rerun-if-changed={LINK_ORDER}");
    for argument in linker_arguments() {
        println!("cargo:rustc-link-arg-bin=slipway={argument}");
    }
    match bundle() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!(
                "\nThe pages' scripts cannot be bundled: {reason}.\n\
                 Run scripts/setup, which fetches what is needed, or `npm ci` at the top of the repository, and build again.\n"
            );
            ExitCode::FAILURE
        }
    }
}

fn bundle() -> Result<(), String> {
    let lock = read("package-lock.json")?;
    let is_installed = |package: &&str| {
        let wanted = version_after(&lock, &format!("\"{package}\""));
        wanted.is_some() && installed(package).as_deref() == wanted
    };
    if !PACKAGES.iter().all(is_installed) {
        npm_ci()?;
        if let Some(missing) = PACKAGES.iter().find(|package| !is_installed(package)) {
            return Err(format!("npm ran, yet {missing} is not there in the version that package-lock.json names"));
        }
    }
    let output = PathBuf::from(env::var("OUT_DIR").map_err(|_| "cargo names no output directory")?).join("built");
    run_esbuild(&output)?;
    fs::create_dir_all(BUILT).map_err(|error| format!("cannot make {BUILT}: {error}"))?;
    let date = newest(Path::new(SOURCES)).max(modified(Path::new("package-lock.json")));
    for name in BUNDLES {
        place(&output.join(name), &built(name), date)?;
    }
    Ok(())
}

/// Where a bundle stands: all in one folder.
fn built(name: &str) -> PathBuf {
    Path::new(BUILT).join(name.rsplit('/').next().unwrap_or(name))
}

fn run_esbuild(output: &Path) -> Result<(), String> {
    let mut esbuild = if let Some(program) = native_esbuild() {
        Command::new(program)
    } else {
        let mut node = Command::new("node");
        node.arg("node_modules/esbuild/bin/esbuild");
        node
    };
    esbuild.args(BUNDLES.map(|name| format!("{SOURCES}/{name}")));
    esbuild.arg(format!("--outdir={}", output.display())).arg(format!("--outbase={SOURCES}"));
    let options =
        ["--bundle", "--minify", "--format=iife", "--target=chrome123,firefox120,safari17.5", "--charset=utf8"];
    esbuild.args(options).args(["--legal-comments=none", "--log-level=warning"]);
    let ran = esbuild.output().map_err(|error| format!("esbuild cannot be started ({error})"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("esbuild failed:\n{}", String::from_utf8_lossy(&ran.stderr).trim_end()))
}

/// The bundler's own program for this machine, which needs no Node.js; none where it is not known.
fn native_esbuild() -> Option<PathBuf> {
    let host = env::var("HOST").ok()?;
    let platform = match host.as_str() {
        "x86_64-unknown-linux-gnu" | "x86_64-unknown-linux-musl" => "linux-x64",
        "aarch64-unknown-linux-gnu" | "aarch64-unknown-linux-musl" => "linux-arm64",
        "x86_64-apple-darwin" => "darwin-x64",
        "aarch64-apple-darwin" => "darwin-arm64",
        _ => return None,
    };
    let program = Path::new("node_modules/@esbuild").join(platform).join("bin/esbuild");
    program.exists().then_some(program)
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
    println!("cargo:rerun-if-env-changed={KEEP_SYMBOLS}");
    let mut arguments = Vec::new();
    // The profile of one package, which Cargo.toml sets for ours, has no `strip`: cargo forgets the one for all of them.
    if env::var_os(KEEP_SYMBOLS).is_none() {
        arguments.push("-Wl,--strip-all".to_owned());
    }
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
fn installed(package: &str) -> Option<String> {
    let manifest = fs::read_to_string(Path::new(package).join("package.json")).ok()?;
    version_after(&manifest, "{").map(str::to_owned)
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

/// Copies when the content differs. The copy is dated like its sources: a file younger than this run would make cargo
/// run it, and compile everything after it, once more.
fn place(from: &Path, to: &Path, date: SystemTime) -> Result<(), String> {
    let content = fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    let failed = |error| format!("cannot write {}: {error}", to.display());
    if fs::read(to).is_ok_and(|held| held == content) {
        return Ok(());
    }
    fs::write(to, content).map_err(failed)?;
    let times = FileTimes::new().set_modified(date);
    File::options().append(true).open(to).and_then(|file| file.set_times(times)).map_err(failed)
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|known| known.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When a folder or anything in it has changed last.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let inside = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() { newest(&path) } else { modified(&path) }
    });
    inside.chain([modified(folder)]).max().unwrap_or(SystemTime::UNIX_EPOCH)
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
