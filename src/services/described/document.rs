//! JSON whose objects keep the order of their sender: what people read follows the order in which an app declares it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::services) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// The members of an object, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::services) struct Object {
    members: Vec<(String, Json)>,
    /// Positions in `members`, sorted by name: documents are large, and references are looked up often.
    by_name: Vec<u32>,
}

static NULL: Json = Json::Null;

impl Object {
    /// Sets a member. One that exists keeps its place.
    pub(super) fn insert(&mut self, name: String, value: Json) {
        match self.find(&name) {
            Ok(at) => self.members[at].1 = value,
            Err(place) => {
                let Ok(at) = u32::try_from(self.members.len()) else { return };
                self.by_name.insert(place, at);
                self.members.push((name, value));
            }
        }
    }

    /// From members that may repeat names: the last one counts, as in most readers of JSON.
    fn from_members(members: Vec<(String, Json)>) -> Self {
        let mut by_name: Vec<u32> = (0..u32::try_from(members.len()).unwrap_or(u32::MAX)).collect();
        by_name.sort_by(|a, b| members[*a as usize].0.cmp(&members[*b as usize].0));
        by_name.dedup_by(|later, kept| {
            let same = members[*later as usize].0 == members[*kept as usize].0;
            if same {
                *kept = *later;
            }
            same
        });
        if by_name.len() == members.len() {
            return Self { members, by_name };
        }
        let mut places = by_name;
        places.sort_unstable();
        let mut kept = places.into_iter().peekable();
        let unique = members
            .into_iter()
            .enumerate()
            .filter_map(|(at, member)| kept.next_if(|place| *place as usize == at).map(|_| member));
        Self::from_members(unique.collect())
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.by_name
            .binary_search_by(|at| self.members[*at as usize].0.as_str().cmp(name))
            .map(|place| self.by_name[place] as usize)
    }

    /// A member.
    pub(in crate::services) fn get(&self, name: &str) -> Option<&Json> {
        self.find(name).ok().map(|at| &self.members[at].1)
    }

    /// The members in order.
    pub(in crate::services) fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Json {
    /// A member of an object; null if it is none or has none of this name.
    pub(in crate::services) fn get(&self, name: &str) -> &Self {
        self.as_object().and_then(|object| object.get(name)).unwrap_or(&NULL)
    }

    /// The first item of a list; null if there is none.
    pub(super) fn first(&self) -> &Self {
        self.as_list().first().unwrap_or(&NULL)
    }

    /// The items of a list; none of other values.
    pub(in crate::services) fn as_list(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The object.
    pub(in crate::services) fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The members of an object; none of other values.
    pub(in crate::services) fn members(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.as_object().into_iter().flat_map(Object::iter)
    }

    /// The text.
    pub(in crate::services) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The text; empty for other values.
    pub(in crate::services) fn text(&self) -> &str {
        self.as_str().unwrap_or_default()
    }

    /// Whether it is null or missing.
    pub(super) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// Whether it is `true`.
    pub(super) fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    /// What a JSON pointer, such as `/components/schemas/Item`, leads to; null if that is nothing.
    pub(super) fn pointer(&self, pointer: &str) -> &Self {
        let mut value = self;
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            value = match value {
                Self::List(items) => name.parse::<usize>().ok().and_then(|at| items.get(at)).unwrap_or(&NULL),
                other => other.get(&name),
            };
        }
        value
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = entries.next_entry()? {
                    members.push(member);
                }
                Ok(Json::Object(Object::from_members(members)))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.members.len()))?;
                for (name, value) in &object.members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Json {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn objects_keep_their_order_and_find_their_members() {
        let text = r#"{"z":1,"a":{"y":[true,null,"x"],"b":-2.5},"m":18446744073709551615}"#;
        let json = read(text);
        assert_eq!(serde_json::to_string(&json).expect("written"), text);
        assert_eq!(json.get("a").get("y").as_list().len(), 3);
        assert!(json.get("nothing").get("at all").is_null());
        let repeated = read(r#"{"b":1,"a":2,"b":3,"c":4,"b":5}"#);
        assert_eq!(serde_json::to_string(&repeated).expect("written"), r#"{"a":2,"c":4,"b":5}"#);
        assert_eq!(*repeated.get("b"), read("5"));
    }

    #[test]
    fn pointers_lead_into_objects_and_lists() {
        let json = read(r#"{"a/b":[{"c~d":1}],"e":2}"#);
        assert_eq!(*json.pointer("/a~1b/0/c~0d"), read("1"));
        assert_eq!(*json.pointer("/e"), read("2"));
        for nowhere in ["/x", "/a~1b/1", "/a~1b/-1", "/e/x"] {
            assert!(json.pointer(nowhere).is_null(), "{nowhere}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        assert!(serde_json::from_str::<Json>(&"[".repeat(100_000)).is_err());
    }
}
