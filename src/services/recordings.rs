//! The recorded apps, which the first page shows and the demo model plays.

use super::Services;
use crate::catalog::Template;
use crate::error::{AppError, AppResult};
use crate::generation::demo::recordings;

pub use crate::generation::demo::recordings::{FollowUp, RecordedFile, Recording};

impl Services {
    /// All of them, by name.
    pub fn recordings(&self) -> &'static [Recording] {
        recordings::all()
    }

    /// The one of this name.
    pub fn recording(&self, name: &str) -> AppResult<&'static Recording> {
        recordings::named(name).ok_or_else(|| AppError::not_found("recorded app of this name"))
    }

    /// The template of the recording that the demo model would play for a description; none where another model answers.
    pub(super) fn recorded_template(&self, description: &str) -> Option<&std::sync::Arc<Template>> {
        let is_demo = self.platform.model().is_demo;
        let recording = is_demo.then(|| recordings::close_to(description)).flatten()?;
        self.platform.catalog.get(&recording.template)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::catalog::Catalog;
    use crate::domain::TemplateKind;

    #[test]
    fn the_examples_of_the_first_page_are_recorded() {
        let catalog = Catalog::load(Path::new("no-such-folder")).expect("the embedded templates");
        for template in catalog.iter() {
            let example = template.manifest.examples.first().expect("each template has examples");
            let recording = recordings::close_to(example).unwrap_or_else(|| panic!("{example} is not recorded"));
            assert!(recording.is_described_by(example), "{example}: {}", recording.description);
            assert_eq!(recording.template, template.name, "{example}");
            assert!(template.manifest.kind != TemplateKind::Job || recording.files.len() == 1);
        }
    }
}
