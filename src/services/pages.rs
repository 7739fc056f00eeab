//! The pages of an app that a reader can go to: the files of a site, or the plain `GET` endpoints of a running app.

use super::Services;
use crate::domain::{App, Environment};
use crate::error::AppResult;

/// Maximum number of pages in the list.
const PAGES_MAX: usize = 200;
/// Pages with a longer path are left out.
const PATH_MAX: usize = 400;

impl Services {
    /// The paths of the app's pages, the shortest first; of the newest version, or of the one that an environment runs.
    pub async fn pages(&self, app: &App, environment: Option<Environment>) -> AppResult<Vec<String>> {
        let template = self.template_of(app)?;
        let Some(root) = template.manifest.draft_root.clone() else {
            let endpoints = self.endpoints(app, environment.unwrap_or(Environment::Preview)).await?;
            let plain =
                endpoints.list.into_iter().filter(|endpoint| endpoint.method == "GET" && !endpoint.path.contains('{'));
            return Ok(in_order(std::iter::once("/".to_owned()).chain(plain.map(|endpoint| endpoint.path))));
        };
        let version = match environment {
            Some(environment) => app.environment(environment).version.clone(),
            None => app.head.clone(),
        };
        let Some(version) = version else { return Ok(Vec::new()) };
        let tree = self.platform.read_workspace(&app.name, move |workspace| workspace.tree_at(&version)).await?;
        Ok(in_order(tree.iter().filter_map(|entry| page(entry.path.as_str(), &root))))
    }
}

/// The path at which a file of a site is shown; none for files that are no pages, or that the server hides.
fn page(file: &str, root: &str) -> Option<String> {
    let path = file.strip_prefix(root)?.strip_prefix('/')?;
    if path == "404.html" || path.split('/').any(|part| part.starts_with('.')) {
        return None;
    }
    match path.strip_suffix("index.html") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => Some(format!("/{folder}")),
        _ => path.strip_suffix(".html").map(|_| format!("/{path}")),
    }
}

fn in_order(paths: impl Iterator<Item = String>) -> Vec<String> {
    let mut paths: Vec<_> = paths.filter(|path| path.starts_with('/') && path.len() <= PATH_MAX).collect();
    paths.sort_unstable_by(|a, b| (a.matches('/').count(), a).cmp(&(b.matches('/').count(), b)));
    paths.dedup();
    paths.truncate(PAGES_MAX);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shown_at_their_addresses() {
        for (file, path) in [
            ("public/index.html", Some("/")),
            ("public/about.html", Some("/about.html")),
            ("public/shop/index.html", Some("/shop/")),
            ("public/shop/myindex.html", Some("/shop/myindex.html")),
            ("public/404.html", None),
            ("public/.hidden/index.html", None),
            ("public/style.css", None),
            ("publicity/index.html", None),
            ("app.toml", None),
        ] {
            assert_eq!(page(file, "public").as_deref(), path, "{file}");
        }
    }

    #[test]
    fn the_list_is_bounded_and_in_order() {
        let many =
            (0..1000).map(|n| format!("/deep/{n}.html")).chain(["/z".into(), "/".into(), "/".into(), "x".into()]);
        let paths = in_order(many.chain([format!("/{}", "a".repeat(PATH_MAX))]));
        assert_eq!(paths.len(), PAGES_MAX);
        assert_eq!(paths[..3], ["/", "/z", "/deep/0.html"]);
    }
}
