//! What a turn is told besides the person's words: what they changed by hand since the last one,
//! and which files they locked. And what the app may still spend today.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::domain::{App, AppId, Turn, WorkspacePath};
use crate::error::AppResult;
use crate::generation::{Compaction, DayLimit, material, notes};
use crate::platform::Platform;
use crate::store::messages::TurnMemory;

/// Bytes of changes by hand that are told; the rest can be read in the files.
const CHANGES_MAX: usize = 16 * 1024;
/// Locked files that are named.
const LOCKS_NAMED: usize = 50;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What a turn begins with.
pub struct Briefing {
    /// For the model, with the prompt.
    pub notes: Vec<String>,
    /// How far the conversation has been compacted.
    pub compaction: Compaction,
    /// The person allowed to delete or rewrite most of what is there.
    pub may_rewrite: bool,
    /// What the app may still spend.
    pub day: DayLimit,
}

/// Gathers what the turn begins with, and notes on it what the next one needs to know.
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
        // The turn can be done without.
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
    // A repair and *Continue* go on with what a person asked, and was answered, before.
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

/// The turn whose work a turn goes on with: what a repair repairs, what *Continue* continues; else itself.
pub async fn root(platform: &Platform, turn: &Turn) -> AppResult<Turn> {
    let mut root = turn.clone();
    // Each is older than the one before, so this ends.
    while let Some(earlier) = root.origin.earlier_turn().filter(|earlier| *earlier < root.id) {
        root = platform.store.turn(earlier).await?;
    }
    Ok(root)
}

/// What the model does not know: changes made by hand while its last turn was at work, and since.
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

/// Stores how far the conversation has been compacted, for the next turn.
pub async fn keep_compaction(platform: &Platform, turn: &Turn, compaction: Compaction) -> AppResult<()> {
    let json = serde_json::to_string(&compaction).expect("two numbers are JSON");
    Ok(platform.store.set_turn_compaction(turn.id, json).await?)
}

/// What an app may spend today, and what is left of it. Counted from the turns that are kept.
pub async fn day_limit(platform: &Platform, app: AppId) -> AppResult<DayLimit> {
    let usd = platform.config.turn_caps.app_usd_per_day;
    let spent = platform.store.spent_since(app, day_of(platform.clock.now())).await?;
    Ok(DayLimit { usd, left_usd: (usd - spent).max(0.0) })
}

/// When the day of a time began, in UTC.
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
