//! How often a turn's tools may fail in the same way.
//!
//! A refusal costs little, so the model is told once that it repeats itself. A check that fails asks
//! for a repair: there are few of these, and none for an error that came back.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Fingerprint, RepairBudget, RepairEnd, RepairFailure, RepairVerdict, WorkspacePath};

/// Refusals that are the same and end the turn.
const TIMES: u32 = 3;
/// The tools that try what was written.
const CHECKS: &[&str] = &["check"];
/// Added to the answer before the last.
const WARNING: &str = "\nThis is the same error as before. Do it in another way: the next time it ends the turn.";

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
    /// What was changed since a check failed; none before the first.
    changed: Option<BTreeSet<WorkspacePath>>,
}

impl Patience {
    /// Notes that a file was changed.
    pub fn changed(&mut self, path: &WorkspacePath) {
        if let Some(changed) = &mut self.changed {
            changed.insert(path.clone());
        }
    }

    /// Counts a failure of a tool in the nth answer.
    pub fn failed(&mut self, step: u32, tool: &str, answer: &str) -> Patient {
        if CHECKS.contains(&tool) { self.check_failed(tool, answer) } else { self.refused(step, tool, answer) }
    }

    fn check_failed(&mut self, tool: &str, answer: &str) -> Patient {
        if let Some(changed) = self.changed.replace(BTreeSet::new()) {
            self.repairs.tried(changed.iter().map(WorkspacePath::as_str));
        }
        let lines: Vec<String> = answer.lines().skip(1).map(str::to_owned).collect();
        match self.repairs.failed(RepairFailure::new(tool, first_line(answer), &lines)) {
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
        assert_eq!(patience.failed(1, "edit_file", "old_text occurs 0 times in a.txt."), Patient::Yes);
        // Twice in one answer is once, and another error is another.
        assert_eq!(patience.failed(1, "edit_file", "old_text occurs 0 times in a.txt."), Patient::Yes);
        assert_eq!(patience.failed(2, "edit_file", "There is no file b.txt."), Patient::Yes);
        assert_eq!(patience.failed(2, "edit_file", "old_text occurs 0 times in a.txt."), Patient::Warning(WARNING));
        let Patient::No { end, sentence } = patience.failed(5, "edit_file", "old_text occurs 0 times in a.txt.") else {
            panic!("three times")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("3 times") && sentence.contains("a.txt"), "{sentence}");
    }

    #[test]
    fn a_check_that_fails_as_before_is_the_last() {
        let mut patience = Patience::default();
        patience.changed(&"before.txt".parse().unwrap());
        assert_eq!(patience.failed(1, "check", "It does not build.\nmain.py:3: SyntaxError"), Patient::Yes);
        patience.changed(&"main.py".parse().unwrap());
        let Patient::No { end, sentence } = patience.failed(2, "check", "It does not build.\nmain.py:9: SyntaxError")
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
            assert_eq!(patience.failed(1, "check", error), Patient::Yes);
        }
        assert!(matches!(patience.failed(1, "check", "D is missing"), Patient::No { end: RepairEnd::Spent, .. }));
    }
}
