//! The view of the start page: the form for a new app, and the list of apps. Pure.

use askama::Template;

use super::app::bar::EnvChip;
use super::app::deployment::{encode_query, with_code};
use super::chrome::Chrome;
use super::format::{Html, When};
use super::made_with_view::MadeTile;
use super::ui;
use crate::domain::{App, AppId, AppName, TemplateKind, TemplateName};
use crate::error::AppError;
use crate::services::activity::Activity;
use crate::services::tiles::Tile;

/// The reason why the form created no app.
#[derive(Template)]
#[template(path = "create_problem.html")]
pub struct CreateProblem<'a> {
    /// Why no app was created, and what to do.
    pub problem: &'a str,
}

/// Why apps cannot be deployed, and what to do.
pub fn outage(error: &AppError) -> Html {
    with_code(&[Some(error.detail.as_str()), error.hint.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// The page.
#[derive(Template)]
#[template(path = "home.html")]
pub struct HomePage {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The text of the description field.
    pub description: String,
    /// The text of the name field.
    pub name: String,
    /// The template that the user chose.
    pub chosen: Option<TemplateName>,
    /// The rendered [`Suggestion`].
    pub suggestion: String,
    /// All templates.
    pub templates: Vec<TemplateChoice>,
    /// Prompts that fill the field.
    pub examples: Vec<Example>,
    /// Recorded apps with their pictures.
    pub made: Vec<MadeTile>,
    /// Why apps cannot be deployed at the moment.
    pub outage: Option<Html>,
    /// The error in the submitted form.
    pub problem: Option<String>,
    /// Number of apps.
    pub total: u64,
    /// How many apps are listed, in words: “2 of 11” where some are left out.
    pub count: String,
    /// A search or a filter is active.
    pub searching: bool,
    /// The search text.
    pub search: String,
    /// Only apps of this template.
    pub filter: Option<TemplateName>,
    /// The apps, the most recently changed first.
    pub apps: Vec<AppCard>,
    /// Apps that are new appear in this list.
    pub shows_new: bool,
    /// The last change of the list that this page contains.
    pub after: String,
    /// The address of the next page.
    pub next: Option<String>,
}

/// A template to choose.
pub struct TemplateChoice {
    /// Its name.
    pub name: TemplateName,
    /// Its title.
    pub title: String,
    /// One line about it.
    pub summary: String,
}

/// A prompt to start from.
pub struct Example {
    /// The prompt.
    pub text: String,
    /// The prompt, encoded for an address.
    pub link: String,
    /// The icon of its kind of app.
    pub icon: &'static str,
}

impl Example {
    /// An example of a kind of app.
    pub fn new(text: &str, kind: TemplateKind) -> Self {
        Self { text: text.to_owned(), link: encode_query(text), icon: icon_of(kind) }
    }
}

/// An app in the list.
#[derive(Template)]
#[template(path = "card.html")]
pub struct AppCard {
    id: AppId,
    name: AppName,
    title: String,
    template: String,
    description: String,
    chips: Vec<EnvChip>,
    updated: When,
    deleting: bool,
    /// The progress of its deletion.
    doing: Option<Html>,
    /// What happens at the moment.
    activity: Option<ActivityView>,
    /// What its page looks like.
    tile: Option<Tile>,
    /// The icon of its kind, where there is no tile.
    icon: &'static str,
}

/// What happens to an app, as words and an icon.
struct ActivityView {
    words: &'static str,
    icon: &'static str,
    motion: &'static str,
    class: &'static str,
}

impl From<Activity> for ActivityView {
    fn from(activity: Activity) -> Self {
        match activity {
            Activity::Writing => Self { words: "Writing…", icon: "spinner", motion: "spin", class: "busy" },
            Activity::Queued => Self { words: "Queued", icon: "clock", motion: "", class: "busy" },
            Activity::Failed => Self { words: "Last change failed", icon: "cross", motion: "", class: "bad" },
        }
    }
}

/// The icon of a kind of app.
fn icon_of(kind: TemplateKind) -> &'static str {
    match kind {
        TemplateKind::Static => "screen",
        TemplateKind::Service => "box",
        TemplateKind::Webhook => "bolt",
        TemplateKind::Job => "clock",
    }
}

impl AppCard {
    /// `template`: the template's title; `doing`: the progress of the job that deletes the app.
    pub fn new(app: &App, template: String, chips: Vec<EnvChip>, doing: Option<String>, now: jiff::Timestamp) -> Self {
        Self {
            id: app.id,
            activity: None,
            tile: None,
            icon: "box",
            name: app.name.clone(),
            title: app.shown().to_owned(),
            template,
            description: super::format::first_line(&app.description, 240),
            chips,
            updated: When::new(app.updated_at, now),
            deleting: app.deleting,
            doing: doing.filter(|_| app.deleting).map(|words| with_code(&words)),
        }
    }

    /// With what happens to the app.
    #[must_use]
    pub fn at_work(self, activity: Option<Activity>) -> Self {
        Self { activity: activity.map(ActivityView::from), ..self }
    }

    /// With what its page looks like, else an icon of its kind.
    #[must_use]
    pub fn with_tile(self, tile: Option<Tile>, kind: Option<TemplateKind>) -> Self {
        Self { tile, icon: kind.map_or("box", icon_of), ..self }
    }

    /// The class of the tile: its text is readable on its colour.
    fn tile_class(&self) -> &'static str {
        match self.tile.as_ref().and_then(|tile| tile.colour) {
            Some(colour) if colour.is_dark() => "tile on-dark",
            Some(_) => "tile on-light",
            None => "tile",
        }
    }
}

/// The suggested template, beside *Auto*, and the suggested name.
#[derive(Template)]
#[template(path = "suggestion.html")]
pub struct Suggestion<'a> {
    /// Its title; none while the description is empty.
    pub title: Option<&'a str>,
    /// A name for the field, unless the user typed one.
    pub name: Option<AppName>,
}

/// The name field with another suggestion.
#[derive(Template)]
#[template(path = "name_field.html")]
pub struct NameField {
    /// The suggestion.
    pub name: AppName,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn filters_appear_beyond_eight_apps() {
        let page = |total| samples::select(&samples::home(total).render().expect("renders"));
        assert_eq!(page(8).count("[role=search]"), 0);
        assert_eq!(page(9).count("[role=search]"), 1);
        assert_eq!(page(0).count("#apps"), 0);
        assert_eq!(page(0).count(".lede"), 1);
    }

    #[test]
    fn cards_link_to_the_app_and_to_its_environments() {
        let page = samples::select(&samples::home(3).render().expect("renders"));
        assert_eq!(page.attribute(".app-card h3 a", "href"), "/apps/brisk-otter");
        assert_eq!(page.attribute(".app-card a.chip", "href"), "http://brisk-otter-preview.localhost:8080");
        assert!(page.text(".app-card .chip.ready").contains("Preview ready"));
    }

    #[test]
    fn an_app_that_is_being_deleted_shows_the_progress() {
        let says = "The namespace app-brisk-otter is being deleted, and waits: 1 pod is left.";
        let shown = |deleting| {
            let mut home = samples::home(1);
            let app = App { deleting, ..samples::app() };
            home.apps = vec![AppCard::new(&app, "Static site".into(), vec![], Some(says.to_owned()), samples::now())];
            samples::select(&home.render().expect("renders")).text(".app-card .about")
        };
        assert_eq!(shown(true), says);
        // The deletion failed: the app still exists.
        assert_eq!(shown(false), samples::app().description);
    }
}
