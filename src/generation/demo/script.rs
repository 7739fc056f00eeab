//! The next answer of the demo model, depending on the messages and results of this turn.
//!
//! It lists the workspace, reads the main file, writes a new app or changes its own one,
//! and describes the change: one of these in each answer, like a real model.

use serde_json::{Value, json};

use super::apps::{self, Kind, Words};
use super::conversation::Conversation;

/// One block of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Thinking, shown as its summary.
    Thinking(String),
    /// Text for the user.
    Text(String),
    /// A call of a tool.
    Call {
        /// Its name.
        name: &'static str,
        /// Its input as JSON text, the path first.
        input: String,
    },
}

/// The next answer: it calls tools, or ends the turn.
pub fn next_answer(conversation: &Conversation) -> Vec<Part> {
    if conversation.repair {
        let words = "The preview failed. I am the demo model and cannot find the cause, so I changed nothing: \
                     with an API key, Claude reads the error and fixes it.";
        return vec![Part::Text(words.into())];
    }
    let words = Words::of(&conversation.prompt);
    let Some(listing) = conversation.result_of("list_files", None) else {
        return vec![
            Part::Thinking(format!("The message is: “{}”. First I list the files in the workspace.", words.heading)),
            Part::Text("First I look at the existing files.".into()),
            call("list_files", &[]),
        ];
    };
    let paths: Vec<&str> =
        listing.result.lines().map(|line| line.rsplit_once(" (").map_or(line, |(path, _)| path)).collect();
    let kind = Kind::of(&paths);
    if !conversation.may_write {
        return vec![Part::Text(discussion(kind, &paths, &words))];
    }
    if conversation.changes().next().is_some() {
        return vec![Part::Text(summary(kind, conversation, &words))];
    }
    let wanted: Vec<&str> = [kind.main_file(), "app.toml"]
        .into_iter()
        .filter(|path| paths.contains(path) && (*path != "app.toml" || kind == Kind::Job))
        .filter(|path| conversation.result_of("read_file", Some(path)).is_none())
        .collect();
    if !wanted.is_empty() {
        let mut parts = vec![Part::Thinking(format!("This is {}. I read its current content.", kind.described()))];
        parts.extend(wanted.into_iter().map(|path| call("read_file", &[("path", path)])));
        return parts;
    }
    work(kind, conversation, &words)
}

/// The answer that writes.
fn work(kind: Kind, conversation: &Conversation, words: &Words) -> Vec<Part> {
    let read = |path: &str| {
        let done = conversation.result_of("read_file", Some(path)).filter(|done| !done.is_error);
        done.map(|done| done.result.as_str())
    };
    let main = kind.main_file();
    let mut parts = Vec::new();
    if let Some((old, new)) = read(main).and_then(|content| apps::change(kind, content, words)) {
        parts.push(Part::Thinking(format!("I wrote {main} myself, so I add to it and leave the rest unchanged.")));
        parts.push(Part::Text(format!("I add this to the {}.", kind.noun())));
        parts.push(call("edit_file", &[("path", main), ("old_text", &old), ("new_text", &new)]));
    } else {
        parts.push(Part::Thinking(format!("{main} is not mine yet, so I write the {} from scratch.", kind.noun())));
        parts.push(Part::Text(format!("I write a small {} that shows your words.", kind.noun())));
        for (path, content) in apps::new_app(kind, words) {
            parts.push(call("write_file", &[("path", path), ("content", &content)]));
        }
    }
    if let (Kind::Job, Some(cron), Some(line)) =
        (kind, apps::schedule(&words.all), read("app.toml").and_then(apps::schedule_line))
    {
        let new = format!("schedule = \"{cron}\"");
        if new != line {
            parts.push(call("edit_file", &[("path", "app.toml"), ("old_text", line), ("new_text", &new)]));
        }
    }
    parts
}

fn summary(kind: Kind, conversation: &Conversation, words: &Words) -> String {
    let refused: Vec<String> = conversation
        .changes()
        .filter(|done| done.is_error)
        .map(|done| format!("`{}`: {}", done.path.as_deref().unwrap_or("?"), done.result))
        .collect();
    if !refused.is_empty() {
        return format!(
            "Not everything could be done. {}\n\nI am the demo model and cannot try another way; changes so far are saved.",
            refused.join(" ")
        );
    }
    let what = if conversation.result_of("write_file", None).is_some() {
        match kind {
            Kind::Site => "The page carries your words as its heading, follows light and dark, and stores notes in the visitor's browser.",
            Kind::Api => "The API answers at `/` with your words, and keeps items in memory under `/items` until a restart.",
            Kind::Webhook => "`handle(event)` records each signed call, and `/` shows your words and the latest calls, until a restart.",
            Kind::Job => "The job prints a report with your words each time it runs.",
            Kind::Other => "I do not know this template, so I noted your words in `NOTES.md`.",
        }
        .to_owned()
    } else {
        format!(
            "I can't make that change in demo mode, so I added “{}” to the {} as a note. The rest is unchanged.",
            words.heading,
            kind.noun()
        )
    };
    format!("{what}\n\nI am the demo model: with an API key, Claude builds what you describe.")
}

fn discussion(kind: Kind, paths: &[&str], words: &Words) -> String {
    let shown: Vec<String> = paths.iter().take(12).map(|path| format!("`{path}`")).collect();
    let more =
        if paths.len() > shown.len() { format!(" and {} more", paths.len() - shown.len()) } else { String::new() };
    format!(
        "You ask: “{}”. This is {} made of {}{more}. I am the demo model, so that is all I can say about it: \
         with an API key, Claude discusses it with you. Nothing was changed.",
        words.heading,
        kind.described(),
        shown.join(", ")
    )
}

/// A call whose fields have this order, which a JSON map would not keep.
fn call(name: &'static str, fields: &[(&str, &str)]) -> Part {
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("{}: {}", json!(key), Value::from(*value))).collect();
    Part::Call { name, input: format!("{{{}}}", fields.join(", ")) }
}
