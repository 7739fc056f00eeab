//! How often a turn's tools may fail in the same way.
//!
//! A refusal costs little, so the model is told once that it repeats itself; one of a tool that only
//! looks does no harm at all. A check that finds something wrong asks for a repair: there are few of
//! these in a turn of a person and all that repairs it, and none for an error that came back.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Fingerprint, RepairBudget, RepairEnd, RepairFailure, RepairVerdict, WorkspacePath};

/// Refusals that are the same and end the turn.
const TIMES: u32 = 3;
/// The tools that change nothing. However often they are refused, the turn goes on.
const LOOKS: &[&str] = &["list_files", "read_file", "search", "check", "preview_logs", "request"];
/// Added to the answer before the last.
const WARNING: &str = "\nThis is the same error as before. Do it in another way: the next time it ends the turn.";
/// Added to a refusal that came before and does no harm.
const ADVICE: &str = "\nThis is the same answer as before. Go on without it.";

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepeatVerdict {
    /// It is new: the turn continues.
    Continue,
    /// It is not, and the model should know: to be added to the tool's answer.
    Warn(&'static str),
    /// It came too often: the turn ends.
    Abort {
        /// Why, in a word.
        end: RepairEnd,
        /// Why, in a sentence for the user.
        sentence: String,
    },
}

/// The failures of a turn so far.
#[derive(Debug, Default)]
pub struct RepeatGuard {
    /// How often each refusal came, and in which answer last.
    refusals: HashMap<Fingerprint, (u32, u32)>,
    repairs: RepairBudget,
    /// What was changed since a failure; none before the first.
    changed: Option<BTreeSet<WorkspacePath>>,
}

impl RepeatGuard {
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

    fn note_tried(&mut self) {
        if let Some(changed) = self.changed.take() {
            self.repairs.tried(changed.iter().map(WorkspacePath::as_str));
        }
    }

    /// Counts what a check found wrong.
    pub fn check_failed(&mut self, failure: RepairFailure) -> RepeatVerdict {
        self.note_tried();
        self.changed = Some(BTreeSet::new());
        match self.repairs.failed(failure) {
            RepairVerdict::Repair(_) => RepeatVerdict::Continue,
            RepairVerdict::Stop(stop) => RepeatVerdict::Abort { end: stop.end, sentence: stop.sentence },
        }
    }

    /// Counts a refusal of a tool in the answer number `step`. Calls of one answer cannot have learnt from each other, so that
    /// they count once. A check that is refused has checked nothing.
    pub fn refused(&mut self, step: u32, tool: &str, answer: &str) -> RepeatVerdict {
        let (times, last) = self.refusals.entry(Fingerprint::new(tool, answer)).or_insert((0, u32::MAX));
        if *last != step {
            *times += 1;
            *last = step;
        }
        if LOOKS.contains(&tool) {
            return if *times > 1 { RepeatVerdict::Warn(ADVICE) } else { RepeatVerdict::Continue };
        }
        if *times >= TIMES {
            let error = first_line(answer);
            let error = error[..error.floor_char_boundary(200)].trim_end_matches('.');
            let sentence = format!(
                "The same error came {times} times, so the turn was ended: {tool} answered “{error}”. What was written \
                 is kept."
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
    fn the_same_refusal_ends_the_turn_in_time() {
        let mut guard = RepeatGuard::default();
        assert_eq!(guard.refused(1, "edit_file", "old_text occurs 0 times in a.txt."), RepeatVerdict::Continue);
        // Twice in one answer is once, and another error is another.
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
    fn a_check_that_fails_as_before_is_the_last() {
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
    fn there_are_three_repairs() {
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
    fn looking_in_vain_does_no_harm() {
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
    fn the_budget_goes_on_from_turn_to_turn() {
        let check = |error: &str| found("It does not build.", &[error]);
        let mut first = RepeatGuard::default();
        assert_eq!(first.check_failed(check("main.py:3: SyntaxError")), RepeatVerdict::Continue);
        first.changed(&"main.py".parse().unwrap());
        let mut repairs = first.into_repairs();
        assert!(!repairs.is_under_way());
        // The preview fails, and a turn repairs it: the error that was there before is the same.
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
