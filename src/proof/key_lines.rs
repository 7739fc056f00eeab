//! What a page shows of a failure at first: a few lines, the cause if it is known, and the files that are named. Pure.

use std::sync::LazyLock;

use regex::Regex;

use super::lines::{is_error, relevant_lines};
use crate::domain::JobError;

/// Maximum number of lines.
const LINES_MAX: usize = 6;
/// Lines of these that show the app's own place in the code.
const PLACE_LINES: usize = 2;
/// Failed checks that are shown before the app's own lines.
const CHECKS: usize = 3;
/// Maximum characters of a package's name.
const NAME_MAX: usize = 80;
/// The line between failed checks and the app's log.
pub const LOG_HEADING: &str = "The app's last lines:";

/// `File "/app/main.py", line 3`
static PLACE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^\s*File "([^"]+)", line \d"#).expect("a valid pattern"));
/// `main.py:3: SyntaxError`
static POSITION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|\s)([\w./-]+\.(?:py|js|html|css|toml|json|conf|txt)):\d").expect("a valid pattern")
});
static NOT_FOUND: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"No matching distribution found for (\S+)").expect("a valid pattern"));

/// The few lines that say most about a failure: errors first, then the app's own place in the code.
pub fn key_lines(error: &JobError) -> Vec<String> {
    let (mut shown, log) = match error.lines.iter().position(|line| line == LOG_HEADING) {
        Some(at) => (failed_checks(&error.lines[..at]), &error.lines[at + 1..]),
        None if error.code == "smoke_failed" => (failed_checks(&error.lines), [].as_slice()),
        None => (Vec::new(), error.lines.as_slice()),
    };
    let lines = relevant_lines(log);
    let place = last_place(&lines);
    let mut errors: Vec<&String> = lines.iter().filter(|line| is_error(line)).collect();
    let space = LINES_MAX.saturating_sub(shown.len());
    if errors.is_empty() {
        // What the app printed last says more than the beginning of it.
        shown.extend(lines[lines.len().saturating_sub(space)..].iter().cloned());
        return shown;
    }
    errors.truncate(space.saturating_sub(place.len()).max(1));
    shown.extend(errors.into_iter().chain(place).cloned());
    shown.truncate(LINES_MAX);
    shown
}

/// Failed checks without the responses below them.
fn failed_checks(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| !line.starts_with(' ')).take(CHECKS).cloned().collect()
}

/// The last place of a traceback, with its source line.
fn last_place(lines: &[String]) -> Vec<&String> {
    let Some(at) = lines.iter().rposition(|line| PLACE.is_match(line)) else { return Vec::new() };
    lines[at..].iter().take(PLACE_LINES).filter(|line| !is_error(line)).collect()
}

/// The cause of a failed build in a sentence, if its output names one that is better than the failed step.
pub fn cause<'a>(code: &str, lines: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if code != "build_failed" {
        return None;
    }
    let found = lines.into_iter().find_map(|line| NOT_FOUND.captures(line))?;
    let name: String = found[1].chars().filter(|c| *c != '`').take(NAME_MAX).collect();
    Some(format!("pip could not find `{name}`."))
}

/// The files that a failure names, the most likely one first. The output of an app or a build names them: the caller
/// checks that they exist. A path may begin with folders of the container.
pub fn named_files(error: &JobError) -> Vec<String> {
    if error.code == "bad_settings" {
        return vec!["app.toml".to_owned()];
    }
    let mut names: Vec<String> = Vec::new();
    if cause(&error.code, error.lines.iter().map(String::as_str)).is_some() {
        names.push("requirements.txt".to_owned());
    }
    let lines = relevant_lines(&error.lines);
    let places = lines.iter().rev().filter_map(|line| PLACE.captures(line));
    names.extend(places.map(|found| found[1].to_owned()));
    let positions = lines.iter().rev().filter_map(|line| POSITION.captures(line));
    names.extend(positions.map(|found| found[1].to_owned()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, log: &str) -> JobError {
        JobError {
            code: code.into(),
            message: "It failed.".into(),
            hint: None,
            lines: log.lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn a_missing_package_names_itself_and_its_file() {
        let pip = error(
            "build_failed",
            "Step 4/7 : RUN pip install -r requirements.txt\nCollecting fastapi\nERROR: Could not find a version that satisfies \
             the requirement no`pe==9 (from versions: none)\nERROR: No matching distribution found for no`pe==9",
        );
        assert_eq!(
            cause("build_failed", pip.lines.iter().map(String::as_str)).as_deref(),
            Some("pip could not find `nope==9`.")
        );
        assert_eq!(named_files(&pip), ["requirements.txt"]);
        let shown = key_lines(&pip);
        assert_eq!(shown.len(), 2);
        assert!(
            shown[0].starts_with("ERROR: Could not find") && shown[1].starts_with("ERROR: No matching"),
            "{shown:?}"
        );
    }

    #[test]
    fn the_error_comes_before_its_place() {
        let log = r#"INFO:     Started server process [1]
Traceback (most recent call last):
  File "/app/main.py", line 7, in <module>
    from shop import basket
  File "/app/shop.py", line 3, in <module>
    import nosuch
ModuleNotFoundError: No module named 'nosuch'"#;
        let failed = error("start_failed", log);
        let pip_says = ["No matching distribution found for x"];
        assert_eq!(
            key_lines(&failed),
            [
                "ModuleNotFoundError: No module named 'nosuch'",
                "  File \"/app/shop.py\", line 3, in <module>",
                "    import nosuch"
            ]
        );
        assert_eq!(named_files(&failed), ["/app/shop.py", "/app/main.py"]);
        assert_eq!(cause("start_failed", pip_says), None);
    }

    #[test]
    fn failed_checks_come_before_the_apps_own_lines() {
        let log = "GET /a (endpoint): 500. It answered 500.\n    Internal Server Error\nGET /b (endpoint): 500.\nThe app's last \
                   lines:\nINFO: up\nZeroDivisionError: division by zero";
        assert_eq!(
            key_lines(&error("smoke_failed", log)),
            [
                "GET /a (endpoint): 500. It answered 500.",
                "GET /b (endpoint): 500.",
                "ZeroDivisionError: division by zero"
            ]
        );
        let page = "GET /songs.html (page): 404. It is linked from /.\n    <h1>nginx</h1>";
        assert_eq!(key_lines(&error("smoke_failed", page)), ["GET /songs.html (page): 404. It is linked from /."]);
    }

    #[test]
    fn there_are_few_lines_of_any_log() {
        let many: String = (0..99).map(|n| format!("ERROR: number {n}\n")).collect();
        assert_eq!(key_lines(&error("build_failed", &many)).len(), LINES_MAX);
        let plain: String = (0..99).map(|n| format!("line {n}\n")).collect();
        let shown = key_lines(&error("build_failed", &plain));
        assert_eq!((shown.len(), shown.last().map(String::as_str)), (LINES_MAX, Some("line 98")));
        assert_eq!(key_lines(&error("docker_unavailable", "")), [""; 0]);
        assert_eq!(named_files(&error("bad_settings", "")), ["app.toml"]);
        let checked = error("build_failed", "main.py:12: SyntaxError: '(' was never closed");
        assert_eq!(named_files(&checked), ["main.py"]);
    }
}
