//! The schedule of a job, in a form that every cron interprets in the same way.
//!
//! Cron programs differ in extensions of the five classic fields: some support `L` and `#`, others do
//! not, and Sunday is 0, 7 or both. Extensions that are not supported everywhere are rejected at once, and the
//! rest is normalised, so that a job runs at the same times on both runtimes.

use super::Invalid;

/// A five-field cron expression: numbers, lists, ranges and steps; Sunday is 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule(String);

/// One of the five fields: its title, its range, and names of numbers.
struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    /// The first is the name of `least`.
    names: &'static [&'static str],
}

/// Sunday's other number; only the day of week goes up to it.
const SUNDAY: u8 = 7;

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of month", least: 1, most: 31, names: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of week", least: 0, most: SUNDAY, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

impl Schedule {
    /// The expression itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Schedule {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl std::str::FromStr for Schedule {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(Invalid::new(format!(
                "The schedule “{text}” cannot be used: it needs five fields, which are minute, hour, day of month, \
                 month and day of week. “0 7 * * *” is 7:00 each day."
            )));
        }
        let mut read = Vec::new();
        for (field, written) in FIELDS.iter().zip(fields) {
            read.push(field.read(written).map_err(|why| {
                Invalid::new(format!("The schedule “{text}” cannot be used: “{written}” as {}: {why}", field.name))
            })?);
        }
        Ok(Self(read.join(" ")))
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.0
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One item of a field's list: start, end, and step.
#[derive(Clone, Copy)]
enum Item {
    Every(u8),
    Range { from: u8, to: u8, step: u8 },
}

impl Field {
    /// The normalised field.
    fn read(&self, written: &str) -> Result<String, String> {
        let mut list: Vec<String> = Vec::new();
        for item in written.split(',') {
            let item = self.item(item)?;
            for text in self.texts(item) {
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
        // A star includes everything else in the list.
        Ok(if list.iter().any(|item| item == "*") { "*".to_owned() } else { list.join(",") })
    }

    fn texts(&self, item: Item) -> Vec<String> {
        let text = match item {
            Item::Every(1) => "*".to_owned(),
            // A step beyond the end has no effect.
            Item::Every(step) if step > self.last() - self.least => self.least.to_string(),
            // Cron programs differ in the days that this selects.
            Item::Every(step) if self.most == SUNDAY => format!("0-6/{step}"),
            Item::Every(step) => format!("*/{step}"),
            Item::Range { from, to: SUNDAY, step } if self.most == SUNDAY => {
                return (from..=SUNDAY).step_by(step.into()).map(|day| (day % SUNDAY).to_string()).collect();
            }
            Item::Range { from, to, step } if from == to || step > to - from => from.to_string(),
            Item::Range { from, to, step: 1 } => format!("{from}-{to}"),
            Item::Range { from, to, step } => format!("{from}-{to}/{step}"),
        };
        vec![text]
    }

    fn item(&self, item: &str) -> Result<Item, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            None if range == "*" => return Ok(Item::Every(step.unwrap_or(1))),
            None => {
                let from = self.number(range)?;
                (from, if step.is_some() { self.last().max(from) } else { from })
            }
            Some((from, to)) => {
                let (from, to) = (self.number(from)?, self.number(to)?);
                // A range that ends on Sunday.
                (from, if self.most == SUNDAY && to == 0 && from > 0 { SUNDAY } else { to })
            }
        };
        if from > to {
            return Err(format!("the range “{range}” ends before it begins."));
        }
        Ok(Item::Range { from, to, step: step.unwrap_or(1) })
    }

    /// The last number that is not an alias of another.
    fn last(&self) -> u8 {
        if self.most == SUNDAY { SUNDAY - 1 } else { self.most }
    }

    fn number(&self, text: &str) -> Result<u8, String> {
        let place = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match place.and_then(|place| u8::try_from(place).ok()) {
            Some(place) => Some(self.least + place),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number.filter(|number| (self.least..=self.most).contains(number)).ok_or_else(|| {
            let names = match self.names {
                [] => String::new(),
                [first, .., last] => format!(" or names from {first} to {last}"),
                [only] => format!(" or {only}"),
            };
            format!(
                "it allows numbers from {} to {}{names}, lists such as 1,3, ranges such as 1-5, steps such as */2, and \
                 none of L, W, # and ?.",
                self.least, self.most
            )
        })
    }

    fn step(&self, text: &str) -> Result<u8, String> {
        let step = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
        step.filter(|step| (1..=self.most).contains(step))
            .ok_or_else(|| format!("a step is a number from 1 to {}, as in */{}.", self.most, self.most.min(5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_normalised() {
        for (written, read) in [
            ("* * * * *", "* * * * *"),
            ("  0   7 * *  1 ", "0 7 * * 1"),
            ("*/15 * * * *", "*/15 * * * *"),
            ("*/1 0-23 */2 * *", "* 0-23 */2 * *"),
            ("5/20 * * * *", "5-59/20 * * * *"),
            ("0,30 8-18/2 1,15 * *", "0,30 8-18/2 1,15 * *"),
            ("0 0 1 jan,JUL-sep *", "0 0 1 1,7-9 *"),
            ("0 0 * * 7", "0 0 * * 0"),
            ("0 0 * * 5-7", "0 0 * * 5,6,0"),
            ("0 0 * * 1-7/2", "0 0 * * 1,3,5,0"),
            ("0 0 * * 0-7", "0 0 * * 0,1,2,3,4,5,6"),
            ("0 0 * * 0,7", "0 0 * * 0"),
            ("0 0 * * */2", "0 0 * * 0-6/2"),
            ("0 0 * * 3/2", "0 0 * * 3-6/2"),
            ("0 0 * * mon-FRI", "0 0 * * 1-5"),
            ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
            ("0 0 * * 7/3", "0 0 * * 0"),
            ("*/59 */23 */31 */12 */7", "*/59 */23 1 1 0"),
            ("5-6/9 * * * 5-7/2", "5 * * * 5,0"),
            ("08 07 * * *", "8 7 * * *"),
            ("1,* * * * 1,*", "* * * * *"),
        ] {
            let schedule: Schedule = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(schedule.as_str(), read, "{written}");
            let again: Schedule = read.parse().expect("the form is itself a schedule");
            assert_eq!(again, schedule, "{written}");
        }
    }

    #[test]
    fn extensions_of_some_crons_are_rejected() {
        for (written, said) in [
            ("", "five fields"),
            ("* * * *", "five fields"),
            ("0 0 12 * * *", "five fields"),
            ("@daily", "five fields"),
            ("60 * * * *", "“60” as minute: it allows numbers from 0 to 59"),
            ("0 24 * * *", "“24” as hour"),
            ("0 0 0 * *", "“0” as day of month: it allows numbers from 1 to 31"),
            ("0 0 L * *", "none of L, W, # and ?"),
            ("0 0 15W * *", "“15W” as day of month"),
            ("0 0 ? * 1", "“?” as day of month"),
            ("0 0 * 13 *", "“13” as month: it allows numbers from 1 to 12 or names from jan to dec"),
            ("0 0 * * 1#2", "“1#2” as day of week"),
            ("0 0 * * 5L", "“5L” as day of week"),
            ("0 0 * * 8", "“8” as day of week"),
            ("0 0 * * monday", "names from sun to sat"),
            ("0 0 * * 5-1", "the range “5-1” ends before it begins"),
            ("0 18-6 * * *", "the range “18-6” ends before it begins"),
            ("*/0 * * * *", "a step is a number from 1 to 59"),
            ("*/60 * * * *", "a step is a number from 1 to 59"),
            ("/5 * * * *", "“/5” as minute"),
            ("-5 * * * *", "“-5” as minute"),
            ("1, * * * *", "“1,” as minute"),
            ("+1 * * * *", "“+1” as minute"),
            ("300 * * * *", "“300” as minute"),
            ("a b c d e", "“a” as minute"),
        ] {
            let error = written.parse::<Schedule>().expect_err(written).to_string();
            assert!(error.contains(said), "{written}: {error}");
            assert!(error.contains(&format!("“{written}”")), "{written}: {error}");
        }
    }
}
