//! What follows a job by itself: the version that a turn made goes into preview, and a preview that
//! fails goes back to the model, as a repair that shares the limits of the user's turn.
//!
//! What follows is queued in the same transaction that ends the job before it, so that a builder that
//! dies in between neither forgets it nor does it twice. It never follows when the user has asked for
//! something else meanwhile, and it ends where the same error comes back, the repairs are used up, or
//! the limits of the turn are.

use std::time::Duration;

use rusqlite::Transaction;

use super::context::Failure;
use crate::domain::{
    App, AppId, AppName, Job, JobError, JobKind, JobResult, Repair, RepairBudget, RepairFailure, RepairVerdict, Turn,
    TurnId, TurnMode, TurnState, VersionId,
};
use crate::error::AppResult;
use crate::events::NewEvent;
use crate::generation::{REPAIR_PROMPT, TurnLimits, material};
use crate::platform::{Platform, job_event};
use crate::proof;
use crate::store::{StoreError, jobs as table, turns};

/// Errors that lie in what was written, and so are the model's to mend.
const MENDABLE: [&str; 7] = [
    "build_failed",
    "build_timed_out",
    "start_failed",
    "health_check_failed",
    "smoke_failed",
    "run_failed",
    "bad_settings",
];

/// Whether the model can mend this; the machine's troubles it cannot.
pub fn is_mendable(code: &str) -> bool {
    MENDABLE.contains(&code)
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// The version goes into preview.
    Preview {
        /// Which.
        version: VersionId,
        /// The turn that made it.
        turn: TurnId,
    },
    /// The model repairs.
    Repair {
        /// What it is told.
        prompt: String,
        /// Of what.
        repair: Repair,
    },
    /// No repair: why, and what was tried, for the user.
    Stop(String),
}

/// Decides what follows a job that ends so.
pub async fn after(platform: &Platform, job: &Job, outcome: &Result<JobResult, Failure>) -> AppResult<Follow> {
    match (&job.kind, outcome) {
        (JobKind::Generate { turn }, Ok(JobResult { version: Some(version), .. })) => {
            let (turn, version) = (*turn, version.clone());
            // What the model asks comes first: its version may be half of an answer.
            let asks = platform.store.turn(turn).await?.question.is_some();
            if !asks && is_wanted(platform, job).await?.is_some() {
                return Ok(Follow::Preview { version, turn });
            }
        }
        (JobKind::Preview { turn: Some(turn), .. }, Err(Failure::Failed(error))) if is_mendable(&error.code) => {
            if let Some(app) = is_wanted(platform, job).await? {
                return repair(platform, &app, *turn, error).await;
            }
        }
        _ => {}
    }
    Ok(Follow::Nothing)
}

/// The app, unless its user wants none of it, or has asked for something else that waits.
async fn is_wanted(platform: &Platform, job: &Job) -> AppResult<Option<App>> {
    let app = match platform.store.app_by_id(job.app_id).await {
        Ok(app) => app,
        Err(StoreError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let open = platform.store.open_jobs(Some(app.id)).await?;
    let others = open.iter().any(|open| open.id != job.id && !open.cancel_requested);
    Ok((app.auto_preview && !app.deleting && !others).then_some(app))
}

/// A failed preview as the next repair, or why there is none.
async fn repair(platform: &Platform, app: &App, turn: TurnId, error: &JobError) -> AppResult<Follow> {
    let store = &platform.store;
    let last = store.turn(turn).await?;
    let root = last.repair.map_or(last.id, |repair| repair.of);
    let turns = store.turn_with_repairs(root).await?;
    let mut budget = RepairBudget::default();
    let failed = store.failed_previews(app.id, turns.iter().map(|turn| turn.id).collect()).await?;
    for (job, mended) in failed.iter().zip(turns.iter().skip(1)) {
        if let Some(error) = &job.error {
            budget.failed(failure(error));
        }
        budget.tried(changed(platform, app, mended).await?.iter().map(String::as_str));
    }
    let number = match budget.failed(failure(error)) {
        RepairVerdict::Repair(number) => number,
        RepairVerdict::Stop(stop) => return Ok(Follow::Stop(stop.sentence)),
    };
    if left(&limits(platform), spent(platform, &turns).await?).is_none() {
        let sentence = "The limits of this turn are used up, so no further repair is tried.";
        return Ok(Follow::Stop(sentence.to_owned()));
    }
    Ok(Follow::Repair { prompt: prompt(error), repair: Repair { of: root, number } })
}

fn failure(error: &JobError) -> RepairFailure {
    RepairFailure::new(&error.code, &error.message, &proof::telling(&error.lines))
}

/// The files that a repair changed.
async fn changed(platform: &Platform, app: &App, turn: &Turn) -> AppResult<Vec<String>> {
    let Some(version) = turn.version.clone() else { return Ok(Vec::new()) };
    let files = platform.read_workspace(&app.name, move |workspace| workspace.file_diffs(&version)).await?;
    Ok(files.into_iter().map(|file| file.path.to_string()).collect())
}

/// What the model is told of a failure. The lines are an app's or a build's: material, not instructions.
fn prompt(error: &JobError) -> String {
    // Evidence of smoke checks is short and whole; logs are not.
    let lines = if error.code == "smoke_failed" { error.lines.clone() } else { proof::telling(&error.lines) };
    let lines = if lines.is_empty() {
        String::new()
    } else {
        format!("\n\n{}", material::wrap(&format!("preview: {}", error.code), &lines.join("\n")))
    };
    format!(
        "{REPAIR_PROMPT} {}{lines}\n\nFind the cause and mend it with small edits. Leave alone what works. If it cannot \
         be mended in the app's files, say why and change nothing.",
        error.message
    )
}

/// What turns have used together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    steps: u32,
    tokens: u64,
    usd: f64,
    time: Duration,
}

/// What these turns have used.
pub async fn spent(platform: &Platform, turns: &[Turn]) -> AppResult<Spent> {
    let mut spent = Spent::default();
    for turn in turns {
        spent.steps += platform.store.count_answers(turn.id).await?;
        spent.tokens += turn.usage.input_tokens + turn.usage.output_tokens + turn.usage.cache_write_tokens;
        spent.usd += turn.usage.cost_usd.unwrap_or(0.0);
        if let (Some(from), Some(to)) = (turn.started_at, turn.finished_at) {
            let millis = u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0);
            spent.time += Duration::from_millis(millis);
        }
    }
    Ok(spent)
}

/// The limits that are left of a turn for a repair; none when one of them is used up.
pub fn left(limits: &TurnLimits, spent: Spent) -> Option<TurnLimits> {
    let left = TurnLimits {
        steps: limits.steps.saturating_sub(spent.steps),
        tokens: limits.tokens.saturating_sub(spent.tokens),
        cost_usd: limits.cost_usd - spent.usd,
        wall_time: limits.wall_time.saturating_sub(spent.time),
        ..limits.clone()
    };
    let is_left = left.steps > 0 && left.tokens > 0 && left.cost_usd > 0.0 && !left.wall_time.is_zero();
    is_left.then_some(left)
}

fn limits(platform: &Platform) -> TurnLimits {
    let caps = platform.config.turn_caps;
    TurnLimits {
        steps: caps.steps,
        tokens: caps.tokens,
        cost_usd: caps.usd,
        wall_time: caps.time,
        ..TurnLimits::default()
    }
}

/// The limits of a turn: those of the user's turn, less what that and its repairs have used.
pub async fn limits_of(platform: &Platform, turn: &Turn, whole: TurnLimits) -> AppResult<TurnLimits> {
    let Some(repair) = turn.repair else { return Ok(whole) };
    let mut turns = platform.store.turn_with_repairs(repair.of).await?;
    turns.retain(|one| one.id.0 < turn.id.0 && one.state != TurnState::Queued);
    let spent = spent(platform, &turns).await?;
    // Nothing left ends the turn at its first look.
    Ok(left(&whole, spent).unwrap_or(TurnLimits { steps: 0, ..whole }))
}

impl Follow {
    /// Queues what follows, in the transaction that ends the job before it. An app that is being
    /// deleted by now gets nothing.
    pub fn queue(
        self,
        t: &Transaction<'_>,
        app: AppId,
        name: &AppName,
        at: jiff::Timestamp,
    ) -> Result<Option<NewEvent>, StoreError> {
        let deleting: bool =
            t.query_row("SELECT NOT EXISTS (SELECT 1 FROM apps WHERE id = ?1 AND deleting = 0)", [app.0], |row| {
                row.get(0)
            })?;
        if deleting {
            return Ok(None);
        }
        let kind = match self {
            Self::Nothing | Self::Stop(_) => return Ok(None),
            Self::Preview { version, turn } => JobKind::Preview { version, turn: Some(turn) },
            Self::Repair { prompt, repair } => {
                let turn = turns::insert(t, app, &prompt, TurnMode::Build, Some(repair), at)?;
                JobKind::Generate { turn: turn.id }
            }
        };
        Ok(Some(job_event(&table::insert(t, app, name, &kind, at)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, lines: &[&str]) -> JobError {
        JobError {
            code: code.into(),
            message: "“pip install” failed.".into(),
            hint: None,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn the_model_is_told_what_matters_as_material() {
        let told = prompt(&error("build_failed", &["Collecting x", "ERROR: No matching distribution found for x"]));
        assert!(told.starts_with(&format!("{REPAIR_PROMPT} “pip install” failed.\n\n<material-")), "{told}");
        assert!(told.contains("ERROR: No matching") && !told.contains("Collecting"), "{told}");
        let told = prompt(&error("smoke_failed", &["GET /a (page): 404. It is not there.", "    <h1>x</h1>"]));
        assert!(told.contains("<h1>x</h1>"), "evidence is told whole: {told}");
        assert!(!prompt(&error("start_failed", &[])).contains("material"));
    }

    #[test]
    fn a_repair_has_what_the_turn_has_left() {
        let limits = TurnLimits::default();
        let spent = Spent { steps: 10, tokens: 500_000, usd: 1.5, time: Duration::from_mins(5) };
        let rest = left(&limits, spent).expect("some is left");
        assert_eq!((rest.steps, rest.tokens, rest.wall_time), (50, 1_000_000, Duration::from_mins(15)));
        assert!((rest.cost_usd - 3.5).abs() < 1e-9);
        assert_eq!(rest.files, limits.files);
        for gone in [
            Spent { steps: 60, ..spent },
            Spent { tokens: 1_500_000, ..spent },
            Spent { usd: 5.0, ..spent },
            Spent { time: Duration::from_mins(20), ..spent },
        ] {
            assert_eq!(left(&limits, gone), None, "{gone:?}");
        }
    }

    #[test]
    fn only_what_was_written_can_be_mended() {
        assert!(is_mendable("build_failed") && is_mendable("smoke_failed"));
        for machine in ["docker_unavailable", "disk_full", "base_image_missing", "push_failed", "internal"] {
            assert!(!is_mendable(machine), "{machine}");
        }
        // A cluster's: no image, no room, no way to it, or somebody who deletes it.
        for machine in
            ["registry_unavailable", "image_pull_failed", "no_room", "not_asked", "switch_failed", "deleted_outside"]
        {
            assert!(!is_mendable(machine), "{machine}");
        }
    }
}
