//! Collects what the model gets in addition to the user's message of a turn: files that the user changed since the last turn,
//! locked files, and the app's remaining budget for the day.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::domain::{App, AppId, Turn, WorkspacePath};
use crate::error::AppResult;
use crate::generation::{Compaction, DayLimit, material, notes};
use crate::platform::Platform;
use crate::store::messages::TurnMemory;

/// Maximum size in bytes of the manual changes in the prompt. The model can read the rest in the files.
const CHANGES_MAX: usize = 16 * 1024;
/// Maximum number of locked files that are listed.
const LOCKS_NAMED: usize = 50;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The information with which a turn starts.
pub struct Briefing {
    /// Notes for the model, sent with the prompt.
    pub notes: Vec<String>,
    /// How far the transcript was compacted.
    pub compaction: Compaction,
    /// Whether the user permitted to delete or rewrite most of the existing files.
    pub may_rewrite: bool,
    /// The app's remaining budget for today.
    pub day: DayLimit,
}

/// Collects the briefing of a turn, and stores in the turn what the next one needs.
pub async fn brief(platform: &Platform, app: &App, turn: &Turn) -> AppResult<Briefing> {
    let memory = platform.store.turn_memory(app.id, turn.id).await?;
    let mut notes = Vec::new();
    match changes_by_hand(platform, app, &memory).await {
        Ok(text) if text.is_empty() => {}
        Ok(text) => notes.push(notes::note(format!(
            "Since you looked last the person changed these files by hand, or put earlier ones back. Keep what \
             they did unless they ask otherwise.\n{}",
            material::wrap("changes by hand, as a unified diff", &text)
        ))),
        // The turn can run without this note.
        Err(error) => tracing::warn!(app = %app.name, %error, "failed to read changes by hand"),
    }
    let locked = platform.store.locked_files(app.id).await?;
    if !locked.is_empty() {
        let named: Vec<&str> = locked.iter().take(LOCKS_NAMED).map(WorkspacePath::as_str).collect();
        let more = locked.len() - named.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        notes.push(notes::note(format!(
            "The person has locked these files, so they cannot be changed or deleted: {}{more}.",
            named.join(", ")
        )));
    }
    // A repair and *Continue* carry on the user's earlier request, and so the answer to an earlier question.
    let root = root(platform, turn).await?;
    let answered = match root.answer {
        Some(answer) => platform.store.turn_of(app.id, answer.turn).await?.question.zip(Some(answer.choice)),
        None => None,
    };
    if let Some(chosen) = answered.as_ref().and_then(|(question, choice)| question.choice(*choice))
        && root.id == turn.id
        && chosen != turn.prompt
    {
        notes.push(notes::note(format!("To your question the person chose: “{chosen}”.")));
    }
    let compaction = memory.compaction.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    keep_compaction(platform, turn, compaction).await?;
    Ok(Briefing {
        notes,
        compaction,
        may_rewrite: answered.is_some_and(|(question, choice)| question.allows_rewrite(choice)),
        day: day_limit(platform, app.id).await?,
    })
}

/// The turn whose work this turn carries on: the one that is repaired or continued; otherwise the turn itself.
pub async fn root(platform: &Platform, turn: &Turn) -> AppResult<Turn> {
    let mut root = turn.clone();
    // Each turn is older than the one before it, so the loop ends.
    while let Some(earlier) = root.origin.earlier_turn().filter(|earlier| *earlier < root.id) {
        root = platform.store.turn(earlier).await?;
    }
    Ok(root)
}

/// The manual changes that the model does not know: those made during its last turn and since then.
async fn changes_by_hand(platform: &Platform, app: &App, memory: &TurnMemory) -> AppResult<String> {
    let since = memory.known.clone().filter(|known| app.head.as_ref() != Some(known));
    let meanwhile = memory.meanwhile.clone();
    if since.is_none() && meanwhile.is_empty() {
        return Ok(String::new());
    }
    let read = platform.read_workspace(&app.name, move |workspace| {
        let mut text = String::new();
        for (nth, version) in meanwhile.iter().enumerate() {
            if text.len() > CHANGES_MAX / 2 {
                let _ = writeln!(text, "{} more changes by hand are not shown.", meanwhile.len() - nth);
                break;
            }
            let changed = workspace.diff(version)?;
            text.push_str(&changed[..changed.floor_char_boundary(CHANGES_MAX / 2)]);
        }
        if let Some(since) = since {
            text.push_str(&workspace.diff_since(&since, CHANGES_MAX.saturating_sub(text.len()))?);
        }
        Ok(text)
    });
    read.await
}

/// Stores how far the transcript was compacted, for the next turn.
pub async fn keep_compaction(platform: &Platform, turn: &Turn, compaction: Compaction) -> AppResult<()> {
    let json = serde_json::to_string(&compaction).expect("two numbers are JSON");
    Ok(platform.store.set_turn_compaction(turn.id, json).await?)
}

/// An app's budget for today and what is left of it, calculated from the stored turns.
pub async fn day_limit(platform: &Platform, app: AppId) -> AppResult<DayLimit> {
    let usd = platform.config.turn_caps.app_usd_per_day;
    let spent = platform.store.spent_since(app, day_of(platform.clock.now())).await?;
    Ok(DayLimit { usd, left_usd: (usd - spent).max(0.0) })
}

/// Start of the day of a time, in UTC.
fn day_of(now: Timestamp) -> Timestamp {
    let seconds = now.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(DAY_SECONDS)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_in_utc() {
        for (now, day) in [
            ("2026-11-20T17:44:02.9Z", "2026-11-20T00:00:00Z"),
            ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T00:00:00Z"),
        ] {
            assert_eq!(day_of(now.parse().expect("a time")), day.parse().expect("a time"));
        }
    }
}
