//! Configuration: a TOML file, then environment variables, then flags. Each value has a type, and each key has a
//! default and a description. Independent of how the values are used.
//!
//! Each file covers one topic: its keys, how they are parsed, and the errors for invalid values.

mod access;
mod limits;
mod model;
mod network;
mod registry;
mod runtime;
mod source;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use self::source::{Key, Sources};
use crate::domain::{AllowedNetwork, HostName, ModelId, Network};

pub use limits::{Retention, TurnCaps};
pub use model::Provider;
pub use network::PreviewAccess;
pub use runtime::{ClusterConfig, RuntimeKind};
pub use source::ConfigError;

/// All keys, in the order in which `slipway config` lists them.
const KEYS: &[&[Key]] = &[network::KEYS, access::KEYS, runtime::KEYS, registry::KEYS, model::KEYS, limits::KEYS];

/// All settings, parsed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the database, workspaces and uploads.
    pub data_dir: PathBuf,
    /// The address at which the builder listens.
    pub listen: SocketAddr,
    /// The domain of the builder; lowercase.
    pub domain: String,
    /// The domain of apps, their previews and their drafts: `domain`, unless it is set separately.
    pub apps_domain: String,
    /// Who may open drafts and previews.
    pub preview_access: PreviewAccess,
    /// The pattern of links, with `{host}` in it.
    pub public_url: String,
    /// The operator's proxies, whose `X-Forwarded-*` headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// How long a client may keep the server waiting during a request or a response.
    pub client_timeout: Duration,
    /// The runtime of apps.
    pub runtime: RuntimeKind,
    /// Settings for the Kubernetes runtime.
    pub cluster: ClusterConfig,
    /// How long the release that production ran before stays paused; only on Docker.
    pub keep_replaced: Duration,
    /// Networks that apps and builds may not reach, in addition to private ones.
    pub blocked_networks: Vec<Network>,
    /// Private addresses that apps and builds may reach; only on Docker.
    pub allowed_networks: Vec<AllowedNetwork>,
    /// The registry to which images are pushed.
    pub registry: Option<String>,
    /// The registry's name on the nodes, which pull from it.
    pub registry_pull: Option<String>,
    /// User name and password for the registry; none if it needs no login.
    pub registry_login: Option<(String, SecretString)>,
    /// The provider of the model.
    pub provider: Provider,
    /// Key for the Messages API.
    pub anthropic_api_key: Option<SecretString>,
    /// Base URL of the Messages API, without a slash at the end.
    pub anthropic_base_url: String,
    /// These settings choose who answers. Else a key can be added in the page.
    pub chooses_model: bool,
    /// Key for an OpenAI-compatible server.
    pub openai_api_key: Option<SecretString>,
    /// Base URL of an OpenAI-compatible server, without a slash at the end.
    pub openai_base_url: String,
    /// The model.
    pub model: ModelId,
    /// The admin password.
    pub admin_password: Option<SecretString>,
    /// Base images, by the name that templates use for them.
    pub base_images: BTreeMap<String, String>,
    /// Address of the Docker engine.
    pub docker_host: Option<String>,
    /// The folder with the certificates for mutual TLS with the engine; none: no TLS.
    pub docker_cert_path: Option<PathBuf>,
    /// The limits of one turn.
    pub turn_caps: TurnCaps,
    /// Maximum number of concurrent builds and deployments.
    pub build_workers: usize,
    /// What is retained of each app.
    pub retention: Retention,
    /// Pace of the demo model's output: 1 is readable, 0 has no pauses.
    pub demo_pace: f64,
}

impl Config {
    /// Reads the file (`file`, or `slipway.toml` if it exists), then the environment, then `flags` (by key name), and
    /// checks everything.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources::new(KEYS);
        match file {
            Some(path) => sources.read_file(path)?,
            None if Path::new("slipway.toml").exists() => sources.read_file(Path::new("slipway.toml"))?,
            None => {}
        }
        for (name, value) in environment {
            sources.read_variable(&name, value);
        }
        for (name, value) in flags {
            sources.read_flag(name, value.clone());
        }
        Self::check(&sources)
    }

    fn check(sources: &Sources) -> Result<Self, ConfigError> {
        let admin_password = access::admin_password(sources)?;
        let listen = network::listen(sources, admin_password.is_some())?;
        let domain = network::domain(sources, "domain")?;
        let runtime = runtime::kind(sources)?;
        let anthropic_api_key = sources.owned("anthropic_api_key").map(SecretString::from);
        let (provider, model) = model::provider(sources, anthropic_api_key.is_some())?;
        let registry = registry::registry(sources, runtime)?;
        Ok(Self {
            data_dir: sources.owned("data_dir").unwrap_or_default().into(),
            listen,
            apps_domain: network::apps_domain(sources, &domain)?,
            domain,
            preview_access: network::preview_access(sources, admin_password.is_some())?,
            public_url: network::public_url(sources, listen)?,
            trusted_proxies: network::trusted_proxies(sources)?,
            max_connections: network::max_connections(sources)?,
            client_timeout: network::client_timeout(sources)?,
            runtime,
            cluster: runtime::cluster(sources)?,
            keep_replaced: runtime::keep_replaced(sources)?,
            blocked_networks: runtime::blocked_networks(sources)?,
            allowed_networks: runtime::allowed_networks(sources, runtime)?,
            registry_pull: sources.owned("registry_pull").or_else(|| registry.clone()),
            registry,
            registry_login: registry::registry_login(sources)?,
            chooses_model: provider != Provider::Demo || sources.text("provider") == Some("demo"),
            provider,
            anthropic_api_key,
            anthropic_base_url: model::address(sources, "anthropic_base_url")?,
            openai_api_key: sources.owned("openai_api_key").map(SecretString::from),
            openai_base_url: model::address(sources, "openai_base_url")?,
            model,
            admin_password,
            base_images: registry::base_images(sources),
            docker_host: sources.owned("docker_host"),
            docker_cert_path: runtime::docker_cert_path(sources)?,
            turn_caps: limits::turn_caps(sources)?,
            build_workers: limits::build_workers(sources)?,
            retention: limits::retention(sources)?,
            demo_pace: model::demo_pace(sources)?,
        })
    }

    /// A link to one of the builder's or the apps' hosts.
    pub fn url(&self, host: &HostName) -> String {
        let domain = if *host == HostName::Builder { &self.domain } else { &self.apps_domain };
        self.public_url.replace("{host}", &host.to_host(domain))
    }

    /// The origins of the builder's own pages, as browsers write them: its host, and on loopback the bare addresses.
    pub fn builder_origins(&self) -> Vec<String> {
        let public = self.url(&HostName::Builder);
        let (scheme, rest) = public.split_once("://").unwrap_or(("http", &public));
        let authority = rest.split('/').next().unwrap_or_default();
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(usual).unwrap_or(authority).to_ascii_lowercase();
        let mut origins = vec![format!("{scheme}://{authority}")];
        if self.listen.ip().is_loopback() {
            let port = match self.listen.port() {
                80 => String::new(),
                port => format!(":{port}"),
            };
            let own = SocketAddr::new(self.listen.ip(), 0).to_string();
            let own = own.trim_end_matches(":0");
            for host in ["localhost", "127.0.0.1", "[::1]", own] {
                let origin = format!("http://{host}{port}");
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            }
        }
        origins
    }

    /// Whether drafts and previews require a login or a share link.
    pub fn protects_previews(&self) -> bool {
        self.preview_access == PreviewAccess::Login
    }

    /// Whether links use https.
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// Whether browsers treat the apps' hosts as another site than the builder's, so that an app's page in a frame on
    /// the builder's page has third-party cookies. This is the case if apps have a domain of their own, or if the
    /// domain is a single label, which browsers treat as a public suffix.
    pub fn apps_are_another_site(&self) -> bool {
        self.apps_domain != self.domain || !self.domain.contains('.')
    }

    /// All keys with their defaults and descriptions, as `slipway config` prints them.
    pub fn reference() -> String {
        let mut text = String::from(
            "# Every key of slipway.toml, with its default. The environment variable wins over the file, a flag over both.\n",
        );
        for key in KEYS.iter().copied().flatten() {
            let default = if key.default.is_empty() { "(none)" } else { key.default };
            let kind = if key.secret { ", a secret" } else { "" };
            let _ = write!(text, "\n# {}\n# {}{kind}\n{} = {default:?}\n", key.about, key.env, key.name);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Config::load(None, environment, &flags)
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = load(&[], &[]).expect("defaults are good");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.provider, Provider::Demo);
        assert_eq!(config.url(&HostName::Builder), "http://builder.localhost:8080");
        assert_eq!(config.preview_access, PreviewAccess::Open);
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        let origins = |environment: &[(&str, &str)]| load(environment, &[]).expect("good").builder_origins();
        let bare = ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"];
        assert_eq!(origins(&[]), [&["http://builder.localhost:8080"][..], &bare].concat());
        assert_eq!(
            origins(&[("SLIPWAY_LISTEN", "127.0.0.9:80")])[1..],
            ["http://localhost", "http://127.0.0.1", "http://[::1]", "http://127.0.0.9"]
        );
        let served = [
            ("SLIPWAY_DOMAIN", "x.test"),
            ("SLIPWAY_LISTEN", "0.0.0.0:8080"),
            ("SLIPWAY_ADMIN_PASSWORD", "seven-white-sails"),
        ];
        for (url, origin) in [
            ("https://{host}", "https://builder.x.test"),
            ("https://{host}:443", "https://builder.x.test"),
            ("http://{host}:8080", "http://builder.x.test:8080"),
        ] {
            assert_eq!(origins(&[&served[..], &[("SLIPWAY_PUBLIC_URL", url)]].concat()), [origin], "{url}");
        }
    }

    #[test]
    fn previews_need_the_login_where_there_is_one() {
        let password = ("SLIPWAY_ADMIN_PASSWORD", "seven-white-sails");
        let access = |environment: &[(&str, &str)]| load(environment, &[]).expect("good").preview_access;
        assert_eq!(access(&[password]), PreviewAccess::Login);
        assert_eq!(access(&[password, ("SLIPWAY_LISTEN", "0.0.0.0:80")]), PreviewAccess::Login);
        assert_eq!(access(&[password, ("SLIPWAY_PREVIEW_ACCESS", "open")]), PreviewAccess::Open);
    }

    #[test]
    fn apps_can_have_a_domain_of_their_own() {
        let app = HostName::App("tides".parse().expect("a name"), crate::domain::Environment::Prod);
        let both = [("SLIPWAY_DOMAIN", "pages.test"), ("SLIPWAY_APPS_DOMAIN", "Apps.test")];
        let config = load(&both, &[]).expect("good");
        assert_eq!(config.url(&app), "http://tides.apps.test:8080");
        assert_eq!(config.url(&HostName::Builder), "http://builder.pages.test:8080");
        assert!(config.apps_are_another_site());
        let config = load(&both[..1], &[]).expect("good");
        assert_eq!(config.url(&app), "http://tides.pages.test:8080");
        assert!(!config.apps_are_another_site());
        for (domain, apps) in [("x.test", "apps.x.test"), ("pages.x.test", "x.test")] {
            let error = load(&[("SLIPWAY_DOMAIN", domain), ("SLIPWAY_APPS_DOMAIN", apps)], &[]).expect_err("refused");
            assert!(error.to_string().contains("same site"), "{error}");
        }
    }

    #[test]
    fn an_openai_compatible_server_needs_no_key() {
        let environment = [
            ("SLIPWAY_PROVIDER", "openai"),
            ("SLIPWAY_MODEL", "library/qwen3:32b"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/"),
        ];
        let config = load(&environment, &[]).expect("good");
        assert_eq!((config.provider, config.model.as_str()), (Provider::OpenAi, "library/qwen3:32b"));
        assert_eq!(config.openai_base_url, "http://127.0.0.1:11434/v1");
        assert!(config.openai_api_key.is_none());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("s.toml");
        std::fs::write(&file, "domain = 'file.test'\nmodel = 'file'\nbuild_workers = 3\n").expect("written");
        let environment =
            [("SLIPWAY_MODEL".to_owned(), "env".to_owned()), ("SLIPWAY_DOMAIN".to_owned(), "env.test".to_owned())];
        let config =
            Config::load(Some(&file), environment.into_iter(), &[("domain", "flag.test".to_owned())]).expect("good");
        assert_eq!((config.domain.as_str(), config.model.as_str(), config.build_workers), ("flag.test", "env", 3));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (environment, named) in [
            (("SLIPWAY_LISTEN", "everywhere"), "listen"),
            (("SLIPWAY_LISTEN", "0.0.0.0:80"), "SLIPWAY_ADMIN_PASSWORD"),
            (("SLIPWAY_DOMAIN", "a..b"), "domain"),
            (("SLIPWAY_APPS_DOMAIN", "a..b"), "apps_domain"),
            (("SLIPWAY_PREVIEW_ACCESS", "login"), "SLIPWAY_ADMIN_PASSWORD"),
            (("SLIPWAY_PREVIEW_ACCESS", "closed"), "preview_access"),
            (("SLIPWAY_PUBLIC_URL", "http://fixed"), "public_url"),
            (("SLIPWAY_RUNTIME", "podman"), "runtime"),
            (("SLIPWAY_RUNTIME", "kubernetes"), "SLIPWAY_REGISTRY"),
            (("SLIPWAY_REGISTRY_USERNAME", "builder"), "registry_password"),
            (("SLIPWAY_REGISTRY_PASSWORD", "hush"), "registry_username"),
            (("SLIPWAY_REGISTRY_PASSWORD_FILE", "/nowhere"), "/nowhere"),
            (("KUBERNETES_SERVICE_HOST", "10.0.0.1"), "SLIPWAY_REGISTRY"),
            (("SLIPWAY_KEEP_REPLACED_SECONDS", "soon"), "keep_replaced_seconds"),
            (("SLIPWAY_BLOCKED_NETWORKS", "203.0.113.0/24, nonsense"), "nonsense"),
            (("SLIPWAY_ALLOWED_NETWORKS", "10.0.0.7:3128, nonsense"), "nonsense"),
            (("SLIPWAY_TRUST_PROXY", "true"), "name the proxy's addresses"),
            (("SLIPWAY_TRUST_PROXY", "10.0.0.1,proxy.test"), "proxy.test"),
            (("SLIPWAY_MAX_CONNECTIONS", "1"), "max_connections"),
            (("SLIPWAY_CLIENT_TIMEOUT_SECONDS", "0"), "client_timeout_seconds"),
            (("SLIPWAY_PROVIDER", "other"), "provider"),
            (("SLIPWAY_PROVIDER", "openai"), "SLIPWAY_MODEL"),
            (("SLIPWAY_MODEL", "two words"), "model"),
            (("OPENAI_BASE_URL", "localhost:11434"), "openai_base_url"),
            (("SLIPWAY_ADMIN_PASSWORD", "short"), "admin_password"),
            (("SLIPWAY_TURN_MAX_STEPS", "0"), "turn_max_steps"),
            (("SLIPWAY_KEPT_JOB_RECORDS", "49"), "kept_job_records"),
            (("SLIPWAY_DEMO_PACE", "-1"), "demo_pace"),
        ] {
            let error = load(&[environment], &[]).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("s.toml");
        std::fs::write(&file, "domian = 'x'\n").expect("written");
        let error = Config::load(Some(&file), std::iter::empty(), &[]).expect_err("refused").to_string();
        assert!(error.contains("domian"), "{error}");
    }
}
