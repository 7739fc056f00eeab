//! Splits a Dockerfile at its `RUN` instructions.
//!
//! The engine would execute a `RUN` as root with many capabilities, without limits on processes or disk, on a
//! shared network. So the engine only gets instructions that run nothing (`FROM`, `COPY`, `ENV`, …), and each `RUN` is a
//! container that Slipway starts. Pure: text in, a plan out.

use std::collections::BTreeMap;

/// The first instruction of a stage.
const FROM: &str = "FROM";

/// The plan for a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// `# escape=…`, if the file has it: it applies to each part.
    pub(super) escape: Option<char>,
    /// `ARG`s before the first `FROM`.
    pub(super) global_args: Vec<String>,
    pub(super) stages: Vec<Stage>,
    /// Total number of instructions.
    pub(super) total: usize,
    /// There is a `RUN`: otherwise the engine builds the whole file.
    pub(super) runs: bool,
}

/// A stage, from one `FROM` to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    /// Its unexpanded base image.
    pub(super) from: String,
    pub(super) name: Option<String>,
    /// The `FROM` instruction and its position.
    pub(super) first: Instruction,
    pub(super) parts: Vec<Part>,
}

/// A part that one request to the engine executes, or one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Instructions that run nothing.
    Engine(Vec<Instruction>),
    /// A `RUN`.
    Run(Instruction, Command),
}

/// An instruction on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Its position, from 1.
    pub(super) number: usize,
    /// Its name in capitals.
    pub(super) word: String,
    pub(super) text: String,
}

/// The command of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Run by the image's shell.
    Shell(String),
    /// Run without a shell.
    Exec(Vec<String>),
}

/// Why a Dockerfile is rejected, in a sentence.
pub(super) type Refused = String;

impl Plan {
    /// Parses a Dockerfile.
    pub(super) fn read(dockerfile: &str) -> Result<Self, Refused> {
        let escape = escape(dockerfile);
        let lines = logical_lines(dockerfile, escape.unwrap_or('\\'));
        let mut plan = Self { escape, global_args: Vec::new(), stages: Vec::new(), total: 0, runs: false };
        for text in lines {
            let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
            let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
            plan.total += 1;
            let instruction = Instruction { number: plan.total, word, text: text.clone() };
            match (instruction.word.as_str(), plan.stages.last_mut()) {
                (FROM, _) => plan.stages.push(Stage::new(instruction, rest)?),
                ("ARG", None) => plan.global_args.push(text),
                (_, None) => return Err("The Dockerfile does not begin with FROM.".to_owned()),
                (_, Some(stage)) => stage.add(instruction, rest)?,
            }
        }
        plan.runs = plan.stages.iter().flat_map(|stage| &stage.parts).any(|part| matches!(part, Part::Run(..)));
        Ok(plan)
    }
}

impl Stage {
    fn new(first: Instruction, rest: &str) -> Result<Self, Refused> {
        let words: Vec<_> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let (from, name) = match words[..] {
            [from] => (from, None),
            [from, word, name] if word.eq_ignore_ascii_case("as") => (from, Some(name.to_ascii_lowercase())),
            _ => return Err(format!("“{}” cannot be read: write FROM image, or FROM image AS name.", first.text)),
        };
        Ok(Self { from: from.to_owned(), name, first, parts: Vec::new() })
    }

    fn add(&mut self, instruction: Instruction, rest: &str) -> Result<(), Refused> {
        match instruction.word.as_str() {
            "RUN" => {
                if rest.starts_with("--") || rest.starts_with("<<") {
                    return Err(format!("“{}” needs BuildKit, which Slipway does not use.", instruction.text));
                }
                let exec = if rest.starts_with('[') { serde_json::from_str::<Vec<String>>(rest).ok() } else { None };
                let command = exec.map_or_else(|| Command::Shell(rest.to_owned()), Command::Exec);
                self.parts.push(Part::Run(instruction, command));
                return Ok(());
            }
            "ONBUILD" => return Err("The Dockerfile uses ONBUILD, which Slipway does not allow.".to_owned()),
            // The engine would fetch it itself, without packet filter rules.
            "ADD" if names_an_address(rest) => {
                return Err(format!("“{}” downloads from a URL: download it in a RUN instead.", instruction.text));
            }
            _ => {}
        }
        match self.parts.last_mut() {
            Some(Part::Engine(instructions)) => instructions.push(instruction),
            _ => self.parts.push(Part::Engine(vec![instruction])),
        }
        Ok(())
    }
}

fn names_an_address(rest: &str) -> bool {
    let words = rest.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | ',' | '"'));
    words.filter(|word| !word.starts_with("--")).any(|word| word.contains("://") || word.starts_with("git@"))
}

/// The character that continues a line, if the file sets one.
fn escape(dockerfile: &str) -> Option<char> {
    // Directives precede everything else, one per line.
    let directives = dockerfile.lines().map_while(|line| line.trim().strip_prefix('#'));
    directives.filter_map(|line| line.split_once('=')).find_map(|(key, value)| {
        key.trim().eq_ignore_ascii_case("escape").then(|| value.trim().chars().next()).flatten()
    })
}

/// The instructions, each on one line, without comments.
fn logical_lines(dockerfile: &str, escape: char) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for text in dockerfile.lines() {
        if text.trim_start().starts_with('#') || (text.trim().is_empty()) {
            continue;
        }
        let text = if line.is_empty() { text.trim_start() } else { text };
        if let Some(begun) = text.trim_end().strip_suffix(escape) {
            line.push_str(begun);
            continue;
        }
        line.push_str(text);
        lines.push(std::mem::take(&mut line).trim().to_owned());
    }
    if !line.trim().is_empty() {
        lines.push(line.trim().to_owned());
    }
    lines
}

/// A text with its `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}` replaced.
pub(super) fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(inside) = rest.strip_prefix('{')
            && let Some((inside, after)) = inside.split_once('}')
        {
            let (name, otherwise) = inside.split_once(':').unwrap_or((inside, ""));
            let value = values.get(name).filter(|value| !value.is_empty());
            match (value, otherwise.strip_prefix('-'), otherwise.strip_prefix('+')) {
                (Some(_), _, Some(other)) => expanded.push_str(other),
                (Some(value), ..) => expanded.push_str(value),
                (None, Some(default), _) => expanded.push_str(default),
                (None, ..) => {}
            }
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if end == 0 {
            expanded.push('$');
        } else if let Some(value) = values.get(&rest[..end]) {
            expanded.push_str(value);
        }
        rest = &rest[end..];
    }
    expanded.push_str(rest);
    expanded
}

/// Names and values of an `ARG`; values are expanded with earlier arguments.
pub(super) fn declare(text: &str, given: &BTreeMap<String, String>, values: &mut BTreeMap<String, String>) {
    for word in text.split_whitespace().skip(1) {
        let (name, default) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let default = default.map(|value| expand(value.trim_matches(['"', '\'']), values));
        if let Some(value) = given.get(name).cloned().or(default) {
            values.insert(name.to_owned(), value);
        }
    }
}

/// An instruction's text with `--from=<stage>` replaced by that stage's image.
pub(super) fn with_stage(text: &str, image_of: impl Fn(&str) -> Option<String>) -> String {
    let words: Vec<String> = text
        .split(' ')
        .map(|word| match word.strip_prefix("--from=").and_then(&image_of) {
            Some(image) => format!("--from={image}"),
            None => word.to_owned(),
        })
        .collect();
    words.join(" ")
}

/// The source of a `COPY --from`: a stage or an image.
pub(super) fn copied_from(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix("--from="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dockerfile: &str) -> Plan {
        Plan::read(dockerfile).expect("it is read")
    }

    #[test]
    fn a_dockerfile_is_split_at_run_instructions() {
        let plan = plan(
            "# a comment\nARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS Build\nENV A=1 \\\n  # inside\n  B=2\nRUN pip install \\\n\n  x\n\
             RUN [\"true\", \"1\"]\nCOPY . .\nfrom scratch\ncopy --from=build /a /b\n",
        );
        assert_eq!((plan.global_args.len(), plan.total, plan.stages.len()), (1, 8, 2));
        let build = &plan.stages[0];
        assert_eq!((build.from.as_str(), build.name.as_deref()), ("${BASE_IMAGE}", Some("build")));
        let shown: Vec<String> = build
            .parts
            .iter()
            .map(|part| match part {
                Part::Engine(all) => all.iter().map(|one| one.text.as_str()).collect::<Vec<_>>().join("|"),
                Part::Run(_, command) => format!("{command:?}"),
            })
            .collect();
        assert_eq!(shown, ["ENV A=1   B=2", "Shell(\"pip install   x\")", "Exec([\"true\", \"1\"])", "COPY . ."]);
        let Part::Engine(last) = &plan.stages[1].parts[0] else { panic!("{plan:?}") };
        assert_eq!((last[0].number, last[0].word.as_str()), (8, "COPY"));
        let replaced = with_stage(&last[0].text, |name| (name == "build").then(|| "sha256:1".to_owned()));
        assert_eq!(replaced, "copy --from=sha256:1 /a /b");
    }

    #[test]
    fn unsupported_instructions_are_rejected() {
        assert!(!plan("FROM a\nCOPY . .\n").runs);
        let windows = plan("# escape=`\nFROM a\nRUN a `\n b\n");
        assert!(matches!(&windows.stages[0].parts[0], Part::Run(_, Command::Shell(text)) if text == "a  b"));
        for refused in [
            "FROM a\nONBUILD RUN x\n",
            "FROM a\nADD http://10.0.0.1/x /x\n",
            "FROM a\nADD --chown=1 [\"git@host:x\", \"/x\"]\n",
            "FROM a\nRUN --mount=type=cache x\n",
            "FROM a b c d\n",
            "RUN x\n",
        ] {
            assert!(Plan::read(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn arguments_are_expanded() {
        let given = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let mut values = BTreeMap::new();
        declare("ARG A=0 B=\"${A}2\" C", &given, &mut values);
        assert_eq!(expand("$A-${B}-${C:-c}-${C}-${A:+x}-$", &values), "1-12-c--x-$");
    }
}
