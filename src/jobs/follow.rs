//! Decides what happens automatically after a job: the version of a turn is deployed to preview, and a preview that
//! fails is sent to the model as a repair, which shares the limits of the user's turn.
//!
//! The next job is queued in the transaction that ends the job before it, so that a builder that dies in between
//! neither forgets it nor repeats it. Nothing is queued if the user has requested something else meanwhile, if the same
//! error occurs again, or if the repairs or the limits of the turn are used up.

use std::time::Duration;

use rusqlite::Transaction;

use super::context::Failure;
use crate::domain::{
    AppId, AppName, Author, Evidence, Job, JobError, JobKind, JobResult, NewTurn, Repair, RepairBudget, RepairFailure,
    RepairVerdict, Turn, TurnId, TurnMode, TurnOrigin, TurnState, VersionId,
};
use crate::error::AppResult;
use crate::events::NewEvent;
use crate::generation::notes::REPAIR_SENTENCE;
use crate::generation::{Spent, TurnLimits};
use crate::platform::{Platform, job_event};
use crate::proof;
use crate::store::{StoreError, jobs as table, turns};

/// Error codes that the app's code causes; the model may repair them.
const REPAIRABLE_CODES: [&str; 7] = [
    "build_failed",
    "build_timed_out",
    "start_failed",
    "health_check_failed",
    "smoke_failed",
    "run_failed",
    "bad_settings",
];

/// Whether the model can repair this failure. It cannot repair failures of the machine.
pub fn is_mendable(code: &str) -> bool {
    REPAIRABLE_CODES.contains(&code)
}

/// The next step after a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// The version is deployed to preview.
    Preview {
        /// The version.
        version: VersionId,
        /// The turn that made it.
        turn: TurnId,
    },
    /// The model repairs the preview.
    Repair {
        /// What failed, in a sentence.
        prompt: String,
        /// The output that shows the failure; none if nothing was printed.
        evidence: Option<Evidence>,
        /// The turn that is repaired, and the number of the attempt.
        repair: Repair,
        /// The state of that turn's repairs after this one.
        repairs: RepairBudget,
    },
    /// No repair: the reason (the error that occurred again, the limit that was reached) and what was tried, for the
    /// user.
    Stop(String),
}

/// Decides what happens after a job with this result.
pub async fn after(platform: &Platform, job: &Job, outcome: &Result<JobResult, Failure>) -> AppResult<Follow> {
    match (&job.kind, outcome) {
        (JobKind::Generate { turn }, Ok(JobResult { version: Some(version), .. })) => {
            let (turn, version) = (*turn, version.clone());
            // A question of the model has to be answered first: the version may be incomplete without the answer.
            let asks = platform.store.turn(turn).await?.question.is_some();
            if !asks && is_wanted(platform, job).await? {
                return Ok(Follow::Preview { version, turn });
            }
        }
        (JobKind::Preview { turn: Some(turn), .. }, Err(Failure::Failed(error))) if is_mendable(&error.code) => {
            let wanted = is_wanted(platform, job).await?;
            if wanted {
                return repair(platform, *turn, error).await;
            }
        }
        _ => {}
    }
    Ok(Follow::Nothing)
}

/// Whether a next step is wanted: the app allows it, and no other job is waiting.
async fn is_wanted(platform: &Platform, job: &Job) -> AppResult<bool> {
    let app = match platform.store.app_by_id(job.app_id).await {
        Ok(app) => app,
        Err(StoreError::NotFound) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let open = platform.store.open_jobs(Some(app.id)).await?;
    let others = open.iter().any(|open| open.id != job.id && !open.cancel_requested);
    Ok(app.auto_preview && !app.deleting && !others)
}

/// The next repair of a failed preview, or the reason why there is none.
async fn repair(platform: &Platform, turn: TurnId, error: &JobError) -> AppResult<Follow> {
    let store = &platform.store;
    let last = store.turn(turn).await?;
    let root = last.shares_limits_with();
    let turns = store.turn_with_repairs(root).await?;
    // The failures of these turns, from their checks and from their previews.
    let mut repairs = store.repairs(root).await?;
    let number = match repairs.failed(failure(error)) {
        RepairVerdict::Repair(number) => number,
        RepairVerdict::Stop(stop) => return Ok(Follow::Stop(stop.sentence)),
    };
    let limits = limits(platform);
    if let Some(cap) = limits.used_up(spent(platform, &turns).await?) {
        return Ok(Follow::Stop(cap.ends_repairs(&limits)));
    }
    let prompt = format!("{REPAIR_SENTENCE} {}", error.message);
    Ok(Follow::Repair { prompt, evidence: evidence(error), repair: Repair { of: root, number }, repairs })
}

fn failure(error: &JobError) -> RepairFailure {
    if error.code != "smoke_failed" {
        return RepairFailure::new(&error.message, &proof::relevant_lines(&error.lines));
    }
    // Only the failed checks, without the evidence below them. A check of the files reports a failure in the same form.
    let asked = error.lines.iter().take_while(|line| !line.starts_with("The app's last lines"));
    RepairFailure::new(&error.message, &asked.filter(|line| !line.starts_with(' ')).cloned().collect::<Vec<_>>())
}

/// The lines that show a failure. They were printed by an app or a build.
fn evidence(error: &JobError) -> Option<Evidence> {
    let lines = telling_lines(error);
    (!lines.is_empty()).then(|| Evidence { source: format!("preview: {}", error.code), text: lines.join("\n") })
}

/// The relevant lines of an error: all lines of smoke tests, which are few, and a selection of the lines of a log.
pub fn telling_lines(error: &JobError) -> Vec<String> {
    if error.code == "smoke_failed" { error.lines.clone() } else { proof::relevant_lines(&error.lines) }
}

/// The steps, tokens, cost and time that these turns have used.
async fn spent(platform: &Platform, turns: &[Turn]) -> AppResult<Spent> {
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

/// The limits of a user's turn together with its repairs.
pub fn limits(platform: &Platform) -> TurnLimits {
    let caps = platform.config.turn_caps;
    TurnLimits {
        steps: caps.steps,
        tokens: caps.tokens,
        cost_usd: caps.usd,
        wall_time: caps.time,
        ..TurnLimits::default()
    }
}

/// What the user's turn and its earlier repairs have used of the shared limits; none for a turn that is not a repair.
pub async fn spent_before(platform: &Platform, turn: &Turn) -> AppResult<Option<Spent>> {
    let Some(repair) = turn.repair() else { return Ok(None) };
    let mut turns = platform.store.turn_with_repairs(repair.of).await?;
    turns.retain(|one| one.id.0 < turn.id.0 && one.state != TurnState::Queued);
    Ok(Some(spent(platform, &turns).await?))
}

impl Follow {
    /// Queues the next step in the transaction that ends the job before it. Nothing is queued for an app that is being
    /// deleted.
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
            Self::Repair { prompt, evidence, repair, repairs } => {
                turns::keep_repairs(t, repair.of, &repairs)?;
                let origin = TurnOrigin::Repair(repair);
                let new = NewTurn { origin, evidence, ..NewTurn::of_person(prompt, TurnMode::Build) };
                let turn = turns::insert(t, app, &new, at)?;
                JobKind::Generate { turn: turn.id }
            }
        };
        Ok(Some(job_event(&table::insert(t, app, name, &kind, Author::Slipway, at)?)))
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
    fn the_evidence_of_a_failure_is_what_matters_of_its_lines() {
        let told = evidence(&error("build_failed", &["Collecting x", "ERROR: No matching distribution found for x"]));
        let told = told.expect("lines");
        assert_eq!(told.source, "preview: build_failed");
        assert!(told.text.contains("ERROR: No matching") && !told.text.contains("Collecting"), "{told:?}");
        let told = evidence(&error("smoke_failed", &["GET /a (page): 404. It is not there.", "    <h1>x</h1>"]));
        assert!(told.is_some_and(|told| told.text.contains("<h1>x</h1>")), "that of smoke checks is kept whole");
        assert_eq!(evidence(&error("start_failed", &[])), None);
    }

    #[test]
    fn a_check_and_a_preview_find_the_same_error() {
        let built =
            error("build_failed", &["Step 2/2 : RUN pip install", "ERROR: No matching distribution found for x"]);
        let checked =
            RepairFailure::new("It does not build: ERROR", &["ERROR: No matching distribution found for x".into()]);
        assert_eq!(failure(&built).fingerprint, checked.fingerprint);
        let missing = "GET /a (page): 404. It is linked from /.";
        let smoked = error("smoke_failed", &[missing, "    <h1>nginx</h1>", "The app's last lines:", "\"GET /a\" 404"]);
        let checked = RepairFailure::new("It builds, but 1 of 2 are not as they should be.", &[missing.into()]);
        assert_eq!(failure(&smoked).fingerprint, checked.fingerprint);
        assert_ne!(failure(&built).fingerprint, failure(&smoked).fingerprint);
    }

    #[test]
    fn only_what_was_written_can_be_mended() {
        assert!(is_mendable("build_failed") && is_mendable("smoke_failed"));
        for machine in ["docker_unavailable", "disk_full", "base_image_missing", "push_failed", "internal"] {
            assert!(!is_mendable(machine), "{machine}");
        }
        // Failures of a cluster: no image, no room, no route, or objects that were deleted from outside.
        for machine in
            ["registry_unavailable", "image_pull_failed", "no_room", "not_asked", "switch_failed", "deleted_outside"]
        {
            assert!(!is_mendable(machine), "{machine}");
        }
    }
}
