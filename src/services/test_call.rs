//! A request that a user sends to an app, and the same request as a command line for curl. Pure.

use std::fmt::Write as _;

use crate::error::{AppError, AppResult};

/// A request to an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestCall {
    /// `GET`, `POST`, …
    pub method: String,
    /// Its path with its query.
    pub path: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// The command for curl, quoted for POSIX shells, that sends this call to an address such as `http://host`.
pub fn curl(origin: &str, call: &TestCall) -> AppResult<String> {
    if !call.path.starts_with('/') || call.path.chars().any(char::is_control) {
        return Err(AppError::invalid("A path must start with “/”."));
    }
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    if !is_token(&call.method) {
        return Err(AppError::invalid("This is not an HTTP method."));
    }
    let method = call.method.to_ascii_uppercase();
    // Brackets and braces of an address are no patterns, and dots no folders.
    let mut command = "curl --include --globoff --path-as-is".to_owned();
    let has_body = !call.body.is_empty();
    match method.as_str() {
        "GET" if !has_body => {}
        "HEAD" => command.push_str(" --head"),
        method => {
            let _ = write!(command, " --request {}", quoted(method)?);
        }
    }
    let _ = write!(command, " {}", quoted(&format!("{}{}", origin.trim_end_matches('/'), call.path))?);
    let mut line = |option: &str, value: &str| -> AppResult<()> {
        let _ = write!(command, " \\\n  {option} {}", quoted(value)?);
        Ok(())
    };
    let mut has_type = false;
    for (name, value) in &call.headers {
        if !is_token(name) || value.contains(['\r', '\n']) {
            return Err(AppError::invalid("One of the headers cannot be sent."));
        }
        has_type |= name.eq_ignore_ascii_case("content-type");
        // curl leaves a header out whose value is empty, unless it ends in a semicolon.
        line("--header", &if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") })?;
    }
    if has_body && !has_type {
        // The default of curl would say that it is a form.
        line("--header", "Content-Type:")?;
    }
    if has_body && method != "HEAD" {
        let body = std::str::from_utf8(&call.body)
            .map_err(|_| AppError::invalid("The body is not text, so it cannot be part of a command."))?;
        // Not `--data`, which reads a file if the text begins with “@”.
        line("--data-raw", body)?;
    }
    Ok(command)
}

/// A word of a POSIX shell in single quotes, in which nothing is special.
fn quoted(text: &str) -> AppResult<String> {
    if text.contains('\0') {
        return Err(AppError::invalid("A command cannot have a zero byte."));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn call(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TestCall {
        TestCall {
            method: method.into(),
            path: path.into(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.into(),
        }
    }

    /// The arguments that curl gets from a shell.
    fn arguments(command: &str) -> Vec<String> {
        let script = format!("curl() {{ for one in \"$@\"; do printf '%s\\0' \"$one\"; done; }}\n{command}\n");
        let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn a_shell_passes_on_exactly_what_was_written() {
        let body = "{\"a\": \"it's $HOME `id` \\\\ \\n !! ; rm -rf /\",\n \"b\": '}";
        let headers = [("X-Odd", "a'b\"c $(id) \\"), ("X-Empty", ""), ("Content-Type", "application/json")];
        let made = curl("http://tide.localhost:80/", &call("put", "/a%20b?q=[1-3]{x}&c='", &headers, body));
        assert_eq!(
            arguments(&made.expect("a command")),
            [
                "--include",
                "--globoff",
                "--path-as-is",
                "--request",
                "PUT",
                "http://tide.localhost:80/a%20b?q=[1-3]{x}&c='",
                "--header",
                "X-Odd: a'b\"c $(id) \\",
                "--header",
                "X-Empty;",
                "--header",
                "Content-Type: application/json",
                "--data-raw",
                body,
            ]
        );
    }

    #[test]
    fn options_follow_from_the_call() {
        let options = |call: &TestCall| arguments(&curl("http://h", call).expect("a command")).split_off(3);
        assert_eq!(options(&call("GET", "/", &[], "")), ["http://h/"]);
        assert_eq!(options(&call("HEAD", "/", &[], "x")), ["--head", "http://h/", "--header", "Content-Type:"]);
        assert_eq!(
            options(&call("GET", "/", &[], "@file")),
            ["--request", "GET", "http://h/", "--header", "Content-Type:", "--data-raw", "@file"]
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for bad in [
            call("GET", "no-slash", &[], ""),
            call("GET", "/a\nb", &[], ""),
            call("GE T", "/", &[], ""),
            call("-o", "/", &[("@file", "x")], ""),
            call("GET", "/", &[("A", "b\r\nC: d")], ""),
            call("POST", "/", &[], "a\0b"),
        ] {
            assert!(curl("http://h", &bad).is_err(), "{bad:?}");
        }
        let binary = TestCall { body: vec![0xff, 0xfe], ..call("POST", "/", &[], "") };
        assert!(curl("http://h", &binary).is_err());
    }
}
