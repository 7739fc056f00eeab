//! How often a turn's tools may fail in the same way.
//!
//! A refusal costs little, so the model is told once that it repeats itself; one of a tool that only
//! looks does no harm at all. A check that finds something wrong asks for a repair: there are few of
//! these in a turn of a person and all that repairs it, and none for an error that came back.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Fingerprint, RepairBudget, RepairEnd, RepairFailure, RepairVerdict, WorkspacePath};
use crate::generation::material;

/// Refusals that are the same and end the turn.
const TIMES: u32 = 3;
/// The tools that try what was written.
const CHECKS: &[&str] = &["check"];
/// The tools that change nothing. However often they are refused, the turn goes on.
const LOOKS: &[&str] = &["list_files", "read_file", "search", "check", "preview_logs", "request"];
/// Added to the answer before the last.
const WARNING: &str = "\nThis is the same error as before. Do it in another way: the next time it ends the turn.";
/// Added to a refusal that came before and does no harm.
const ADVICE: &str = "\nThis is the same answer as before. Go on without it.";

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patient {
    /// It is new.
    Yes,
    /// It is not, and the model should know: to be added to the tool's answer.
    Warning(&'static str),
    /// That is enough.
    No {
        /// Why, in a word.
        end: RepairEnd,
        /// Why, in a sentence for the user.
        sentence: String,
    },
}

/// The failures of a turn so far.
#[derive(Debug, Default)]
pub struct Patience {
    /// How often each refusal came, and in which answer last.
    refusals: HashMap<Fingerprint, (u32, u32)>,
    repairs: RepairBudget,
    /// What was changed since a failure; none before the first.
    changed: Option<BTreeSet<WorkspacePath>>,
}

impl Patience {
    /// With the repairs that were made before.
    pub fn new(repairs: RepairBudget) -> Self {
        // In a turn that repairs, what it changes is what is tried.
        let changed = repairs.is_under_way().then(BTreeSet::new);
        Self { refusals: HashMap::new(), repairs, changed }
    }

    /// The repairs by now, with what was tried since the last failure.
    pub fn into_repairs(mut self) -> RepairBudget {
        self.note_tried();
        self.repairs
    }

    /// Notes that a file was changed.
    pub fn changed(&mut self, path: &WorkspacePath) {
        if let Some(changed) = &mut self.changed {
            changed.insert(path.clone());
        }
    }

    /// Counts a failure of a tool in the nth answer. A refused check has checked nothing.
    pub fn failed(&mut self, step: u32, tool: &str, refused: bool, answer: &str) -> Patient {
        if CHECKS.contains(&tool) && !refused { self.check_failed(answer) } else { self.refused(step, tool, answer) }
    }

    fn note_tried(&mut self) {
        if let Some(changed) = self.changed.take() {
            self.repairs.tried(changed.iter().map(WorkspacePath::as_str));
        }
    }

    fn check_failed(&mut self, answer: &str) -> Patient {
        self.note_tried();
        self.changed = Some(BTreeSet::new());
        // The lines that show it, without the mark around them.
        let (sentence, rest) = answer.split_once('\n').unwrap_or((answer, ""));
        let lines: Vec<String> = material::unwrap(rest).unwrap_or(rest).lines().map(str::to_owned).collect();
        match self.repairs.failed(RepairFailure::new(sentence, &lines)) {
            RepairVerdict::Repair(_) => Patient::Yes,
            RepairVerdict::Stop(stop) => Patient::No { end: stop.end, sentence: stop.sentence },
        }
    }

    /// Calls of one answer cannot have learnt from each other, so that they count once.
    fn refused(&mut self, step: u32, tool: &str, answer: &str) -> Patient {
        let (times, last) = self.refusals.entry(Fingerprint::new(tool, answer)).or_insert((0, u32::MAX));
        if *last != step {
            *times += 1;
            *last = step;
        }
        if LOOKS.contains(&tool) {
            return if *times > 1 { Patient::Warning(ADVICE) } else { Patient::Yes };
        }
        if *times >= TIMES {
            let error = first_line(answer);
            let error = error[..error.floor_char_boundary(200)].trim_end_matches('.');
            let sentence = format!(
                "The same error came {times} times, so the turn was ended: {tool} answered “{error}”. What was written \
                 is kept."
            );
            return Patient::No { end: RepairEnd::SameError, sentence };
        }
        if *times > 1 { Patient::Warning(WARNING) } else { Patient::Yes }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_ends_the_turn_in_time() {
        let mut patience = Patience::default();
        assert_eq!(patience.failed(1, "edit_file", true, "old_text occurs 0 times in a.txt."), Patient::Yes);
        // Twice in one answer is once, and another error is another.
        assert_eq!(patience.failed(1, "edit_file", true, "old_text occurs 0 times in a.txt."), Patient::Yes);
        assert_eq!(patience.failed(2, "edit_file", true, "There is no file b.txt."), Patient::Yes);
        assert_eq!(
            patience.failed(2, "edit_file", true, "old_text occurs 0 times in a.txt."),
            Patient::Warning(WARNING)
        );
        let Patient::No { end, sentence } = patience.failed(5, "edit_file", true, "old_text occurs 0 times in a.txt.")
        else {
            panic!("three times")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("3 times") && sentence.contains("a.txt"), "{sentence}");
    }

    #[test]
    fn a_check_that_fails_as_before_is_the_last() {
        let mut patience = Patience::default();
        patience.changed(&"before.txt".parse().unwrap());
        assert_eq!(patience.failed(1, "check", false, "It does not build.\nmain.py:3: SyntaxError"), Patient::Yes);
        patience.changed(&"main.py".parse().unwrap());
        let Patient::No { end, sentence } =
            patience.failed(2, "check", false, "It does not build.\nmain.py:9: SyntaxError")
        else {
            panic!("the same")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("after “It does not build.” it changed main.py"), "{sentence}");
    }

    #[test]
    fn there_are_three_repairs() {
        let mut patience = Patience::default();
        for error in ["A is missing", "B is missing", "C is missing"] {
            assert_eq!(patience.failed(1, "check", false, error), Patient::Yes);
        }
        assert!(matches!(
            patience.failed(1, "check", false, "D is missing"),
            Patient::No { end: RepairEnd::Spent, .. }
        ));
    }

    #[test]
    fn looking_in_vain_does_no_harm() {
        let mut patience = Patience::default();
        for (tool, answer) in [
            ("check", "It could not be checked now. Docker does not answer."),
            ("preview_logs", "Nothing runs in preview yet, so there is no log."),
            ("request", "Nothing runs in preview, so nothing can be asked."),
        ] {
            assert_eq!(patience.failed(1, tool, true, answer), Patient::Yes);
            for step in 2..9 {
                assert_eq!(patience.failed(step, tool, true, answer), Patient::Warning(ADVICE), "{tool}");
            }
        }
        assert_eq!(patience.into_repairs(), RepairBudget::default(), "none of it was a repair");
    }

    #[test]
    fn the_budget_goes_on_from_turn_to_turn() {
        let check = |error: &str| format!("It does not build.\n{}", material::wrap("check of the workspace", error));
        let mut first = Patience::default();
        assert_eq!(first.failed(1, "check", false, &check("main.py:3: SyntaxError")), Patient::Yes);
        first.changed(&"main.py".parse().unwrap());
        let mut repairs = first.into_repairs();
        assert!(!repairs.is_under_way());
        // The preview fails, and a turn repairs it: the error that was there before is the same.
        let lines = ["ModuleNotFoundError: nosuch".to_owned()];
        assert_eq!(repairs.failed(RepairFailure::new("It ended at once.", &lines)), RepairVerdict::Repair(2));
        let mut second = Patience::new(repairs);
        second.changed(&"requirements.txt".parse().unwrap());
        let Patient::No { end, sentence } = second.failed(1, "check", false, &check("main.py:9: SyntaxError")) else {
            panic!("it came back")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("after “It ended at once.” it changed requirements.txt"), "{sentence}");
    }
}
