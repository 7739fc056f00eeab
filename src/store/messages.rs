//! The conversation with the model: the messages that went over the wire in each turn, and what the next turn begins from.

use rusqlite::{OptionalExtension, params};

use super::turns::origin;
use super::{Store, StoreError, row};
use crate::domain::{AppId, Attachment, TurnId, TurnOrigin, VersionId};

/// A stored message of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptMessage {
    /// The message.
    pub json: String,
    /// The turn that starts with it, if any.
    pub start: Option<KeptStart>,
}

/// The data of a turn at the start of its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptStart {
    /// Why the turn was started.
    pub origin: TurnOrigin,
    /// The prompt.
    pub prompt: String,
    /// The attachments.
    pub attachments: Vec<Attachment>,
}

/// The data of earlier turns that a turn starts from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnMemory {
    /// The version that the model knows, if there was a turn.
    pub known: Option<VersionId>,
    /// Versions of users' edits while that turn was running, which the model does not know; oldest first.
    pub meanwhile: Vec<VersionId>,
    /// JSON: how far the conversation is compacted.
    pub compaction: Option<String>,
}

impl Store {
    /// Appends messages (JSON each) to those of a turn, after the first `from` of them. Later ones are
    /// deleted, because a provider rejected them.
    pub async fn insert_messages(&self, id: TurnId, from: usize, messages: Vec<String>) -> Result<(), StoreError> {
        self.write(move |t| {
            let from = row::integer(from as u64);
            t.prepare_cached("DELETE FROM messages WHERE turn_id = ?1 AND position >= ?2")?
                .execute(params![id.0, from])?;
            let mut insert =
                t.prepare_cached("INSERT INTO messages (turn_id, position, message) VALUES (?1, ?2, ?3)")?;
            for (position, message) in (from..).zip(&messages) {
                insert.execute(params![id.0, position, message])?;
            }
            Ok(())
        })
        .await
    }

    /// The app's messages of all turns before `turn`, oldest first.
    pub async fn messages_before(&self, app: AppId, turn: TurnId) -> Result<Vec<KeptMessage>, StoreError> {
        self.read(move |c| {
            let mut last = None;
            let rows = c
                .prepare_cached(
                    "SELECT m.message, t.* FROM messages m JOIN turns t ON t.id = m.turn_id
                     WHERE t.app_id = ?1 AND t.id < ?2 ORDER BY t.id, m.position",
                )?
                .query_map(params![app.0, turn.0], |r| {
                    let id: i64 = r.get("id")?;
                    let is_first = last.replace(id) != Some(id);
                    let start = is_first.then(|| {
                        let attachments = row::json(r, "attachments")?;
                        Ok::<_, rusqlite::Error>(KeptStart {
                            origin: origin(r)?,
                            prompt: r.get("prompt")?,
                            attachments,
                        })
                    });
                    Ok(KeptMessage { json: r.get("message")?, start: start.transpose()? })
                })?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Whether a turn has messages.
    pub async fn has_messages(&self, id: TurnId) -> Result<bool, StoreError> {
        self.read(move |c| {
            Ok(c.query_row("SELECT EXISTS (SELECT 1 FROM messages WHERE turn_id = ?1)", [id.0], |r| r.get(0))?)
        })
        .await
    }

    /// Number of stored answers of the model in a turn. The parts of one answer count once.
    pub async fn count_answers(&self, id: TurnId) -> Result<u32, StoreError> {
        self.read(move |c| {
            let count = c
                .prepare_cached(
                    "SELECT count(DISTINCT coalesce(message ->> 'answer', 'at ' || position)) FROM messages
                     WHERE turn_id = ?1 AND message ->> 'role' = 'assistant'",
                )?
                .query_row([id.0], |r| r.get(0))?;
            Ok(count)
        })
        .await
    }

    /// The data of the last turn before this one that sent requests to the model.
    pub async fn turn_memory(&self, app: AppId, before: TurnId) -> Result<TurnMemory, StoreError> {
        self.read(move |c| {
            let memory = c
                .query_row(
                    "SELECT id, coalesce(version, base) AS known, compaction FROM turns
                     WHERE app_id = ?1 AND id < ?2 AND started_at IS NOT NULL ORDER BY id DESC LIMIT 1",
                    params![app.0, before.0],
                    |r| {
                        let memory = TurnMemory {
                            known: row::text_opt(r, "known")?,
                            meanwhile: Vec::new(),
                            compaction: r.get("compaction")?,
                        };
                        Ok((r.get::<_, i64>("id")?, memory))
                    },
                )
                .optional()?;
            let Some((id, mut memory)) = memory else { return Ok(TurnMemory::default()) };
            memory.meanwhile = c
                .prepare_cached(
                    "SELECT v.id FROM versions v
                     JOIN turns t ON t.id = ?2
                     JOIN versions b ON b.app_id = ?1 AND b.id = t.base
                     JOIN versions e ON e.app_id = ?1 AND e.id = t.version
                     WHERE v.app_id = ?1 AND v.number > b.number AND v.number < e.number AND v.kind IN ('edit', 'restore')
                     ORDER BY v.number",
                )?
                .query_map(params![app.0, id], |r| row::text(r, "id"))?
                .collect::<Result<_, _>>()?;
            Ok(memory)
        })
        .await
    }

    /// Stores how far the conversation is compacted (JSON) after a turn.
    pub async fn set_turn_compaction(&self, id: TurnId, compaction: String) -> Result<(), StoreError> {
        self.write(move |t| {
            t.execute("UPDATE turns SET compaction = ?2 WHERE id = ?1", params![id.0, compaction])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NewTurn, TurnMode};

    const AT: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

    #[tokio::test]
    async fn messages_are_appended_and_what_was_refused_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("opens");
        let template = "static-site".parse().expect("a template");
        let app = store.insert_app("one".parse().expect("a name"), template, String::new(), AT).await.expect("made").id;
        let first =
            store.insert_turn(app, NewTurn::of_person("First", TurnMode::Build), AT).await.expect("inserted").id;
        let next = store.insert_turn(app, NewTurn::of_person("Next", TurnMode::Build), AT).await.expect("inserted").id;
        let said = |answer: &str| format!(r#"{{"role":"assistant"{answer}}}"#);
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        let (part, whole) = (said(r#","answer":1"#), said(""));
        store.insert_messages(first, 0, rows(&["{}"])).await.expect("kept");
        store.insert_messages(first, 1, rows(&[&part, "{}", &part])).await.expect("kept");
        store.insert_messages(first, 4, rows(&[&whole, &whole])).await.expect("kept");
        assert_eq!(store.count_answers(first).await.expect("counted"), 3, "the parts of one answer count once");
        store.insert_messages(first, 4, rows(&["[]"])).await.expect("kept");
        store.insert_messages(next, 0, rows(&["{}"])).await.expect("kept");
        let kept = store.messages_before(app, TurnId(next.0 + 1)).await.expect("read");
        let told: Vec<&str> = kept.iter().map(|message| message.json.as_str()).collect();
        assert_eq!(told, ["{}", &part, "{}", &part, "[]", "{}"]);
        let starts: Vec<Option<&str>> =
            kept.iter().map(|message| message.start.as_ref().map(|start| start.prompt.as_str())).collect();
        assert_eq!(starts, [Some("First"), None, None, None, None, Some("Next")]);
        assert_eq!(store.messages_before(app, next).await.expect("read").len(), 5);
    }
}
