//! Detects repeated failures of tools in a turn.
//!
//! A failed call costs little, so the model first gets a warning that it repeats itself; failures of read-only tools
//! never end the turn. A check that finds an error needs a repair: a user's turn and its repairs may make
//! only a few, and none for an error that came back.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Fingerprint, RepairBudget, RepairEnd, RepairFailure, RepairVerdict, WorkspacePath};

/// Number of identical failures that end the turn.
const TIMES: u32 = 3;
/// The read-only tools. Their failures never end the turn.
const READ_ONLY_TOOLS: &[&str] = &["list_files", "read_file", "search", "check", "preview_logs", "request"];
/// Added to the result of the last failure that does not end the turn.
const WARNING: &str = "\nThis is the same error as before. Do it in another way: the next time it ends the turn.";
/// Added to a repeated failure of a read-only tool.
const ADVICE: &str = "\nThis is the same answer as before. Go on without it.";

/// The consequence of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepeatVerdict {
    /// It is new: the turn continues.
    Continue,
    /// It is a repetition, and the model gets this text with the tool's result.
    Warn(&'static str),
    /// It was repeated too often: the turn ends.
    Abort {
        /// The reason as a code.
        end: RepairEnd,
        /// The reason in a sentence for the user.
        sentence: String,
    },
}

/// The failures of a turn so far.
#[derive(Debug, Default)]
pub struct RepeatGuard {
    /// How often each failure occurred, and in which answer last.
    refusals: HashMap<Fingerprint, (u32, u32)>,
    repairs: RepairBudget,
    /// The files that were changed since a failure; `None` before the first.
    changed: Option<BTreeSet<WorkspacePath>>,
}

impl RepeatGuard {
    /// With the repairs of earlier turns.
    pub fn new(repairs: RepairBudget) -> Self {
        // In a repair, its changes are the attempted fix.
        let changed = repairs.is_under_way().then(BTreeSet::new);
        Self { refusals: HashMap::new(), repairs, changed }
    }

    /// The repairs so far, with the changes since the last failure.
    pub fn into_repairs(mut self) -> RepairBudget {
        self.note_tried();
        self.repairs
    }

    /// Records that a file was changed.
    pub fn changed(&mut self, path: &WorkspacePath) {
        if let Some(changed) = &mut self.changed {
            changed.insert(path.clone());
        }
    }

    fn note_tried(&mut self) {
        if let Some(changed) = self.changed.take() {
            self.repairs.tried(changed.iter().map(WorkspacePath::as_str));
        }
    }

    /// Counts the error that a check found.
    pub fn check_failed(&mut self, failure: RepairFailure) -> RepeatVerdict {
        self.note_tried();
        self.changed = Some(BTreeSet::new());
        match self.repairs.failed(failure) {
            RepairVerdict::Repair(_) => RepeatVerdict::Continue,
            RepairVerdict::Stop(stop) => RepeatVerdict::Abort { end: stop.end, sentence: stop.sentence },
        }
    }

    /// Counts a failure of a tool in the answer number `step`. Calls of one answer do not know each other's results, so
    /// they count once. A check that could not run does not count.
    pub fn refused(&mut self, step: u32, tool: &str, answer: &str) -> RepeatVerdict {
        let (times, last) = self.refusals.entry(Fingerprint::new(tool, answer)).or_insert((0, u32::MAX));
        if *last != step {
            *times += 1;
            *last = step;
        }
        if READ_ONLY_TOOLS.contains(&tool) {
            return if *times > 1 { RepeatVerdict::Warn(ADVICE) } else { RepeatVerdict::Continue };
        }
        if *times >= TIMES {
            let error = first_line(answer);
            let error = error[..error.floor_char_boundary(200)].trim_end_matches('.');
            let sentence = format!(
                "The same error occurred {times} times, so the turn was ended: {tool} answered “{error}”. Changes so far \
                 are saved."
            );
            return RepeatVerdict::Abort { end: RepairEnd::SameError, sentence };
        }
        if *times > 1 { RepeatVerdict::Warn(WARNING) } else { RepeatVerdict::Continue }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sentence: &str, lines: &[&str]) -> RepairFailure {
        RepairFailure::new(sentence, &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn repeated_identical_failures_end_the_turn() {
        let mut guard = RepeatGuard::default();
        assert_eq!(guard.refused(1, "edit_file", "old_text occurs 0 times in a.txt."), RepeatVerdict::Continue);
        // Two failures in one answer count once, and another error is counted separately.
        assert_eq!(guard.refused(1, "edit_file", "old_text occurs 0 times in a.txt."), RepeatVerdict::Continue);
        assert_eq!(guard.refused(2, "edit_file", "There is no file b.txt."), RepeatVerdict::Continue);
        assert_eq!(guard.refused(2, "edit_file", "old_text occurs 0 times in a.txt."), RepeatVerdict::Warn(WARNING));
        let RepeatVerdict::Abort { end, sentence } = guard.refused(5, "edit_file", "old_text occurs 0 times in a.txt.")
        else {
            panic!("three times")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("3 times") && sentence.contains("a.txt"), "{sentence}");
    }

    #[test]
    fn a_check_that_fails_with_the_same_error_ends_the_turn() {
        let mut guard = RepeatGuard::default();
        guard.changed(&"before.txt".parse().unwrap());
        assert_eq!(
            guard.check_failed(found("It does not build.", &["main.py:3: SyntaxError"])),
            RepeatVerdict::Continue
        );
        guard.changed(&"main.py".parse().unwrap());
        let RepeatVerdict::Abort { end, sentence } =
            guard.check_failed(found("It does not build.", &["main.py:9: SyntaxError"]))
        else {
            panic!("the same")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("after “It does not build.” it changed main.py"), "{sentence}");
    }

    #[test]
    fn at_most_three_repairs_are_allowed() {
        let mut guard = RepeatGuard::default();
        for error in ["A is missing", "B is missing", "C is missing"] {
            assert_eq!(guard.check_failed(found(error, &[])), RepeatVerdict::Continue);
        }
        assert!(matches!(
            guard.check_failed(found("D is missing", &[])),
            RepeatVerdict::Abort { end: RepairEnd::Spent, .. }
        ));
    }

    #[test]
    fn failures_of_read_only_tools_do_not_end_the_turn() {
        let mut guard = RepeatGuard::default();
        for (tool, answer) in [
            ("check", "It could not be checked now. Docker does not answer."),
            ("preview_logs", "Nothing runs in preview yet, so there is no log."),
            ("request", "Nothing runs in preview, so nothing can be asked."),
        ] {
            assert_eq!(guard.refused(1, tool, answer), RepeatVerdict::Continue);
            for step in 2..9 {
                assert_eq!(guard.refused(step, tool, answer), RepeatVerdict::Warn(ADVICE), "{tool}");
            }
        }
        assert_eq!(guard.into_repairs(), RepairBudget::default(), "none of it was a repair");
    }

    #[test]
    fn the_budget_continues_in_the_repair_of_a_turn() {
        let check = |error: &str| found("It does not build.", &[error]);
        let mut first = RepeatGuard::default();
        assert_eq!(first.check_failed(check("main.py:3: SyntaxError")), RepeatVerdict::Continue);
        first.changed(&"main.py".parse().unwrap());
        let mut repairs = first.into_repairs();
        assert!(!repairs.is_under_way());
        // The preview fails, and a turn repairs it: an error from before is recognised.
        let lines = ["ModuleNotFoundError: nosuch".to_owned()];
        assert_eq!(repairs.failed(RepairFailure::new("It ended at once.", &lines)), RepairVerdict::Repair(2));
        let mut second = RepeatGuard::new(repairs);
        second.changed(&"requirements.txt".parse().unwrap());
        let RepeatVerdict::Abort { end, sentence } = second.check_failed(check("main.py:9: SyntaxError")) else {
            panic!("it came back")
        };
        assert_eq!(end, RepairEnd::SameError);
        assert!(sentence.contains("after “It ended at once.” it changed requirements.txt"), "{sentence}");
    }
}
