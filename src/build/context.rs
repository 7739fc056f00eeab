//! The build context: the commit's files, with Slipway's labels in the Dockerfile.
//!
//! The engine could set labels without a change of the Dockerfile, but it would do so in an additional last step that
//! is never cached, and that takes as long as the rest of a small build. Labels before the last `COPY` are the same for
//! every version of an app, and are therefore cached after the app's first build.

use std::collections::HashMap;
use std::io::Read;

/// The path of the Dockerfile in the context.
pub(super) const DOCKERFILE: &str = "Dockerfile";
/// Block size of a tar in bytes.
const BLOCK: usize = 512;

/// The context with `labels` before the last `COPY` of its Dockerfile, and with `own` after each `FROM`. The label
/// makes the engine's cache of build steps separate for each builder: when another builder on the same engine removes
/// an image with its steps, this builder's steps are not affected. If the labels cannot be inserted (because there is
/// no Dockerfile, or its syntax is not supported here), the context is unchanged, and `labels` are returned.
pub(super) fn labelled(
    mut context: Vec<u8>,
    own: &HashMap<String, String>,
    labels: HashMap<String, String>,
) -> (Vec<u8>, HashMap<String, String>) {
    let Some((dockerfile, end)) = read(&context) else { return (context, labels) };
    let Some(Places { after_from, last_copy }) = places(&dockerfile) else { return (context, labels) };
    let mut text = String::with_capacity(dockerfile.len() + 512);
    let mut written = 0;
    let all = after_from.into_iter().map(|at| (at, own)).chain([(last_copy, &labels)]);
    // The last `COPY` follows the last `FROM`, so the positions are in ascending order.
    for (at, labels) in all {
        text.push_str(&dockerfile[written..at]);
        text.push_str(&label_line(labels));
        text.push('\n');
        written = at;
    }
    text.push_str(&dockerfile[written..]);
    context.truncate(end);
    (append(context, &text), HashMap::new())
}

/// Labels as an instruction, in a fixed order, because the text of a step is its cache key.
pub(super) fn label_line(labels: &HashMap<String, String>) -> String {
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("\"{key}\"=\"{value}\"")).collect();
    format!("LABEL {}", pairs.join(" "))
}

/// The context with another Dockerfile. `None` if it has none.
pub(super) fn with_dockerfile(context: &[u8], text: &str) -> Option<Vec<u8>> {
    let (_, end) = read(context)?;
    Some(append(context[..end].to_vec(), text))
}

/// The text of the context's Dockerfile.
pub(super) fn dockerfile(context: &[u8]) -> Option<String> {
    read(context).map(|(text, _)| text)
}

/// The engine unpacks a tar from front to back, so that a later entry replaces an earlier one.
fn append(entries: Vec<u8>, text: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(text.len() as u64);
    let mut tar = tar::Builder::new(entries);
    let appended = tar.append_data(&mut header, DOCKERFILE, text.as_bytes()).and_then(|()| tar.into_inner());
    appended.expect("a short path and a Vec take any entry")
}

/// The Dockerfile's text, and the end of the tar's last entry.
fn read(context: &[u8]) -> Option<(String, usize)> {
    let mut archive = tar::Archive::new(context);
    let (mut dockerfile, mut end) = (None, 0);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let size = usize::try_from(entry.size()).ok()?;
        end = usize::try_from(entry.raw_file_position()).ok()? + size.div_ceil(BLOCK) * BLOCK;
        if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) == DOCKERFILE.as_bytes() {
            let mut text = String::new();
            entry.read_to_string(&mut text).ok()?;
            dockerfile = Some(text);
        }
    }
    dockerfile.map(|text| (text, end))
}

/// Positions of labels in a Dockerfile, in bytes from its beginning.
struct Places {
    /// After each `FROM` line.
    after_from: Vec<usize>,
    /// Before the last `COPY` or `ADD` of the last stage.
    last_copy: usize,
}

/// `None` if nothing is copied after the last `FROM`, if a `FROM` is continued on another line, or if the file changes
/// its escape character.
fn places(dockerfile: &str) -> Option<Places> {
    let (mut after_from, mut found, mut offset, mut continued) = (Vec::new(), None, 0, false);
    for line in dockerfile.split_inclusive('\n') {
        let text = line.trim();
        if text.starts_with('#') {
            if text.replace(' ', "").to_ascii_lowercase().starts_with("#escape=") {
                return None;
            }
        } else if !text.is_empty() {
            if !continued {
                let word = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                match word.as_str() {
                    "FROM" if text.ends_with('\\') => return None,
                    "FROM" => {
                        found = None;
                        after_from.push(offset + line.len());
                    }
                    "COPY" | "ADD" => found = Some(offset),
                    _ => {}
                }
            }
            continued = text.ends_with('\\');
        }
        offset += line.len();
    }
    found.map(|last_copy| Places { after_from, last_copy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).expect("an entry");
        }
        tar.into_inner().expect("a tar")
    }

    fn labels() -> HashMap<String, String> {
        HashMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())])
    }

    #[test]
    fn labels_precede_the_last_copy_of_the_last_stage() {
        let dockerfile = "FROM x\nCOPY a a\nRUN a \\\n  COPY b\n# COPY c\ncopy . .\nUSER 1\n";
        let own = HashMap::from([("own".to_owned(), "yes".to_owned())]);
        let (context, rest) = labelled(tar_of(&[("Dockerfile", dockerfile), ("a", "1")]), &own, labels());
        assert!(rest.is_empty());
        let mut archive = tar::Archive::new(&context[..]);
        let paths: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|e| e.expect("an entry").path().expect("a path").display().to_string())
            .collect();
        assert_eq!(paths, ["Dockerfile", "a", "Dockerfile"]);
        let (text, _) = read(&context).expect("the later one");
        assert_eq!(
            text,
            "FROM x\nLABEL \"own\"=\"yes\"\nCOPY a a\nRUN a \\\n  COPY b\n# COPY c\nLABEL \"a\"=\"1\" \"b\"=\"2\"\ncopy . .\nUSER 1\n"
        );
    }

    #[test]
    fn unsupported_dockerfiles_stay_unchanged() {
        for files in [
            &[("main.py", "")][..],
            &[("Dockerfile", "FROM a\nCOPY . .\nFROM b\nRUN true\n")],
            &[("Dockerfile", "# escape=`\nFROM a\nCOPY . .\n")],
            &[("Dockerfile", "FROM \\\n  a\nCOPY . .\n")],
        ] {
            let before = tar_of(files);
            let (context, rest) = labelled(before.clone(), &HashMap::new(), labels());
            assert_eq!(context, before);
            assert_eq!(rest, labels());
        }
        assert_eq!(labelled(b"no tar".to_vec(), &HashMap::new(), labels()).1, labels());
    }
}
