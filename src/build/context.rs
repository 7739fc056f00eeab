//! The build context: the commit's files, with our labels written into the Dockerfile.
//!
//! Labels could be handed to the engine beside the context, but it applies them as a last step
//! of their own, which no cache ever answers, and which costs as much as all else in a small
//! build. Written before the last `COPY`, and the same for every version of an app, they are
//! cached after the app's first build.

use std::collections::HashMap;
use std::io::Read;

/// Where the Dockerfile stands in the context.
pub(super) const DOCKERFILE: &str = "Dockerfile";
/// A tar is made of blocks of so many bytes.
const BLOCK: usize = 512;

/// The context with `labels` in its Dockerfile. Where they could not be written (no Dockerfile, or
/// one that we do not follow) the context is as it was, and the labels are handed back.
pub(super) fn labelled(mut context: Vec<u8>, labels: HashMap<String, String>) -> (Vec<u8>, HashMap<String, String>) {
    let Some((dockerfile, end)) = read(&context) else { return (context, labels) };
    let Some(at) = last_copy(&dockerfile) else { return (context, labels) };
    let mut labels: Vec<_> = labels.into_iter().collect();
    // In a fixed order: the text of a step is what its cache is known by.
    labels.sort();
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("\"{key}\"=\"{value}\"")).collect();
    let text = format!("{}LABEL {}\n{}", &dockerfile[..at], pairs.join(" "), &dockerfile[at..]);

    context.truncate(end);
    (append(context, &text), HashMap::new())
}

/// The context with another Dockerfile. `None` where it has none.
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

/// The Dockerfile's text, and where the tar's last entry ends.
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

/// Where the last `COPY` or `ADD` of the last stage begins. `None` where there is none after the
/// last `FROM`, or where the file changes its own escape character.
fn last_copy(dockerfile: &str) -> Option<usize> {
    let (mut found, mut offset, mut continued) = (None, 0, false);
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
                    "FROM" => found = None,
                    "COPY" | "ADD" => found = Some(offset),
                    _ => {}
                }
            }
            continued = text.ends_with('\\');
        }
        offset += line.len();
    }
    found
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
    fn labels_stand_before_the_last_copy_of_the_last_stage() {
        let dockerfile = "FROM x\nCOPY a a\nRUN a \\\n  COPY b\n# COPY c\ncopy . .\nUSER 1\n";
        let (context, rest) = labelled(tar_of(&[("Dockerfile", dockerfile), ("a", "1")]), labels());
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
            "FROM x\nCOPY a a\nRUN a \\\n  COPY b\n# COPY c\nLABEL \"a\"=\"1\" \"b\"=\"2\"\ncopy . .\nUSER 1\n"
        );
    }

    #[test]
    fn what_we_do_not_follow_is_left_alone() {
        for files in [
            &[("main.py", "")][..],
            &[("Dockerfile", "FROM a\nCOPY . .\nFROM b\nRUN true\n")],
            &[("Dockerfile", "# escape=`\nFROM a\nCOPY . .\n")],
        ] {
            let before = tar_of(files);
            let (context, rest) = labelled(before.clone(), labels());
            assert_eq!(context, before);
            assert_eq!(rest, labels());
        }
        assert_eq!(labelled(b"no tar".to_vec(), labels()).1, labels());
    }
}
