//! The time zone of a schedule.

use jiff::tz::TimeZone;

use super::Invalid;

/// A time zone by its IANA name, such as `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timezone(String);

impl Timezone {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Timezone {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let unknown = || {
            Invalid::new(format!(
                "The timezone “{text}” is not known. Use a name such as Europe/Berlin, America/New_York or UTC."
            ))
        };
        // `Local` is a name in some libraries; it would be another zone on each machine.
        if text.eq_ignore_ascii_case("local") {
            return Err(unknown());
        }
        let zone = TimeZone::get(&text).map_err(|_| unknown())?;
        // Clusters know the names in their own spelling only.
        Ok(Self(zone.iana_name().unwrap_or("UTC").to_owned()))
    }
}

impl From<Timezone> for String {
    fn from(zone: Timezone) -> Self {
        zone.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_their_names() {
        let read = |text: &str| Timezone::try_from(text.to_owned()).map(String::from);
        assert_eq!(read("Europe/Berlin").as_deref(), Ok("Europe/Berlin"));
        assert_eq!(read("america/new_york").as_deref(), Ok("America/New_York"));
        assert_eq!(read("UTC").as_deref(), Ok("UTC"));
        for bad in ["", "Local", "Mars/Olympus", "+02:00", "../etc/passwd", "Europe/Berlin\n"] {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.contains("is not known. Use a name such as Europe/Berlin"), "{error}");
        }
    }
}
