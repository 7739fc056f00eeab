//! Finds the lines of a log that show an error. Pure: for the output of pip, Python, uvicorn, nginx and the
//! engine, with any other output around it.

/// Maximum number of lines.
const LINES_MAX: usize = 24;
/// Maximum length of a line, in characters.
const WIDTH: usize = 400;
/// Maximum places of a traceback: the app's own, nearest to the error.
const PLACES_MAX: usize = 4;
/// Number of last lines if no line is a known error.
const LAST: usize = 8;

/// The relevant lines, in their order: the first errors, without the output
/// around them. If no line is a known error, the last ones.
pub fn relevant_lines(lines: &[String]) -> Vec<String> {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    let mut told: Vec<String> = Vec::new();
    let mut at = 0;
    while at < lines.len() && told.len() < LINES_MAX {
        if let Some(next) = traceback(&lines, at, &mut told) {
            at = next;
            continue;
        }
        if is_error(lines[at]) {
            add(&mut told, lines[at]);
        }
        at += 1;
    }
    if told.is_empty() {
        let last: Vec<&&str> = lines.iter().filter(|line| !line.trim().is_empty()).collect();
        last.iter().skip(last.len().saturating_sub(LAST)).for_each(|line| add(&mut told, line));
    }
    told
}

/// Adds a truncated line once.
fn add(told: &mut Vec<String>, line: &str) {
    let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').take(WIDTH).collect();
    if !told.contains(&line) {
        told.push(line);
    }
}

/// A Python traceback that begins at `at`: the app's own places, the error, and the end.
fn traceback(lines: &[&str], at: usize, told: &mut Vec<String>) -> Option<usize> {
    let is_place = |line: &str| line.trim_start().starts_with("File \"") && line.contains("line ");
    let begins = lines[at].trim_start().starts_with("Traceback (most recent call last)");
    if !begins && !is_place(lines[at]) {
        return None;
    }
    let mut places: Vec<[&str; 2]> = Vec::new();
    let mut next = if begins { at + 1 } else { at };
    let end = loop {
        let Some(line) = lines.get(next) else { break next };
        if is_place(line) {
            let source = lines.get(next + 1).filter(|line| line.starts_with("    ")).copied().unwrap_or_default();
            places.push([line, source]);
        } else if !line.starts_with(' ') && !line.is_empty() {
            break next;
        }
        next += 1;
    };
    // If the error is in a library, the app's own line is the caller.
    let own: Vec<[&str; 2]> = places
        .iter()
        .filter(|[place, _]| {
            !["site-packages", "/usr/lib/", "/usr/local/lib/", "<frozen ", "dist-packages", "\"<string>\""]
                .iter()
                .any(|theirs| place.contains(theirs))
        })
        .copied()
        .collect();
    let kept = if own.is_empty() {
        &places[places.len().saturating_sub(1)..]
    } else {
        &own[own.len().saturating_sub(PLACES_MAX)..]
    };
    for line in kept.iter().flatten().filter(|line| !line.is_empty()) {
        add(told, line);
    }
    if let Some(error) = lines.get(end) {
        add(told, error);
    }
    Some((end + 1).max(at + 1))
}

/// Whether a line shows an error on its own.
pub(super) fn is_error(line: &str) -> bool {
    let text = line.trim_start();
    let starts = [
        "ERROR:",
        "error:",
        "Error:",
        "ERROR ",
        "fatal:",
        "COPY failed",
        "ADD failed",
        "failed to ",
        "E: ",
        "CRITICAL",
        "nginx: [emerg]",
        "dockerfile parse error",
        "Dockerfile parse error",
        "unknown instruction",
        "Killed",
        "MemoryError",
    ];
    let holds = [
        "[emerg]",
        "[alert]",
        "[crit]",
        "No matching distribution found",
        "Could not find a version that satisfies",
        "ResolutionImpossible",
        "non-zero code",
        "permission denied",
        "Permission denied",
        "Read-only file system",
        "no such file or directory",
        "No such file or directory",
        "address already in use",
        "out of memory",
    ];
    let is_notice = text.contains("[notice]") || text.starts_with("WARNING");
    !is_notice
        && (starts.iter().any(|start| text.starts_with(start))
            || holds.iter().any(|held| text.contains(held))
            || is_python_error(text))
}

/// `main.py:3: SyntaxError: …`, `ModuleNotFoundError: …`.
fn is_python_error(text: &str) -> bool {
    let before_colon = text.split(": ").take(2);
    before_colon.filter_map(|part| part.rsplit(' ').next()).any(|word| {
        let name = word.rsplit('.').next().unwrap_or(word);
        (name.ends_with("Error") || name.ends_with("Exception"))
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric())
    }) && text.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(log: &str) -> Vec<String> {
        relevant_lines(&log.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn errors_of_pip_are_found() {
        let log = "Step 7/11 : RUN python3 -m pip install --no-cache-dir -r requirements.txt
Collecting fastapi==0.165.0
  Downloading fastapi-0.165.0-py3-none-any.whl.metadata (28 kB)
ERROR: Could not find a version that satisfies the requirement no-such-thing==99 (from versions: none)

[notice] A new release of pip is available: 25.0 -> 25.3
ERROR: No matching distribution found for no-such-thing==99
ERROR: No matching distribution found for no-such-thing==99";
        assert_eq!(
            lines_of(log),
            [
                "ERROR: Could not find a version that satisfies the requirement no-such-thing==99 (from versions: none)",
                "ERROR: No matching distribution found for no-such-thing==99",
            ]
        );
    }

    #[test]
    fn a_traceback_is_reduced_to_the_apps_own_places() {
        let log = r#"INFO:     Started server process [1]
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/usr/local/lib/python3.12/site-packages/uvicorn/main.py", line 412, in main
    run(
  File "/app/main.py", line 7, in <module>
    from shop import basket
  File "/app/shop.py", line 3, in <module>
    import nosuch
ModuleNotFoundError: No module named 'nosuch'
INFO:     Waiting"#;
        assert_eq!(
            lines_of(log),
            [
                "  File \"/app/main.py\", line 7, in <module>",
                "    from shop import basket",
                "  File \"/app/shop.py\", line 3, in <module>",
                "    import nosuch",
                "ModuleNotFoundError: No module named 'nosuch'",
            ]
        );
    }

    #[test]
    fn a_syntax_error_includes_its_place() {
        let log = "  File \"/app/main.py\", line 12
    def handle(event:
              ^
SyntaxError: '(' was never closed
main.py:12: SyntaxError: '(' was never closed";
        assert_eq!(
            lines_of(log),
            [
                "  File \"/app/main.py\", line 12",
                "    def handle(event:",
                "SyntaxError: '(' was never closed",
                "main.py:12: SyntaxError: '(' was never closed",
            ]
        );
    }

    #[test]
    fn an_error_in_a_library_names_its_last_place() {
        let log = "Traceback (most recent call last):
  File \"/usr/lib/python3/a.py\", line 1, in f
    f()
  File \"/usr/lib/python3/b.py\", line 2, in g
    g()
pydantic.errors.PydanticUserError: x";
        assert_eq!(
            lines_of(log),
            ["  File \"/usr/lib/python3/b.py\", line 2, in g", "    g()", "pydantic.errors.PydanticUserError: x"]
        );
    }

    #[test]
    fn errors_of_nginx_and_the_engine_are_found() {
        for (log, expected) in [
            (
                "starting\n2026/11/20 17:00:00 [emerg] 1#1: unknown directive \"serve\" in /etc/nginx/nginx.conf:4",
                "2026/11/20 17:00:00 [emerg] 1#1: unknown directive \"serve\" in /etc/nginx/nginx.conf:4",
            ),
            (
                "Step 8/8 : COPY public /srv/public\nCOPY failed: file not found in build context: stat public: file does not exist",
                "COPY failed: file not found in build context: stat public: file does not exist",
            ),
            (
                "ok\ndockerfile parse error on line 3: unknown instruction: RUNN",
                "dockerfile parse error on line 3: unknown instruction: RUNN",
            ),
            (
                "ERROR:    Error loading ASGI app. Could not import module \"main\".",
                "ERROR:    Error loading ASGI app. Could not import module \"main\".",
            ),
        ] {
            assert_eq!(lines_of(log), [expected]);
        }
    }

    #[test]
    fn without_a_known_error_the_last_lines_are_returned() {
        let log = (0..30).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n\n");
        assert_eq!(lines_of(&log).first().map(String::as_str), Some("line 22"));
        assert_eq!(lines_of(&log).len(), LAST);
        assert_eq!(lines_of(""), [""; 0]);
        let many = (0..100).map(|n| format!("ERROR: number {n}")).collect::<Vec<_>>().join("\n");
        assert_eq!(lines_of(&many).len(), LINES_MAX, "the first ones");
        assert_eq!(
            lines_of("GET /favicon.ico 404 in 0.01 s\nINFO: 3 errors were: none"),
            ["GET /favicon.ico 404 in 0.01 s", "INFO: 3 errors were: none"]
        );
    }

    #[test]
    fn any_text_is_processed() {
        for log in [
            "Traceback (most recent call last):",
            "  File \"x\", line 1",
            "Traceback (most recent call last):\n\n\n",
            "\u{0}\u{7}",
        ] {
            let _ = lines_of(log);
        }
        assert_eq!(lines_of(&"x".repeat(10_000))[0].len(), WIDTH);
    }
}
