//! What an app's own OpenAPI document says of its operations: their parameters, and an example of their bodies.
//!
//! The document is foreign text: references in it may go in circles, so depth and size of what is read are bounded. Pure.

mod document;

pub(super) use document::Json;
use document::Object;

/// One operation of an app's OpenAPI document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET`, `POST`, …
    pub method: String,
    /// Its path, with parameters in braces.
    pub path: String,
    /// A summary in one line, if the app has one.
    pub summary: String,
    /// Its documentation.
    pub description: String,
    /// What its path, its query and its headers take.
    pub parameters: Vec<Parameter>,
    /// What its body is like; none if it takes none.
    pub body: Option<RequestBody>,
}

/// The operations that an app describes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// In the order of the document.
    pub list: Vec<Endpoint>,
    /// The number of further ones.
    pub left_out: usize,
}

/// Where a parameter of an operation is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParameterPlace {
    /// As a part of the path.
    Path,
    /// After the question mark.
    Query,
    /// As a header.
    Header,
}

impl ParameterPlace {
    /// `path`, `query` or `header`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// A parameter of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it is sent.
    pub place: ParameterPlace,
    /// The operation needs it.
    pub required: bool,
    /// A value to begin with; empty if the document names none.
    pub example: String,
    /// Its values, if the document lists them.
    pub choices: Vec<String>,
    /// Its type.
    pub about: String,
    /// Its documentation.
    pub description: String,
}

/// The body of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestBody {
    /// Such as `application/json`.
    pub content_type: String,
    /// An example.
    pub example: String,
}

/// Maximum bytes of a document.
pub(super) const DOCUMENT_MAX: usize = 1024 * 1024;
/// Maximum number of operations that are read of a document.
const ENDPOINTS_MAX: usize = 200;
/// Maximum bytes of all texts that are taken from a document: they become one page.
const TEXT_MAX: usize = 384 * 1024;
/// Maximum nesting of an example, references included.
const DEPTH_MAX: usize = 8;
/// Maximum number of values in an example, and in all examples of a document.
const VALUES_MAX: usize = 200;
const ALL_VALUES_MAX: usize = 8_000;
/// Maximum number of parameters of an operation.
const PARAMETERS_MAX: usize = 40;
/// Maximum number of alternatives and of listed values that are read.
const CHOICES_MAX: usize = 50;
/// Maximum bytes of an example that a document gives, of a body, and of a reference.
const GIVEN_MAX: usize = 8 * 1024;
const BODY_MAX: usize = 16 * 1024;
const REFERENCE_MAX: usize = 500;
/// Maximum characters of an operation's documentation, and of a name, a summary or a value.
const DESCRIPTION_MAX: usize = 1_000;
const NAME_MAX: usize = 300;

/// The beginning of a text.
fn shown(text: &str, limit: usize) -> String {
    text.trim().chars().take(limit).collect()
}

/// The operations of a document.
pub(super) fn endpoints(document: &Json) -> Endpoints {
    let mut found = Endpoints::default();
    let mut reader = Reader { document, values: ALL_VALUES_MAX, open: Vec::new() };
    let mut text = TEXT_MAX;
    for (path, operations) in document.get("paths").members() {
        for (method, operation) in operations.members() {
            if !matches!(method, "get" | "post" | "put" | "patch" | "delete" | "head" | "options") {
                continue;
            }
            if found.list.len() == ENDPOINTS_MAX || !path.starts_with('/') || path.chars().count() > NAME_MAX {
                found.left_out += 1;
                continue;
            }
            let endpoint = Endpoint {
                method: method.to_ascii_uppercase(),
                path: path.to_owned(),
                summary: shown(operation.get("summary").text().lines().next().unwrap_or_default(), NAME_MAX),
                description: shown(operation.get("description").text(), DESCRIPTION_MAX),
                parameters: reader.parameters(path, operations.get("parameters"), operation),
                body: reader.body(method, operation),
            };
            match text.checked_sub(endpoint.size()) {
                Some(left) => {
                    text = left;
                    found.list.push(endpoint);
                }
                None => found.left_out += 1,
            }
        }
    }
    found
}

impl Endpoint {
    /// The bytes of its texts.
    fn size(&self) -> usize {
        let parameters = self.parameters.iter().map(|one| {
            one.name.len()
                + one.example.len()
                + one.about.len()
                + one.description.len()
                + one.choices.iter().map(String::len).sum::<usize>()
        });
        let body = self.body.as_ref().map_or(0, |body| body.content_type.len() + body.example.len());
        self.path.len() + self.summary.len() + self.description.len() + parameters.sum::<usize>() + body
    }
}

struct Reader<'a> {
    document: &'a Json,
    /// How many more values its examples may have.
    values: usize,
    /// The objects around the current one: a schema that contains itself is not repeated.
    open: Vec<&'a Json>,
}

impl<'a> Reader<'a> {
    /// Whether an example of this schema is being made.
    fn is_open(&self, schema: &'a Json) -> bool {
        let schema = self.resolved(schema);
        let chosen = self.chosen(schema);
        self.open.iter().any(|open| std::ptr::eq(*open, schema) || std::ptr::eq(*open, chosen))
    }

    /// What a reference within the document leads to; else the value itself.
    fn resolved(&self, value: &'a Json) -> &'a Json {
        let mut value = value;
        for _ in 0..DEPTH_MAX {
            let reference = value.get("$ref").as_str().filter(|reference| reference.len() <= REFERENCE_MAX);
            let Some(pointer) = reference.and_then(|reference| reference.strip_prefix('#')) else { return value };
            value = self.document.pointer(pointer);
        }
        value
    }

    /// The parameters of an operation: its own, and those that its path declares for all operations. One that is only in
    /// the path's text is a text.
    fn parameters(&self, path: &str, shared: &'a Json, operation: &'a Json) -> Vec<Parameter> {
        let mut parameters: Vec<Parameter> = Vec::new();
        let declared = [operation.get("parameters"), shared];
        for parameter in declared.into_iter().flat_map(|list| list.as_list().iter().take(PARAMETERS_MAX)) {
            let parameter = self.resolved(parameter);
            let place = match parameter.get("in").text() {
                "path" => ParameterPlace::Path,
                "query" => ParameterPlace::Query,
                "header" => ParameterPlace::Header,
                _ => continue,
            };
            let name = parameter.get("name").text();
            if name.is_empty()
                || name.chars().count() > NAME_MAX
                || parameters.iter().any(|known| known.name == name && known.place == place)
            {
                continue;
            }
            parameters.push(self.parameter(name, place, parameter));
        }
        for (name, _) in placeholders(path) {
            let is_known = |known: &Parameter| known.place == ParameterPlace::Path && known.name == name;
            if !parameters.iter().any(is_known) && parameters.len() < 2 * PARAMETERS_MAX {
                parameters.push(Parameter {
                    name: name.to_owned(),
                    place: ParameterPlace::Path,
                    required: true,
                    example: String::new(),
                    choices: Vec::new(),
                    about: String::new(),
                    description: String::new(),
                });
            }
        }
        parameters.sort_by_key(|parameter| (parameter.place, !parameter.required));
        parameters
    }

    fn parameter(&self, name: &str, place: ParameterPlace, parameter: &'a Json) -> Parameter {
        let outer = self.resolved(parameter.get("schema"));
        let schema = self.chosen(outer);
        let given = [
            parameter.get("example"),
            self.first_of(parameter.get("examples")),
            outer.get("example"),
            outer.get("examples").first(),
            schema.get("example"),
            schema.get("examples").first(),
            outer.get("default"),
            schema.get("default"),
        ];
        Parameter {
            name: name.to_owned(),
            place,
            required: place == ParameterPlace::Path || parameter.get("required").is_true(),
            example: given.into_iter().find_map(as_text).unwrap_or_default(),
            choices: match type_of(schema) {
                "boolean" => vec!["true".to_owned(), "false".to_owned()],
                _ => schema.get("enum").as_list().iter().take(CHOICES_MAX).filter_map(as_text).collect(),
            },
            about: match type_of(schema) {
                "integer" => "whole number",
                "number" => "number",
                "string" => match schema.get("format").text() {
                    "date" => "date",
                    "date-time" => "date and time",
                    "uuid" => "UUID",
                    _ => "text",
                },
                "boolean" => "true or false",
                "array" => "list",
                _ => "",
            }
            .to_owned(),
            description: shown(parameter.get("description").text(), NAME_MAX),
        }
    }

    /// An OpenAPI `examples` object: the value of its first one.
    fn first_of(&self, examples: &'a Json) -> &'a Json {
        examples.members().next().map_or(&Json::Null, |(_, example)| self.resolved(example).get("value"))
    }

    /// The first alternative of a schema that has some and that is not null.
    fn chosen(&self, schema: &'a Json) -> &'a Json {
        for choice in ["anyOf", "oneOf"] {
            let mut all = schema.get(choice).as_list().iter().take(CHOICES_MAX);
            if let Some(one) = all.find(|one| one.get("type").text() != "null") {
                return self.resolved(one);
            }
        }
        schema
    }

    /// What an operation's body is like; none if it takes none.
    fn body(&mut self, method: &str, operation: &'a Json) -> Option<RequestBody> {
        if !matches!(method, "post" | "put" | "patch" | "delete") {
            return None;
        }
        let content = self.resolved(operation.get("requestBody")).get("content");
        let is_json = |name: &str| {
            let kind = name.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
        };
        let of_json = content.members().find(|(name, _)| is_json(name));
        let Some((name, media)) = of_json.or_else(|| content.members().next()) else {
            // An operation that declares no body may read one all the same.
            return (method != "delete")
                .then(|| RequestBody { content_type: "application/json".to_owned(), example: "{}".to_owned() });
        };
        let mut left = VALUES_MAX;
        let given = [media.get("example"), self.first_of(media.get("examples"))];
        let example = match given.into_iter().find_map(small) {
            Some(given) => given.clone(),
            None => self.example(media.get("schema"), DEPTH_MAX, &mut left),
        };
        let text = match (is_json(name), &example) {
            (true, example) => serde_json::to_string_pretty(example).unwrap_or_default(),
            (false, Json::Object(fields)) if name == "application/x-www-form-urlencoded" => {
                let fields = fields.iter().map(|(name, value)| (name, as_text(value).unwrap_or_default()));
                form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
            }
            (false, Json::Text(text)) => text.clone(),
            (false, _) => String::new(),
        };
        let example = match text.len() {
            0..=BODY_MAX => text,
            _ if is_json(name) => "{}".to_owned(),
            _ => String::new(),
        };
        Some(RequestBody { content_type: shown(name, NAME_MAX), example })
    }

    /// A value that fits a schema: its example or default, else one of its type.
    fn example(&mut self, schema: &'a Json, depth: usize, left: &mut usize) -> Json {
        let schema = self.resolved(schema);
        if depth == 0 || *left == 0 || self.values == 0 {
            return Json::Null;
        }
        *left -= 1;
        self.values -= 1;
        let given = [
            schema.get("example"),
            schema.get("examples").first(),
            schema.get("default"),
            schema.get("const"),
            schema.get("enum").first(),
        ];
        if let Some(value) = given.into_iter().find_map(small) {
            return value.clone();
        }
        if let Json::List(parts) = schema.get("allOf") {
            let mut whole = Object::default();
            for part in parts.iter().take(CHOICES_MAX) {
                if let Json::Object(part) = self.example(part, depth - 1, left) {
                    part.iter().for_each(|(name, value)| whole.insert(name.to_owned(), value.clone()));
                }
            }
            return Json::Object(whole);
        }
        let chosen = self.chosen(schema);
        if !std::ptr::eq(chosen, schema) {
            return self.example(chosen, depth - 1, left);
        }
        match type_of(schema) {
            "object" => {
                let mut properties = Object::default();
                self.open.push(schema);
                for (name, schema) in schema.get("properties").members() {
                    // What is beyond the limits is left out.
                    if depth == 1 || *left == 0 || self.values == 0 {
                        break;
                    }
                    // What only the app writes is not sent.
                    let is_sent = !self.resolved(schema).get("readOnly").is_true();
                    if name.len() <= NAME_MAX && is_sent && !self.is_open(schema) {
                        properties.insert(name.to_owned(), self.example(schema, depth - 1, left));
                    }
                }
                self.open.pop();
                Json::Object(properties)
            }
            "array" if depth > 1 && !self.is_open(schema.get("items")) => {
                Json::List(vec![self.example(schema.get("items"), depth - 1, left)])
            }
            "array" => Json::List(Vec::new()),
            "integer" | "number" => match schema.get("minimum") {
                Json::Number(least) => Json::Number(least.clone()),
                _ => Json::Number(0.into()),
            },
            "boolean" => Json::Bool(false),
            "string" => Json::Text(
                match schema.get("format").text() {
                    "date" => "2026-01-31",
                    "date-time" => "2026-01-31T12:00:00Z",
                    "time" => "12:00:00",
                    "email" => "someone@example.org",
                    "uri" => "https://example.org/",
                    "uuid" => "00000000-0000-4000-8000-000000000000",
                    _ => "text",
                }
                .to_owned(),
            ),
            _ => Json::Null,
        }
    }
}

/// The parameters in the text of a path: the name of each, and whether it takes slashes, as `{path:path}` of some
/// frameworks does.
pub fn placeholders(path: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        found.push(name.split_once(':').map_or((name, false), |(name, kind)| (name, kind == "path")));
        rest = after;
    }
    found
}

fn type_of(schema: &Json) -> &str {
    match schema.get("type") {
        Json::Text(kind) => kind,
        Json::List(kinds) => {
            kinds.iter().take(CHOICES_MAX).filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or_default()
        }
        _ if schema.get("properties").as_object().is_some() => "object",
        _ => "",
    }
}

fn as_text(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) if text.len() <= GIVEN_MAX => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A value that the document gives, unless it is null or large.
fn small(value: &Json) -> Option<&Json> {
    fn fits(value: &Json, left: &mut usize, depth: usize) -> bool {
        let size = match value {
            Json::Text(text) => text.len() + 2,
            _ => 4,
        };
        let Some(rest) = left.checked_sub(size) else { return false };
        *left = rest;
        depth > 0
            && value.as_list().iter().all(|item| fits(item, left, depth - 1))
            && value.members().all(|(name, value)| {
                left.checked_sub(name.len()).is_some_and(|rest| {
                    *left = rest;
                    fits(value, left, depth - 1)
                })
            })
    }
    (!value.is_null() && fits(value, &mut { GIVEN_MAX }, 32)).then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &serde_json::Value) -> Json {
        serde_json::from_str(&document.to_string()).expect("JSON")
    }

    /// As FastAPI writes it, with one operation.
    fn document(method: &str, operation: &serde_json::Value) -> serde_json::Value {
        json!({"paths": {"/items/{item_id}/{part:path}": {method: operation}}, "components": {"schemas": {
            "Item": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "examples": ["rope"]},
                "id": {"type": "integer", "readOnly": true},
                "price": {"type": "number", "minimum": 1},
                "tags": {"type": "array", "items": {"type": "string"}},
                "maker": {"anyOf": [{"$ref": "#/components/schemas/Maker"}, {"type": "null"}]},
            }},
            "Maker": {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}, "of": {"$ref": "#/components/schemas/Maker"}}},
        }}})
    }

    fn only(document: &serde_json::Value) -> Endpoint {
        endpoints(&read(document)).list.remove(0)
    }

    fn taking(schema: &serde_json::Value) -> serde_json::Value {
        json!({"requestBody": {"content": {"application/json": {"schema": schema}}}})
    }

    #[test]
    fn a_body_is_shown_by_an_example_of_its_schema() {
        let operation = taking(&json!({"$ref": "#/components/schemas/Item"}));
        let found = only(&document("post", &operation)).body.expect("it takes one");
        assert_eq!(found.content_type, "application/json");
        let body: serde_json::Value = serde_json::from_str(&found.example).expect("JSON");
        assert_eq!((&body["name"], &body["price"], &body["tags"]), (&json!("rope"), &json!(1), &json!(["text"])));
        assert_eq!(body["maker"]["mail"], "someone@example.org");
        assert_eq!(body.get("id"), None, "the app sets it");
        assert_eq!(body["maker"].get("of"), None, "a maker of a maker is not repeated");
        assert!(only(&document("get", &operation)).body.is_none());
        let undeclared = only(&document("post", &json!({}))).body.expect("it may take one");
        assert_eq!(undeclared.example, "{}");
    }

    #[test]
    fn what_the_document_gives_comes_first_and_in_its_order() {
        let text = r#"{"paths":{"/z":{"post":{"requestBody":{"content":{"application/json":{
            "schema":{"type":"object","properties":{"zeta":{"type":"string"},"alpha":{"default":7},"mid":{"enum":["b","a"]}}}}}}}},
            "/a":{"put":{"requestBody":{"content":{"application/json":{"examples":{"one":{"value":{"y":1,"x":2}}},"schema":{"type":"object"}}}}}},
            "/m":{"patch":{"requestBody":{"content":{"application/json":{"schema":{"allOf":[
                {"properties":{"q":{"type":"boolean"}}},{"type":["null","object"],"properties":{"b":{"type":["string","null"]}}}]}}}}}}}}"#;
        let document: Json = serde_json::from_str(text).expect("JSON");
        let found: Vec<String> = endpoints(&document)
            .list
            .into_iter()
            .map(|one| {
                format!("{} {} {}", one.method, one.path, one.body.expect("a body").example.replace(['\n', ' '], ""))
            })
            .collect();
        assert_eq!(
            found,
            [
                r#"POST /z {"zeta":"text","alpha":7,"mid":"b"}"#,
                r#"PUT /a {"y":1,"x":2}"#,
                r#"PATCH /m {"q":false,"b":"text"}"#
            ]
        );
    }

    #[test]
    fn forms_and_texts_have_their_own_kind_of_body() {
        let body = |kind: &str, schema: serde_json::Value| {
            let operation = json!({"requestBody": {"content": {kind: {"schema": schema}}}});
            let body = only(&document("post", &operation)).body.expect("it takes one");
            (body.content_type, body.example)
        };
        let form = json!({"type": "object", "properties": {"user": {"default": "a b"}, "age": {"type": "integer"}}});
        let (kind, example) = body("application/x-www-form-urlencoded", form);
        assert_eq!(kind, "application/x-www-form-urlencoded");
        let pairs: Vec<_> = form_urlencoded::parse(example.as_bytes()).into_owned().collect();
        assert!(
            pairs.contains(&("user".into(), "a b".into())) && pairs.contains(&("age".into(), "0".into())),
            "{example}"
        );
        assert_eq!(body("text/plain", json!({"type": "string"})).1, "text");
        assert_eq!(body("multipart/form-data", json!({"type": "object"})).1, "");
        assert!(body("application/vnd.api+json", json!({"type": "object"})).1.starts_with('{'));
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let mut document = document("post", &json!({}));
        let wide: serde_json::Map<String, serde_json::Value> =
            (0..60).map(|n| (format!("p{n}"), json!({"$ref": "#/components/schemas/Wide"}))).collect();
        document["components"]["schemas"]["Wide"] = json!({"type": "object", "properties": wide});
        document["components"]["schemas"]["Loop"] = json!({"$ref": "#/components/schemas/Loop"});
        let all: Vec<_> = (0..40).map(|_| json!({"$ref": "#/components/schemas/All"})).collect();
        document["components"]["schemas"]["All"] = json!({"allOf": all});
        document["components"]["schemas"]["Any"] = json!({"anyOf": [{"$ref": "#/components/schemas/Any"}]});
        document["components"]["schemas"]["List"] =
            json!({"type": "array", "items": {"$ref": "#/components/schemas/List"}});
        for name in ["Wide", "Loop", "All", "Any", "List"] {
            let mut document = document.clone();
            document["paths"]["/items/{item_id}/{part:path}"]["post"] =
                taking(&json!({"$ref": format!("#/components/schemas/{name}")}));
            let body = only(&document).body.expect("it takes one");
            assert!(body.example.len() <= BODY_MAX, "{name}: {} bytes", body.example.len());
        }
    }

    #[test]
    fn large_documents_stay_within_bounds() {
        let large = "x".repeat(GIVEN_MAX - 10);
        let operation = json!({"description": "d".repeat(5_000), "summary": "s\nmore", "requestBody": {"content": {
            "application/json": {"schema": {"type": "object", "properties": {"a": {"default": large}}}}}}});
        let paths: serde_json::Map<_, _> = (0..300).map(|n| (format!("/{n}"), json!({"put": operation}))).collect();
        let found = endpoints(&read(&json!({"paths": paths})));
        assert_eq!(found.list.len() + found.left_out, 300);
        assert!(found.list.iter().map(Endpoint::size).sum::<usize>() <= TEXT_MAX);
        assert!(found.list.len() > 20);
        assert_eq!((found.list[0].description.len(), found.list[0].summary.as_str()), (DESCRIPTION_MAX, "s"));
        let small = json!({"paths": (0..300).map(|n| (format!("/{n}"), json!({"get": {}}))).collect::<serde_json::Map<_, _>>()});
        let found = endpoints(&read(&small));
        assert_eq!((found.list.len(), found.left_out), (ENDPOINTS_MAX, 100));
        // An example beyond the bound is not taken over.
        let huge =
            json!({"type": "object", "properties": {"a": {"type": "string", "default": "x".repeat(GIVEN_MAX + 1)}}});
        let body = only(&document("put", &taking(&huge))).body.expect("it takes one");
        assert_eq!(body.example.replace(['\n', ' '], ""), r#"{"a":"text"}"#);
        for odd in
            [json!(7), json!({"paths": 7}), json!({"paths": {"/a": {"get": 7}}}), json!({"paths": {"a": {"get": {}}}})]
        {
            assert!(endpoints(&read(&odd)).list.iter().all(|one| one.parameters.is_empty()), "{odd}");
        }
    }

    #[test]
    fn parameters_have_their_types_and_examples() {
        let operation = json!({"parameters": [
            {"name": "q", "in": "query", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "description": "What to find."},
            {"name": "item_id", "in": "path", "required": true, "schema": {"type": "integer"}},
            {"name": "x-key", "in": "header", "required": true, "schema": {"type": "string", "default": "k"}},
            {"name": "session", "in": "cookie", "schema": {"type": "string"}},
            {"name": "deep", "in": "query", "schema": {"type": "boolean"}},
            {"name": "day", "in": "query", "required": true, "examples": {"a": {"value": "2026-02-01"}}, "schema": {"type": "string", "format": "date"}},
        ]});
        let mut document = document("get", &operation);
        document["paths"]["/items/{item_id}/{part:path}"]["parameters"] =
            json!([{"name": "lang", "in": "query", "schema": {"enum": ["en", "de"], "default": "en"}}]);
        let words: Vec<String> = only(&document)
            .parameters
            .iter()
            .map(|one| {
                let (place, choices) = (one.place.as_str(), one.choices.join("|"));
                format!("{} {place} {} “{}” {} {choices}", one.name, one.required, one.example, one.about)
            })
            .collect();
        assert_eq!(
            words,
            [
                "item_id path true “” whole number ",
                "part path true “”  ",
                "day query true “2026-02-01” date ",
                "q query false “” text ",
                "deep query false “” true or false true|false",
                "lang query false “en”  en|de",
                "x-key header true “k” text ",
            ]
        );
        assert_eq!(only(&document).parameters[3].description, "What to find.");
    }
}
