//! Crawls a site's pages and everything that they link to and load: each address has to answer with the expected type.
//!
//! Starts at `/`, follows only addresses on the same host, also checks pages without a link to them, and stops
//! at a limit. The same crawl checks a version over HTTP and files that were never deployed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Url;

use super::html::{self, Use};
use super::{Asker, Question, Reader, Smoke, css, first_lines};
use crate::bounded_work::Budget;
use crate::domain::SmokeCheck;

/// Maximum number of addresses.
const ADDRESSES_MAX: usize = 200;
/// Maximum size of a page or stylesheet, in bytes.
const TEXT_MAX: usize = 2 * 1024 * 1024;
/// Concurrent requests.
const AT_ONCE: usize = 6;
/// Number of failed checks after which the crawl stops.
const FAILED_MAX: usize = 25;

/// The response of an address.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// HTTP status.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: String,
    /// The target, if it is a redirect.
    pub location: Option<String>,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// Its duration in milliseconds.
    pub millis: u64,
}

pub(super) async fn check(asker: &Asker, smoke: &Smoke<'_>, checks: &mut Vec<SmokeCheck>) {
    let fetch = |path: String| async move {
        let question = Question { host: smoke.host, body_max: TEXT_MAX, ..Question::get(&path) };
        let answer = asker.ask(smoke.address, question).await.map_err(|error| error.to_string())?;
        Ok(Fetched {
            status: answer.status,
            content_type: answer.header("content-type").to_owned(),
            location: answer.location().map(str::to_owned),
            millis: answer.millis,
            body: answer.body,
        })
    };
    crawl_into(smoke.host, smoke.health, smoke.pages, &smoke.reader, fetch, checks).await;
}

/// The address of a page from its file's path in the site's folder; `None` for other files, and for files that are not served.
pub fn page_address(file: &str) -> Option<String> {
    let is_hidden = file.split('/').any(|part| part.starts_with('.'));
    if is_hidden {
        return None;
    }
    let page = match file.strip_suffix(".html")?.strip_suffix("index") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
        _ => file,
    };
    let mut url = Url::parse("http://localhost/").ok()?;
    url.set_path(page);
    Some(url.path().to_owned())
}

/// Deadline for parsing one page or stylesheet.
const READ_TIME: Duration = Duration::from_secs(2);

/// Checks `pages`, and everything that is reachable from `start`. `fetch` gets paths with their query.
pub async fn crawl<F, A>(host: &str, start: &str, pages: &[String], reader: &Reader, fetch: F) -> Vec<SmokeCheck>
where
    F: Fn(String) -> A,
    A: Future<Output = Result<Fetched, String>>,
{
    let mut checks = Vec::new();
    crawl_into(host, start, pages, reader, fetch, &mut checks).await;
    checks
}

/// An address to check.
#[derive(Clone)]
struct Place {
    url: Url,
    used: Use,
    /// The page or stylesheet that refers to it; `None` for the first.
    from: Option<String>,
    /// No page links to it: it may be a fragment of other pages instead of a page.
    alone: bool,
}

/// The result of a parsed response.
struct Judged {
    answer: Fetched,
    /// Why the check failed.
    wrong: Option<String>,
    /// The addresses in it, if it passed.
    found: Vec<(Url, Use)>,
}

/// Parses a response off the async threads, because it is foreign text.
async fn judged(place: &Place, answer: Fetched, reader: &Reader) -> Result<Judged, String> {
    let place = place.clone();
    let work = move |budget: &Budget| {
        let wrong = wrong(&place, &answer, budget);
        let found = if wrong.is_none() { leads_to(&place, &answer, budget) } else { Vec::new() };
        Judged { answer, wrong, found }
    };
    reader.pool.run("read a page", reader.owner.clone(), READ_TIME, work).await.map_err(|error| error.to_string())
}

async fn crawl_into<F, A>(
    host: &str,
    start: &str,
    pages: &[String],
    reader: &Reader,
    fetch: F,
    checks: &mut Vec<SmokeCheck>,
) where
    F: Fn(String) -> A,
    A: Future<Output = Result<Fetched, String>>,
{
    // Absolute links to the app's host are local with http and with https.
    let Ok(root) = Url::parse(&format!("http://{host}/")) else { return };
    let mut waiting: VecDeque<Place> = VecDeque::new();
    let mut seen: HashSet<(String, Use)> = HashSet::new();
    for path in ["/", start] {
        if let Ok(url) = root.join(path)
            && seen.insert((path_of(&url), Use::Page))
        {
            waiting.push_back(Place { url, used: Use::Page, from: None, alone: false });
        }
    }
    let mut pages = Some(pages);
    let (mut asked, mut failed) = (0, 0);
    let mut open = FuturesUnordered::new();
    let mut redirects: HashMap<String, String> = HashMap::new();
    loop {
        while open.len() < AT_ONCE && asked < ADDRESSES_MAX && failed < FAILED_MAX {
            let Some(place) = waiting.pop_front() else { break };
            asked += 1;
            let answer = fetch(path_of(&place.url));
            open.push(async move {
                let answer = match answer.await {
                    Ok(answer) => judged(&place, answer, reader).await,
                    Err(why) => Err(why),
                };
                (place, answer)
            });
        }
        let Some((place, answer)) = open.next().await else {
            let Some(pages) = pages.take() else { break };
            for page in pages.iter().filter(|page| !is_seen(&seen, page)) {
                let Ok(url) = root.join(page) else { continue };
                waiting.push_back(Place { url, used: Use::Page, from: None, alone: true });
            }
            for place in &waiting {
                seen.insert((path_of(&place.url), place.used));
            }
            continue;
        };
        let path = path_of(&place.url);
        let check = SmokeCheck {
            what: word(place.used).to_owned(),
            method: "GET".to_owned(),
            path: path.clone(),
            ok: false,
            status: None,
            millis: 0,
            note: None,
            lines: Vec::new(),
        };
        let mut check = match &answer {
            Err(why) => SmokeCheck { note: Some(why.clone()), ..check },
            Ok(Judged { answer, wrong, .. }) => {
                let check = SmokeCheck { status: Some(answer.status), millis: answer.millis, ..check };
                match wrong.clone() {
                    None => SmokeCheck { ok: true, ..check },
                    Some(why) => {
                        let lines = if answer.status >= 500 {
                            first_lines(&String::from_utf8_lossy(&answer.body))
                        } else {
                            Vec::new()
                        };
                        SmokeCheck { note: Some(why), lines, ..check }
                    }
                }
            }
        };
        if let (true, Ok(Judged { answer, found, .. })) = (check.ok, answer) {
            if let Some(to) = answer.location.as_deref().and_then(|to| place.url.join(to).ok())
                && is_local(&root, &to)
            {
                redirects.insert(path.clone(), path_of(&to));
                if is_redirect_loop(&redirects, &path) {
                    check.ok = false;
                    check.note = Some("It is a redirect loop.".to_owned());
                }
            }
            for (url, used) in found {
                if is_local(&root, &url) && seen.insert((path_of(&url), used)) {
                    waiting.push_back(Place { url, used, from: Some(path.clone()), alone: false });
                }
            }
        }
        if !check.ok {
            failed += 1;
            if let Some(from) = &place.from {
                let note = check.note.take().unwrap_or_default();
                check.note = Some(format!("{note} {from} refers to it.").trim().to_owned());
            }
        }
        checks.push(check);
    }
    // The order does not depend on the time of responses.
    checks.sort_by(|a, b| (a.ok, a.path.as_str(), a.what.as_str()).cmp(&(b.ok, b.path.as_str(), b.what.as_str())));
    if asked >= ADDRESSES_MAX && !waiting.is_empty() {
        checks.push(SmokeCheck::not_asked(waiting.len(), ADDRESSES_MAX, "addresses"));
    }
}

/// Whether a page was checked at any of its addresses.
fn is_seen(seen: &HashSet<(String, Use)>, page: &str) -> bool {
    let bare = page.strip_suffix(".html").unwrap_or(page).trim_end_matches('/');
    let forms = [page.to_owned(), bare.to_owned(), format!("{bare}/"), format!("{bare}/index.html")];
    seen.iter().any(|(path, _)| forms.iter().any(|form| path.split('?').next() == Some(form)))
}

/// Whether a text is a complete page, and not a fragment that others load.
fn is_whole_page(body: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_ascii_lowercase();
    head.contains("<html") || head.contains("<!doctype") || head.contains("<body")
}

/// The title of a use.
fn word(used: Use) -> &'static str {
    match used {
        Use::Page => "page",
        Use::Style => "stylesheet",
        Use::Script => "script",
        Use::Image => "image",
        Use::File => "file",
    }
}

fn path_of(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// Whether an address is on the app's own host.
fn is_local(root: &Url, url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host_str() == root.host_str() && url.port() == root.port()
}

/// Why the response is wrong for its use.
fn wrong(place: &Place, answer: &Fetched, budget: &Budget) -> Option<String> {
    let used = place.used;
    let status = answer.status;
    if (300..400).contains(&status) {
        return (answer.location.is_none() && status != 304)
            .then(|| format!("It answered {status} without a Location header."));
    }
    if !(200..300).contains(&status) {
        return Some(match status {
            404 => "It does not exist.".to_owned(),
            _ => format!("It answered {status}."),
        });
    }
    let kind = answer.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let fits = match used {
        Use::Style => kind == "text/css",
        Use::Script => kind.ends_with("javascript") || kind.ends_with("ecmascript"),
        Use::Image => kind.starts_with("image/") || kind == "application/octet-stream",
        Use::Page | Use::File => true,
    };
    if !fits {
        let kind = if kind.is_empty() { "something without a type" } else { &kind };
        return Some(format!("It answered with {kind}, which browsers do not accept as a {}.", word(used)));
    }
    let is_piece = place.alone && !is_whole_page(&answer.body);
    if used == Use::Page
        && kind == "text/html"
        && !is_piece
        && !html::read(&String::from_utf8_lossy(&answer.body), budget).shows_something
    {
        return Some("The page is empty: it has no text, image, control or script.".to_owned());
    }
    None
}

/// The addresses in a response.
fn leads_to(place: &Place, answer: &Fetched, budget: &Budget) -> Vec<(Url, Use)> {
    if let Some(to) = &answer.location {
        return place.url.join(to).map(|url| (url, place.used)).into_iter().collect();
    }
    if place.alone && !is_whole_page(&answer.body) {
        // Its addresses are relative to the pages that load it.
        return Vec::new();
    }
    let kind = answer.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = String::from_utf8_lossy(&answer.body);
    let (base, links) = if kind == "text/html" && place.used != Use::Image {
        let page = html::read(&text, budget);
        let base = page.base.and_then(|base| place.url.join(&base).ok()).unwrap_or_else(|| place.url.clone());
        (base, page.links)
    } else if kind == "text/css" {
        let loads = css::loads(&text).into_iter().map(|loaded| match loaded {
            css::Loaded::Style(address) => (address, Use::Style),
            css::Loaded::File(address) => (address, Use::File),
        });
        (place.url.clone(), loads.collect())
    } else {
        return Vec::new();
    };
    links
        .into_iter()
        // An empty address and a fragment refer to the same page.
        .filter(|(address, _)| !address.is_empty() && !address.starts_with('#'))
        .filter_map(|(address, used)| {
            let mut url = base.join(&address).ok()?;
            url.set_fragment(None);
            Some((url, used))
        })
        .collect()
}

fn is_redirect_loop(redirects: &HashMap<String, String>, start: &str) -> bool {
    let mut at = start;
    for _ in 0..=redirects.len() {
        match redirects.get(at) {
            Some(next) if next == start => return true,
            Some(next) => at = next,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(body: &str) -> Fetched {
        Fetched {
            status: 200,
            content_type: "text/html; charset=utf-8".into(),
            body: body.into(),
            ..Fetched::default()
        }
    }

    fn typed(kind: &str, body: &str) -> Fetched {
        Fetched { status: 200, content_type: kind.into(), body: body.into(), ..Fetched::default() }
    }

    async fn lines(pages: Vec<(&str, Fetched)>) -> Vec<String> {
        lines_with(pages, &[]).await
    }

    async fn lines_with(pages: Vec<(&str, Fetched)>, alone: &[String]) -> Vec<String> {
        let pages: HashMap<String, Fetched> = pages.into_iter().map(|(path, page)| (path.to_owned(), page)).collect();
        let missing = Fetched { status: 404, ..html("<p>not here") };
        let fetch = |path: String| std::future::ready(Ok(pages.get(&path).unwrap_or(&missing).clone()));
        let checks = crawl("shop-preview.localhost:8080", "/", alone, &Reader::alone(), fetch).await;
        checks.iter().map(|check| format!("{} {}", if check.ok { "ok" } else { "NO" }, check.line())).collect()
    }

    #[tokio::test]
    async fn broken_addresses_are_named_with_the_page_that_refers_to_them() {
        let found = lines(vec![
            (
                "/",
                html(
                    r#"<link rel=stylesheet href=style.css><script src="/app.js"></script><img src="gone.png">
                    <a href="about?x=1#y">About</a><a href="https://else.example/no">no</a><a href="mailto:a@b.c">no</a>
                    <a href="http://shop-preview.localhost:8080/full">x</a><a href="/empty.html">x</a><a href="//else.example/">no</a>"#,
                ),
            ),
            ("/style.css", typed("text/css", "@import 'more.css'; body { background: url(img/back.png), url(data:x) }")),
            ("/more.css", html("<p>an answer for everything</p>")),
            ("/app.js", typed("text/javascript; charset=utf-8", "1")),
            ("/about?x=1", html("<base href='/deep/'><p>About</p><a href='page'>page</a>")),
            ("/deep/page", html("<p>Deep</p>")),
            ("/img/back.png", typed("image/png", "")),
            ("/full", Fetched { status: 301, location: Some("/full/".into()), ..Fetched::default() }),
            ("/full/", html("<h1>Full</h1>")),
            ("/empty.html", html("<title>Empty</title>")),
        ])
        .await;
        assert_eq!(
            found,
            [
                "NO GET /empty.html (page): 200. The page is empty: it has no text, image, control or script. / refers to it.",
                "NO GET /gone.png (image): 404. It does not exist. / refers to it.",
                "NO GET /more.css (stylesheet): 200. It answered with text/html, which browsers do not accept as a stylesheet. /style.css refers to it.",
                "ok GET / (page): 200",
                "ok GET /about?x=1 (page): 200",
                "ok GET /app.js (script): 200",
                "ok GET /deep/page (page): 200",
                "ok GET /full (page): 301",
                "ok GET /full/ (page): 200",
                "ok GET /img/back.png (file): 200",
                "ok GET /style.css (stylesheet): 200",
            ]
        );
    }

    #[tokio::test]
    async fn redirect_loops_and_endless_sites_end() {
        let round = |to: &str| Fetched { status: 302, location: Some(to.into()), ..Fetched::default() };
        let found = lines(vec![("/", html("<a href=/a>a</a>")), ("/a", round("/b")), ("/b", round("/a"))]).await;
        assert_eq!(found.iter().filter(|line| line.contains("redirect loop")).count(), 1, "{found:#?}");

        let endless = |path: String| {
            let number: u32 = path.trim_start_matches('/').parse().unwrap_or(0);
            std::future::ready(Ok(html(&format!("<a href=/{}>next</a><a href=/{}>after</a>", number + 1, number + 2))))
        };
        let checks = crawl("a.localhost", "/", &[], &Reader::alone(), endless).await;
        assert_eq!(checks.len(), ADDRESSES_MAX + 1);
        let last = checks.last().map(SmokeCheck::line).unwrap_or_default();
        assert!(last.ends_with("more addresses were not asked: 200 are asked at most."), "{last}");
    }

    #[tokio::test]
    async fn pages_without_links_to_them_are_checked() {
        let files = [
            "index.html",
            "about.html",
            "lonely.html",
            "docs/index.html",
            "parts/foot.html",
            "a b.html",
            ".x.html",
            "a.css",
        ];
        let alone: Vec<String> = files.iter().filter_map(|file| page_address(file)).collect();
        assert_eq!(alone, ["/", "/about.html", "/lonely.html", "/docs/", "/parts/foot.html", "/a%20b.html"]);
        let found = lines_with(
            vec![
                ("/", html("<a href=about>About</a><a href=/docs>Docs</a>")),
                ("/about", html("<p>About")),
                ("/docs", html("<p>Docs")),
                ("/lonely.html", html("<!DOCTYPE html><p>Alone<img src=gone.png>")),
                ("/parts/foot.html", html("<img src=img/logo.png>")),
                ("/a%20b.html", html("<!doctype html><title>Empty</title>")),
            ],
            &alone,
        )
        .await;
        assert_eq!(
            found,
            [
                "NO GET /a%20b.html (page): 200. The page is empty: it has no text, image, control or script.",
                "NO GET /gone.png (image): 404. It does not exist. /lonely.html refers to it.",
                "ok GET / (page): 200",
                "ok GET /about (page): 200",
                "ok GET /docs (page): 200",
                "ok GET /lonely.html (page): 200",
                "ok GET /parts/foot.html (page): 200",
            ]
        );
    }

    #[tokio::test]
    async fn a_page_without_a_response_fails() {
        let checks = crawl("a.localhost", "/health", &[], &Reader::alone(), |path| {
            std::future::ready(if path == "/" { Ok(html("<p>x")) } else { Err("The app did not answer.".to_owned()) })
        })
        .await;
        let lines: Vec<String> = checks.iter().map(SmokeCheck::line).collect();
        assert_eq!(lines, ["GET /health (page): no answer. The app did not answer.", "GET / (page): 200"]);
    }
}
