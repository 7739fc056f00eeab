//! Reads the schedule of a job from plain words. Pure.

const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// The cron expression (UTC) for these words, if they are plain enough.
pub fn schedule(words: &str) -> Option<String> {
    let words = words.to_lowercase();
    let after = |phrase: &str| words.split_once(phrase).map(|(_, rest)| rest);
    let number = |text: &str| -> Option<u32> {
        let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    if let Some(minutes) = after("every ").and_then(|rest| number(rest).filter(|_| rest.contains("minute"))) {
        return (1..=59).contains(&minutes).then(|| format!("*/{minutes} * * * *"));
    }
    if words.contains("every minute") {
        return Some("* * * * *".into());
    }
    if words.contains("every hour") || words.contains("hourly") {
        return Some("0 * * * *".into());
    }
    let days = if words.contains("weekday") || words.contains("working day") {
        "* * 1-5".to_owned()
    } else if let Some(day) = DAYS.iter().position(|day| words.contains(day)) {
        format!("* * {day}")
    } else if ["every day", "daily", "every morning", "every evening"].iter().any(|phrase| words.contains(phrase)) {
        "* * *".to_owned()
    } else {
        return None;
    };
    let hour = after(" at ").and_then(|rest| {
        let hour = number(rest)?;
        let afternoon =
            rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with("pm");
        Some(if afternoon && hour < 12 { hour + 12 } else { hour })
    });
    let usual = if words.contains("evening") { 18 } else { 7 };
    Some(format!("0 {} {days}", hour.filter(|hour| *hour < 24).unwrap_or(usual)))
}

/// The line of an `app.toml` that sets the schedule.
pub fn schedule_line(app_toml: &str) -> Option<&str> {
    app_toml.lines().find(|line| line.trim_start().starts_with("schedule") && line.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_from_plain_words() {
        for (words, cron) in [
            ("Every 15 minutes, check", Some("*/15 * * * *")),
            ("every minute say hello", Some("* * * * *")),
            ("Hourly report", Some("0 * * * *")),
            ("Every morning at 6, print", Some("0 6 * * *")),
            ("Every day at 5 pm", Some("0 17 * * *")),
            ("Each Monday, print a table", Some("0 7 * * 1")),
            ("Run on weekdays at 9", Some("0 9 * * 1-5")),
            ("Every evening", Some("0 18 * * *")),
            ("every 90 minutes", None),
            ("Print a report", None),
        ] {
            assert_eq!(schedule(words).as_deref(), cron, "{words}");
        }
        assert_eq!(schedule_line("# schedule x\nschedule = \"0 * * * *\"\n"), Some("schedule = \"0 * * * *\""));
    }
}
