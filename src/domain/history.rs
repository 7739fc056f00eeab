//! Which versions of an app are in use: a user who restores an earlier version undoes those after it. Pure.

/// A restored version: its number, and that of the version whose files it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredVersion {
    /// Its number.
    pub number: u32,
    /// The number of the version whose files it has.
    pub of: u32,
}

/// The versions that were undone, and the one whose files are the current ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionsInUse {
    /// The number of the version whose files are the current ones: the newest one, or the one that it restores.
    pub current: u32,
    /// The numbers of undone versions, as first and last of each range, newest first.
    undone: Vec<(u32, u32)>,
}

impl VersionsInUse {
    /// `head`: the number of the newest version; `restored`: all restored ones.
    pub fn new(head: u32, restored: &[RestoredVersion]) -> Self {
        let restored_of = |number| restored.iter().find(|one| one.number == number && one.of < number);
        let (mut current, mut undone) = (head, Vec::new());
        while let Some(one) = restored_of(current) {
            current = one.of;
        }
        // Backwards from the newest version: each restored version skips those that it has undone.
        let mut at = head;
        let newest_until = |at| {
            restored.iter().filter(move |one| one.number <= at && one.of < one.number).max_by_key(|one| one.number)
        };
        while let Some(one) = newest_until(at) {
            if one.of + 1 < one.number {
                undone.push((one.of + 1, one.number - 1));
            }
            at = one.of;
        }
        Self { current, undone }
    }

    /// Whether a user has undone this version.
    pub fn is_undone(&self, number: u32) -> bool {
        self.undone.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// The undone versions, as `4-6 9-12`.
    pub fn undone_words(&self) -> String {
        let ranges: Vec<String> = self.undone.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        ranges.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use(head: u32, restored: &[(u32, u32)]) -> VersionsInUse {
        let restored: Vec<RestoredVersion> =
            restored.iter().map(|(number, of)| RestoredVersion { number: *number, of: *of }).collect();
        VersionsInUse::new(head, &restored)
    }

    #[test]
    fn a_restored_version_undoes_those_after_the_earlier_one() {
        let used = in_use(6, &[]);
        assert_eq!((used.current, used.undone_words().as_str()), (6, ""));
        // Version 7 has the files of version 3.
        let used = in_use(7, &[(7, 3)]);
        assert_eq!((used.current, used.undone_words().as_str()), (3, "4-6"));
        assert!(used.is_undone(5) && !used.is_undone(3) && !used.is_undone(7));
        // And is built upon.
        let used = in_use(9, &[(7, 3)]);
        assert_eq!((used.current, used.undone_words().as_str()), (9, "4-6"));
    }

    #[test]
    fn an_undone_version_can_be_redone() {
        // 7 restores 3, then 8 restores 6: nothing of 4 to 6 is undone any more.
        let used = in_use(8, &[(7, 3), (8, 6)]);
        assert_eq!((used.current, used.undone_words().as_str()), (6, "7-7"));
        // 8 restores 7, which restores 3.
        let used = in_use(8, &[(7, 3), (8, 7)]);
        assert_eq!((used.current, used.undone_words().as_str()), (3, "4-6"));
        // A restored version that a later one undid counts no more.
        let used = in_use(9, &[(5, 2), (9, 4)]);
        assert_eq!((used.current, used.undone_words().as_str()), (4, "5-8"));
    }
}
