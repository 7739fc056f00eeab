//! Determines the demo model's next answer from the messages and tool results of this turn.
//!
//! It lists the workspace and reads the app's main file. A new app gets the recording that fits the description, or a
//! layout filled with its words. An existing app gets a recorded follow-up, or a change that is possible on any page.
//! For other requests it explains that it cannot do them, and changes nothing.

use super::acts::{self, Act, Call, Part};
use super::conversation::Conversation;
use super::layouts::{self, Kind, Layout};
use super::parts::{self, Place, Step, Texts};
use super::recordings::{self, FollowUp, Recording};
use super::schedule::{schedule, schedule_line};
use super::wishes::{Change, Wish, changes};

/// Texts that identify the starter files of the embedded templates.
const STARTERS: [&str; 4] = [
    "It works. Now make it yours.",
    "It works. Describe what this API should do",
    "It works. Send signed calls to POST /webhook.",
    "of this day are left.",
];
/// The changes that are possible on any page.
const ABILITIES: &str = "colours by name, light or dark, another title, and adding or removing a table, a contact form, a counter or a list";
/// Maximum number of files that a list names.
const NAMED: usize = 12;

/// The next answer; it calls tools, or ends the turn.
pub fn next_answer(conversation: &Conversation) -> Vec<Part> {
    if conversation.repair {
        return say(
            "Demo mode cannot find the cause of an error: a script is answering, not an AI. Everything stays as it is.",
        );
    }
    let Some(listing) = conversation.result_of("list_files", None) else { return vec![Call::list().into()] };
    let paths: Vec<&str> =
        listing.result.lines().map(|line| line.rsplit_once(" (").map_or(line, |(path, _)| path)).collect();
    let kind = Kind::of(&paths);
    if !conversation.may("write_file") {
        return say(discussion(kind, &paths));
    }
    let turn = Turn { conversation, paths, kind };
    turn.next().unwrap_or_else(|missing| missing)
}

fn say(words: impl Into<String>) -> Vec<Part> {
    vec![Part::Text(words.into())]
}

/// The acts of a turn, and the text at its end.
struct Script {
    acts: Vec<Act>,
    ending: String,
}

/// A running turn. If a function needs a file that was not read yet, its error is the answer that reads it.
struct Turn<'a> {
    conversation: &'a Conversation,
    paths: Vec<&'a str>,
    kind: Kind,
}

impl<'a> Turn<'a> {
    fn has(&self, path: &str) -> bool {
        self.paths.contains(&path)
    }

    /// The files as they were when the turn first read them; empty for missing files.
    fn read<const N: usize>(&self, paths: [&str; N]) -> Result<[&'a str; N], Vec<Part>> {
        let is_unread = |path: &&str| self.has(path) && self.conversation.result_of("read_file", Some(path)).is_none();
        let missing: Vec<Part> = paths.iter().copied().filter(is_unread).map(|path| Call::read(path).into()).collect();
        if missing.is_empty() { Ok(paths.map(|path| self.text(path))) } else { Err(missing) }
    }

    fn text(&self, path: &str) -> &'a str {
        let done = self.conversation.result_of("read_file", Some(path)).filter(|done| !done.is_error);
        done.map_or("", |done| done.result.as_str())
    }

    fn next(&self) -> Result<Vec<Part>, Vec<Part>> {
        let main = self.kind.main_file();
        let [content] = self.read([main])?;
        // A compacted conversation looks like a new one, so the demo model's own apps are recognized by their content.
        let is_ours = content.contains(layouts::MARK) || recordings::writer_of(main, content).is_some();
        let is_new = (self.conversation.is_first && !is_ours)
            || !self.has(main)
            || STARTERS.iter().any(|starter| content.contains(starter));
        let script = if is_new { self.new_app()? } else { self.change(content)? };
        Ok(acts::next(script.acts, self.conversation).unwrap_or_else(|| say(self.ended(&script.ending))))
    }

    /// The text at the end, with the calls that were refused.
    fn ended(&self, ending: &str) -> String {
        let refused: Vec<String> = self
            .conversation
            .changes()
            .filter(|done| done.is_error)
            .map(|done| format!("`{}`: {}", done.path.as_deref().unwrap_or("?"), done.result))
            .collect();
        if !refused.is_empty() {
            return format!(
                "Not everything could be done. {}\n\nDemo mode knows no other way; what was written stays.",
                refused.join(" ")
            );
        }
        let check = self.conversation.result_of("check", None).filter(|done| done.is_error);
        let found = check.and_then(|done| done.result.lines().next());
        found.map_or_else(|| ending.to_owned(), |found| format!("{}\n\n{found}", ending.trim_end()))
    }

    fn new_app(&self) -> Result<Script, Vec<Part>> {
        let prompt = &self.conversation.prompt;
        let fits = |recording: &&Recording| self.kind.template() == Some(recording.template.as_str());
        let mut script = match recordings::close_to(prompt).filter(fits) {
            Some(recording) => self.recorded(recording, prompt),
            None => self.laid_out(prompt),
        };
        if self.kind == Kind::Job {
            let recorded = recordings::close_to(prompt).and_then(|recording| schedule(&recording.description));
            script.acts.extend(self.schedule_act(schedule(prompt).or(recorded))?);
        }
        Ok(script)
    }

    /// The change of a job's schedule, if it is different.
    fn schedule_act(&self, cron: Option<String>) -> Result<Option<Act>, Vec<Part>> {
        let [settings] = self.read(["app.toml"])?;
        let line = schedule_line(settings).zip(cron).filter(|(line, cron)| *line != format!("schedule = \"{cron}\""));
        Ok(line.map(|(line, cron)| Act::of(vec![Call::edit("app.toml", line, &format!("schedule = \"{cron}\""))])))
    }

    fn recorded(&self, recording: &Recording, prompt: &str) -> Script {
        let close = if recording.is_described_by(prompt) {
            String::new()
        } else {
            format!("This is close to a recorded example, so it plays that one: {}.\n\n", recording.title)
        };
        let mut writes =
            recording.files_for(prompt).into_iter().map(|file| Call::write(file.path.as_str(), &file.text));
        let mut acts =
            vec![Act { says: Some(format!("{close}{}", recording.before)), calls: writes.by_ref().take(1).collect() }];
        acts.extend(writes.map(|write| Act::of(vec![write])));
        acts.extend(self.check());
        let ending = format!("{}\n\n{}", recording.after.trim_end(), offered(recording, None));
        Script { acts, ending }
    }

    fn check(&self) -> Option<Act> {
        self.conversation.may("check").then(|| Act::of(vec![Call::check()]))
    }

    fn laid_out(&self, prompt: &str) -> Script {
        let wish = Wish::of(prompt);
        let layout = Layout::of(self.kind, prompt);
        let what = match self.kind {
            Kind::Site | Kind::Api => layout.described(),
            Kind::Webhook => "a webhook that counts signed calls and shows the latest at `/`",
            Kind::Job => "a job that prints a report",
            Kind::Other => "a note of what you asked for, since it does not know this template",
        };
        let mut writes =
            layouts::new_app(self.kind, layout, &wish).into_iter().map(|(path, text)| Call::write(path, &text));
        let says = format!("No recorded example is close to this, so demo mode lays out {what}.");
        let mut acts = vec![Act { says: Some(says), calls: writes.by_ref().take(1).collect() }];
        acts.extend(writes.map(|write| Act::of(vec![write])));
        let can = match self.kind {
            Kind::Site => format!("Next it can do this: {ABILITIES}. "),
            Kind::Api => "Next it can change colours by name, light or dark, and the title. ".to_owned(),
            Kind::Job => "Next it can change the title and the schedule, as in “every weekday at 9”. ".to_owned(),
            Kind::Webhook => "Next it can change the title. ".to_owned(),
            Kind::Other => String::new(),
        };
        let ending = format!(
            "It is filled with your words, with “{}” as its title.\n\n{can}A script made it, not an AI: add a key to build \
             what you describe.",
            wish.title
        );
        Script { acts, ending }
    }

    fn change(&self, content: &str) -> Result<Script, Vec<Part>> {
        let prompt = &self.conversation.prompt;
        let recording = recordings::writer_of(self.kind.main_file(), content);
        if let Some((recording, follow_up)) =
            recording.and_then(|recording| Some((recording, recording.follow_up(prompt)?)))
        {
            return self.follow_up(recording, follow_up);
        }
        if self.kind == Kind::Job
            && let Some(cron) = schedule(prompt)
        {
            let act = self.schedule_act(Some(cron.clone()))?;
            let ending = match act {
                Some(_) => format!("The job runs at `{cron}` (UTC) now, once it is published."),
                None => format!("The job runs at `{cron}` (UTC) already, so nothing was changed."),
            };
            return Ok(Script { acts: act.into_iter().collect(), ending });
        }
        self.page_change(recording, content)
    }

    /// A recorded change, if its files still have the expected content.
    fn follow_up(&self, recording: &Recording, follow_up: &FollowUp) -> Result<Script, Vec<Part>> {
        let mut unread: Vec<&str> = follow_up.edits.iter().map(|edit| edit.path.as_str()).collect();
        unread.dedup();
        let reads: Vec<Part> = unread
            .into_iter()
            .filter(|path| self.has(path) && self.conversation.result_of("read_file", Some(path)).is_none())
            .map(|path| Call::read(path).into())
            .collect();
        if !reads.is_empty() {
            return Err(reads);
        }
        let mut calls: Vec<Call> = Vec::new();
        for file in follow_up.files.iter().filter(|file| !self.has(file.path.as_str())) {
            calls.push(Call::write(file.path.as_str(), &file.text));
        }
        let mut texts: std::collections::BTreeMap<&str, String> = std::collections::BTreeMap::new();
        for edit in &follow_up.edits {
            let path = edit.path.as_str();
            let text = texts.entry(path).or_insert_with(|| self.text(path).to_owned());
            if text.contains(&edit.new) {
                continue;
            }
            if text.matches(&edit.old).count() != 1 {
                let ending = format!(
                    "`{path}` was changed by hand where this belongs, so demo mode changes nothing. {}",
                    offered(recording, Some(follow_up))
                );
                return Ok(Script { acts: Vec::new(), ending });
            }
            *text = text.replacen(&edit.old, &edit.new, 1);
            calls.push(Call::edit(path, &edit.old, &edit.new));
        }
        if calls.is_empty() {
            let ending =
                format!("That is there already, so nothing was changed. {}", offered(recording, Some(follow_up)));
            return Ok(Script { acts: Vec::new(), ending });
        }
        let mut acts = vec![Act { says: Some(follow_up.before.clone()), calls }];
        acts.extend(self.check());
        let ending = format!("{}\n\n{}", follow_up.after.trim_end(), offered(recording, Some(follow_up)));
        Ok(Script { acts, ending })
    }

    /// A change that is possible on any page, or a sentence that explains why it is not.
    fn page_change(&self, recording: Option<&Recording>, content: &str) -> Result<Script, Vec<Part>> {
        let nothing = |why: String| Script { acts: Vec::new(), ending: why };
        let cannot = || {
            let can = if matches!(self.kind, Kind::Site | Kind::Api) {
                format!(" It can do this: {ABILITIES}.")
            } else {
                String::new()
            };
            let offers = recording.map(|recording| format!(" {}", offered(recording, None))).unwrap_or_default();
            nothing(format!(
                "Demo mode cannot do that, so nothing was changed: a script is answering, not an AI.{can}{offers}"
            ))
        };
        let asked = changes(&self.conversation.prompt);
        let (page, style) = match self.kind {
            Kind::Site => ("public/index.html", "public/style.css"),
            _ => ("page.html", "page.css"),
        };
        let title = asked.iter().find_map(|change| match change {
            Change::Title(title) => Some(title.as_str()),
            _ => None,
        });
        let named = title.and_then(|title| self.program_title(content, title));
        if !self.has(page)
            && let Some((title, call)) = title.zip(named.clone())
        {
            let ending = format!("The title is “{title}” now.");
            return Ok(Script { acts: vec![Act::of(vec![call])], ending });
        }
        if asked.is_empty() || !self.has(page) {
            return Ok(cannot());
        }
        let [page_text, style_text] = self.read([page, style])?;
        let place = Place { page: page.to_owned(), style: style.to_owned(), serves_files: self.kind == Kind::Site };
        let plan = match parts::plan(&asked, &place, Texts { page: page_text, style: style_text }) {
            Ok(plan) => plan,
            Err(why) => return Ok(nothing(format!("{why} Nothing was changed."))),
        };
        let mut calls: Vec<Call> = named.into_iter().collect();
        for step in &plan.steps {
            match step {
                Step::Page(old, new) => calls.push(Call::edit(&place.page, old, new)),
                Step::Style(old, new) => calls.push(Call::edit(&place.style, old, new)),
                Step::PartFiles => {
                    for (path, text) in [("public/parts.css", parts::STYLE), ("public/parts.js", parts::SCRIPT)] {
                        if !self.has(path) {
                            calls.push(Call::write(path, text));
                        }
                    }
                }
            }
        }
        if calls.is_empty() {
            return Ok(nothing("It is so already, so nothing was changed.".to_owned()));
        }
        Ok(Script { acts: vec![Act::of(calls)], ending: plan.said.join(" ") })
    }
}

impl Turn<'_> {
    /// Changes the title that the demo model's own programs have as a constant.
    fn program_title(&self, content: &str, title: &str) -> Option<Call> {
        let line = content.lines().find(|line| line.starts_with("TITLE = "))?;
        let new = format!("TITLE = {}", serde_json::Value::from(title));
        (content.matches(line).count() == 1 && new != line).then(|| Call::edit(self.kind.main_file(), line, &new))
    }
}

/// The follow-ups that can be requested next.
fn offered(recording: &Recording, done: Option<&FollowUp>) -> String {
    let left = recording.follow_ups.iter().filter(|follow_up| done.is_none_or(|done| done.prompt != follow_up.prompt));
    let left: Vec<String> = left.map(|follow_up| format!("“{}”", follow_up.prompt)).collect();
    if left.is_empty() { String::new() } else { format!("Recorded for this app: {}.", left.join(", ")) }
}

fn discussion(kind: Kind, paths: &[&str]) -> String {
    let shown: Vec<String> = paths.iter().take(NAMED).map(|path| format!("`{path}`")).collect();
    let more =
        if paths.len() > shown.len() { format!(" and {} more", paths.len() - shown.len()) } else { String::new() };
    format!(
        "Demo mode cannot discuss: a script is answering, not an AI. This is {} made of {}{more}. Nothing was changed.",
        kind.described(),
        shown.join(", ")
    )
}
