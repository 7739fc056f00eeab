//! Configuration: a TOML file, then environment variables, then flags; each value typed, each
//! key with its default and meaning in one table. Knows nothing of what the values are used for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::{AllowedNetwork, HostName, Invalid, JOBS_ON_PAGES, ModelId, Network};

/// One setting.
struct Key {
    /// In the file and as a flag (with hyphens).
    name: &'static str,
    /// The environment variable.
    env: &'static str,
    /// When nobody says otherwise; empty: none.
    default: &'static str,
    /// One line for people.
    about: &'static str,
    /// Its value is not shown.
    secret: bool,
}

const fn key(name: &'static str, env: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, env, default, about, secret: false }
}

const fn secret(name: &'static str, env: &'static str, about: &'static str) -> Key {
    Key { name, env, default: "", about, secret: true }
}

const KEYS: &[Key] = &[
    key("data_dir", "SLIPWAY_DATA_DIR", "./data", "Database, workspaces, uploads. Closed to others: mode 0700."),
    key("listen", "SLIPWAY_LISTEN", "127.0.0.1:8080", "Address of pages, API and gateway."),
    key("domain", "SLIPWAY_DOMAIN", "localhost", "Apps live at <app>.<domain>, the pages at builder.<domain>."),
    key(
        "apps_domain",
        "SLIPWAY_APPS_DOMAIN",
        "",
        "A domain for apps alone, on a site of its own, so that they share no cookies with the pages; default: the same.",
    ),
    key(
        "preview_access",
        "SLIPWAY_PREVIEW_ACCESS",
        "",
        "login: drafts and previews need the log-in or a share link; open: they need neither. Default: login where a \
         password is set, else open.",
    ),
    key(
        "public_url",
        "SLIPWAY_PUBLIC_URL",
        "",
        "How links are written, with {host} in it; default http://{host}:<port of listen>.",
    ),
    key(
        "trust_proxy",
        "SLIPWAY_TRUST_PROXY",
        "",
        "Addresses or networks of proxies of yours that set X-Forwarded-For, such as 127.0.0.1, with commas.",
    ),
    key(
        "max_connections",
        "SLIPWAY_MAX_CONNECTIONS",
        "2048",
        "Connections open at once, those of apps' visitors too; fewer where the system allows too few open files.",
    ),
    key(
        "client_timeout_seconds",
        "SLIPWAY_CLIENT_TIMEOUT_SECONDS",
        "30",
        "How long a client may take to send a request's head, to send more of a body, or to read more of an answer.",
    ),
    key("runtime", "SLIPWAY_RUNTIME", "auto", "docker, kubernetes or auto: Kubernetes inside a cluster, else Docker."),
    key("registry", "SLIPWAY_REGISTRY", "", "Where images are pushed. None: they stay in the engine."),
    key("registry_pull", "SLIPWAY_REGISTRY_PULL", "", "The registry's name as nodes pull from it; default: the same."),
    key("registry_username", "SLIPWAY_REGISTRY_USERNAME", "", "Who logs in to a registry that wants it."),
    secret("registry_password", "SLIPWAY_REGISTRY_PASSWORD", "The password, or the token, for that."),
    key("registry_password_file", "SLIPWAY_REGISTRY_PASSWORD_FILE", "", "A file that holds it instead."),
    secret("anthropic_api_key", "ANTHROPIC_API_KEY", "Key for Claude. Without one the demo model answers."),
    key("anthropic_base_url", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", "Where the Messages API is."),
    secret(
        "openai_api_key",
        "OPENAI_API_KEY",
        "Key for an OpenAI-compatible server; many on one's own machine want none.",
    ),
    key(
        "openai_base_url",
        "OPENAI_BASE_URL",
        "https://api.openai.com/v1",
        "Where that server is, e.g. http://127.0.0.1:11434/v1.",
    ),
    key("model", "SLIPWAY_MODEL", "claude-opus-5-5", "Any model that the provider knows; with openai it must be set."),
    key("provider", "SLIPWAY_PROVIDER", "anthropic", "anthropic, openai (any OpenAI-compatible server) or demo."),
    secret("admin_password", "SLIPWAY_ADMIN_PASSWORD", "Required to listen on anything but loopback."),
    key("admin_password_file", "SLIPWAY_ADMIN_PASSWORD_FILE", "", "A file that holds the password instead."),
    key("base_image_python", "SLIPWAY_BASE_IMAGE_PYTHON", "python:3.13-slim", "What Python apps are built on."),
    key(
        "base_image_nginx",
        "SLIPWAY_BASE_IMAGE_NGINX",
        "nginxinc/nginx-unprivileged:alpine-slim",
        "What static sites are built on.",
    ),
    key(
        "docker_host",
        "DOCKER_HOST",
        "",
        "Address of the Docker engine; default: its socket. tcp:// to another machine needs TLS.",
    ),
    key(
        "docker_tls_verify",
        "DOCKER_TLS_VERIFY",
        "",
        "Anything but empty: the engine at tcp:// is spoken to with mutual TLS, as Docker's own command line does.",
    ),
    key(
        "docker_cert_path",
        "DOCKER_CERT_PATH",
        "",
        "The folder with ca.pem, cert.pem and key.pem for that; setting it is enough. Default: ~/.docker.",
    ),
    key("kubeconfig", "KUBECONFIG", "", "How to reach a cluster; none inside one."),
    key("ingress_class", "SLIPWAY_INGRESS_CLASS", "traefik", "Class of the apps' Ingresses."),
    key("ingress_namespace", "SLIPWAY_INGRESS_NAMESPACE", "kube-system", "Where the ingress controller runs."),
    key(
        "blocked_networks",
        "SLIPWAY_BLOCKED_NETWORKS",
        "",
        "Networks that apps and builds may not reach, such as 203.0.113.0/24, with commas; private ones never can be.",
    ),
    key(
        "allowed_networks",
        "SLIPWAY_ALLOWED_NETWORKS",
        "",
        "Private IPv4 addresses that apps and builds may reach on Docker, such as a proxy at 10.0.0.7:3128, with commas.",
    ),
    key("reconcile_seconds", "SLIPWAY_RECONCILE_SECONDS", "300", "How often what was changed by hand is put back."),
    key("turn_max_steps", "SLIPWAY_TURN_MAX_STEPS", "60", "Answers of the model in one turn."),
    key(
        "turn_max_tokens",
        "SLIPWAY_TURN_MAX_TOKENS",
        "1500000",
        "Tokens read and written in one turn; those read from the cache do not count.",
    ),
    key("turn_max_usd", "SLIPWAY_TURN_MAX_USD", "5", "US dollars in one turn."),
    key(
        "app_max_usd_per_day",
        "SLIPWAY_APP_MAX_USD_PER_DAY",
        "20",
        "US dollars that one app's turns may cost in a day (UTC), where the model's price is known.",
    ),
    key("turn_max_minutes", "SLIPWAY_TURN_MAX_MINUTES", "30", "Minutes in one turn."),
    key("build_workers", "SLIPWAY_BUILD_WORKERS", "2", "Builds and deployments at once."),
    key(
        "kept_jobs",
        "SLIPWAY_KEPT_JOBS",
        "200",
        "Newest jobs of each app whose logs are kept. Conversations are kept whole.",
    ),
    key(
        "kept_job_records",
        "SLIPWAY_KEPT_JOB_RECORDS",
        "1000",
        "Newest ended jobs of each app whose state and error are kept. Jobs of messages and releases are kept with these.",
    ),
    key("kept_runs", "SLIPWAY_KEPT_RUNS", "100", "Newest runs of each app that are kept, with their output."),
    key(
        "kept_releases",
        "SLIPWAY_KEPT_RELEASES",
        "10",
        "Newest releases of each environment whose images are kept, so that one can go back to them.",
    ),
    key("demo_pace", "SLIPWAY_DEMO_PACE", "1", "How fast the demo model types: 1 is watchable, 0 at once."),
];

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {path}; `slipway config` lists all keys")]
    Unknown {
        /// The key.
        key: String,
        /// Where it stands.
        path: PathBuf,
    },
    /// A value that does not fit its key.
    #[error("`{key}` ({source_name}): {reason}")]
    Bad {
        /// The key.
        key: &'static str,
        /// Where the value came from.
        source_name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where the model's answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The Messages API.
    Anthropic,
    /// An OpenAI-compatible server.
    OpenAi,
    /// The demo model inside Slipway.
    Demo,
}

/// Where apps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// In a Docker engine.
    Docker,
    /// In a Kubernetes cluster.
    Kubernetes,
}

/// Who may see drafts and previews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewAccess {
    /// Browsers that are logged in to the builder, and those that opened a share link.
    Login,
    /// Everybody who reaches them.
    Open,
}

/// What a cluster needs to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How to reach it; none: the one that we run in.
    pub kubeconfig: Option<String>,
    /// Class of the apps' Ingresses.
    pub ingress_class: String,
    /// Where the ingress controller runs.
    pub ingress_namespace: String,
    /// How often what was changed by hand is put back.
    pub reconcile_every: Duration,
}

/// What one turn may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TurnCaps {
    /// Answers of the model.
    pub steps: u32,
    /// Tokens read and written, those read from the cache left out.
    pub tokens: u64,
    /// US dollars, where the model's price is known.
    pub usd: f64,
    /// Wall time.
    pub time: Duration,
    /// US dollars of one app in a day.
    pub app_usd_per_day: f64,
}

/// How much of the past is kept of each app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Newest jobs whose events are kept.
    pub jobs: u32,
    /// Newest ended jobs whose rows are kept, besides those that a turn or a release refers to.
    pub job_records: u32,
    /// Newest runs.
    pub runs: u32,
    /// Newest releases of each environment whose images are kept, besides the live ones.
    pub releases: u32,
}

/// Everything that can be set, typed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Database, workspaces, uploads.
    pub data_dir: PathBuf,
    /// Address of pages, API and gateway.
    pub listen: SocketAddr,
    /// The domain of the builder; lowercase.
    pub domain: String,
    /// The domain under which apps, their previews and their drafts live: `domain`, unless they have one of their own.
    pub apps_domain: String,
    /// Who may see drafts and previews.
    pub preview_access: PreviewAccess,
    /// How links are written, with `{host}` in it.
    pub public_url: String,
    /// Proxies of the operator's, which are believed when they say who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections open at once.
    pub max_connections: usize,
    /// How long a client may keep us waiting in the middle of a request or an answer.
    pub client_timeout: Duration,
    /// Where apps run.
    pub runtime: RuntimeKind,
    /// What a cluster needs to be told.
    pub cluster: ClusterConfig,
    /// Networks that apps and builds may not reach, besides private ones.
    pub blocked_networks: Vec<Network>,
    /// Private addresses that apps and builds may reach; only on Docker.
    pub allowed_networks: Vec<AllowedNetwork>,
    /// Where images are pushed.
    pub registry: Option<String>,
    /// The registry's name as nodes pull from it.
    pub registry_pull: Option<String>,
    /// Who logs in to the registry, and with what; none where it takes everybody.
    pub registry_login: Option<(String, SecretString)>,
    /// Who answers.
    pub provider: Provider,
    /// Key for the Messages API.
    pub anthropic_api_key: Option<SecretString>,
    /// Where the Messages API is, without a slash at the end.
    pub anthropic_base_url: String,
    /// Key for an OpenAI-compatible server.
    pub openai_api_key: Option<SecretString>,
    /// Where an OpenAI-compatible server is, without a slash at the end.
    pub openai_base_url: String,
    /// The model.
    pub model: ModelId,
    /// The admin's password.
    pub admin_password: Option<SecretString>,
    /// Base images by the word that templates use for them.
    pub base_images: BTreeMap<String, String>,
    /// Address of the Docker engine.
    pub docker_host: Option<String>,
    /// The folder with the certificates for mutual TLS with the engine; none: no TLS.
    pub docker_cert_path: Option<PathBuf>,
    /// What one turn may use.
    pub turn_caps: TurnCaps,
    /// Builds and deployments at once.
    pub build_workers: usize,
    /// How much of the past is kept of each app.
    pub retention: Retention,
    /// How fast the demo model types: 1 is watchable, 0 at once.
    pub demo_pace: f64,
}

/// Values as text, with where each came from, and whether we run inside a cluster.
#[derive(Default)]
struct Sources(BTreeMap<&'static str, (String, String)>, bool);

impl Sources {
    fn text(&self, name: &'static str) -> Option<&str> {
        let default = KEYS.iter().find(|key| key.name == name).map_or("", |key| key.default);
        let text = self.0.get(name).map_or(default, |(value, _)| value);
        (!text.is_empty()).then_some(text)
    }

    fn bad(&self, key: &'static str, reason: impl Into<String>) -> ConfigError {
        let source_name = self.0.get(key).map_or_else(|| "default".to_owned(), |(_, source)| source.clone());
        ConfigError::Bad { key, source_name, reason: reason.into() }
    }

    fn parse<T: FromStr>(&self, name: &'static str, expected: &str) -> Result<T, ConfigError> {
        self.text(name).unwrap_or_default().trim().parse().map_err(|_| self.bad(name, format!("expected {expected}")))
    }

    fn positive<T: FromStr + PartialOrd + From<u8>>(&self, name: &'static str) -> Result<T, ConfigError> {
        let number: T = self.parse(name, "a number")?;
        if number < T::from(1) { Err(self.bad(name, "expected a number from 1")) } else { Ok(number) }
    }
}

impl Config {
    /// Reads the file (`file`, else `slipway.toml` if it is there), then the environment, then
    /// `flags` (by key name), and checks everything.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        match file {
            Some(path) => read_file(path, &mut sources)?,
            None if Path::new("slipway.toml").exists() => read_file(Path::new("slipway.toml"), &mut sources)?,
            None => {}
        }
        for (name, value) in environment {
            // What Kubernetes tells every container that it starts.
            sources.1 |= name == "KUBERNETES_SERVICE_HOST";
            if let Some(key) = KEYS.iter().find(|key| key.env == name) {
                sources.0.insert(key.name, (value, format!("environment variable {name}")));
            }
        }
        for (name, value) in flags {
            sources.0.insert(name, (value.clone(), format!("flag --{}", name.replace('_', "-"))));
        }
        Self::check(&sources)
    }

    fn check(sources: &Sources) -> Result<Self, ConfigError> {
        let owned = |name| sources.text(name).map(str::to_owned);
        let listen: SocketAddr = sources.parse("listen", "an address and a port, such as 127.0.0.1:8080")?;
        let domain = domain(sources, "domain")?;
        let apps_domain = apps_domain(sources, &domain)?;
        let public_url = owned("public_url").unwrap_or_else(|| format!("http://{{host}}:{}", listen.port()));
        if !public_url.contains("{host}") || !(public_url.starts_with("http://") || public_url.starts_with("https://"))
        {
            return Err(sources.bad("public_url", "expected http:// or https:// and {host}, such as https://{host}"));
        }
        let runtime = match sources.text("runtime").unwrap_or_default() {
            "auto" if sources.1 => RuntimeKind::Kubernetes,
            "auto" | "docker" => RuntimeKind::Docker,
            "kubernetes" => RuntimeKind::Kubernetes,
            _ => return Err(sources.bad("runtime", "expected auto, docker or kubernetes")),
        };
        let anthropic_api_key = owned("anthropic_api_key").map(SecretString::from);
        let (provider, model) = provider(sources, anthropic_api_key.is_some())?;
        let admin_password = admin_password(sources)?;
        if admin_password.is_none() && !listen.ip().is_loopback() {
            return Err(sources.bad(
                "listen",
                format!(
                    "{listen} can be reached from outside, so a password is needed: set SLIPWAY_ADMIN_PASSWORD or \
                     SLIPWAY_ADMIN_PASSWORD_FILE, or listen on 127.0.0.1"
                ),
            ));
        }
        let preview_access = preview_access(sources, admin_password.is_some())?;
        let demo_pace: f64 = sources.parse("demo_pace", "a number")?;
        if !(0.0..=100.0).contains(&demo_pace) {
            return Err(sources.bad("demo_pace", "expected a number from 0 to 100"));
        }
        let registry = owned("registry");
        if runtime == RuntimeKind::Kubernetes && registry.is_none() {
            return Err(sources.bad(
                "registry",
                "the nodes of a cluster pull images from a registry: set SLIPWAY_REGISTRY, and SLIPWAY_REGISTRY_PULL if \
                 they know it by another name",
            ));
        }
        Ok(Self {
            runtime,
            cluster: ClusterConfig {
                kubeconfig: owned("kubeconfig"),
                ingress_class: owned("ingress_class").unwrap_or_default(),
                ingress_namespace: owned("ingress_namespace").unwrap_or_default(),
                reconcile_every: Duration::from_secs(sources.positive("reconcile_seconds")?),
            },
            blocked_networks: list(sources, "blocked_networks")?,
            allowed_networks: allowed_networks(sources, runtime)?,
            data_dir: owned("data_dir").unwrap_or_default().into(),
            listen,
            domain,
            apps_domain,
            preview_access,
            public_url,
            trusted_proxies: trusted_proxies(sources)?,
            max_connections: max_connections(sources)?,
            client_timeout: Duration::from_secs(sources.positive::<u32>("client_timeout_seconds")?.into()),
            registry_pull: owned("registry_pull").or_else(|| registry.clone()),
            registry,
            registry_login: registry_login(sources)?,
            provider,
            anthropic_api_key,
            anthropic_base_url: address(sources, "anthropic_base_url")?,
            openai_api_key: owned("openai_api_key").map(SecretString::from),
            openai_base_url: address(sources, "openai_base_url")?,
            model,
            admin_password,
            base_images: ["python", "nginx"]
                .into_iter()
                .zip([owned("base_image_python"), owned("base_image_nginx")])
                .filter_map(|(word, image)| Some((word.to_owned(), image?)))
                .collect(),
            docker_host: owned("docker_host"),
            docker_cert_path: docker_cert_path(sources)?,
            turn_caps: turn_caps(sources)?,
            build_workers: sources.positive::<u16>("build_workers")?.into(),
            retention: Retention {
                jobs: sources.positive("kept_jobs")?,
                job_records: kept_job_records(sources)?,
                runs: sources.positive("kept_runs")?,
                releases: sources.positive("kept_releases")?,
            },
            demo_pace,
        })
    }

    /// A link to a host of ours.
    pub fn url(&self, host: &HostName) -> String {
        let domain = if *host == HostName::Builder { &self.domain } else { &self.apps_domain };
        self.public_url.replace("{host}", &host.to_host(domain))
    }

    /// Whether drafts and previews need the log-in or a share link.
    pub fn protects_previews(&self) -> bool {
        self.preview_access == PreviewAccess::Login
    }

    /// Whether links are written with https.
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// Whether browsers take the apps' hosts for another site than the builder's, so that a page of theirs within one
    /// of ours gets a third party's cookies: apps have a domain of their own, or the domain is a single label, which
    /// browsers treat as a public suffix.
    pub fn apps_are_another_site(&self) -> bool {
        self.apps_domain != self.domain || !self.domain.contains('.')
    }

    /// Every key with its default and meaning, as `slipway config` prints it.
    pub fn reference() -> String {
        let mut text = String::from(
            "# Every key of slipway.toml, with its default. The environment variable wins over the file, a flag over both.\n",
        );
        for key in KEYS {
            let default = if key.default.is_empty() { "(none)" } else { key.default };
            let kind = if key.secret { ", a secret" } else { "" };
            let _ = write!(text, "\n# {}\n# {}{kind}\n{} = {default:?}\n", key.about, key.env, key.name);
        }
        text
    }
}

/// Who answers, and the model that is asked for.
fn provider(sources: &Sources, has_key: bool) -> Result<(Provider, ModelId), ConfigError> {
    let provider = match sources.text("provider").unwrap_or_default() {
        "anthropic" if !has_key => Provider::Demo,
        "anthropic" => Provider::Anthropic,
        "demo" => Provider::Demo,
        "openai" => Provider::OpenAi,
        _ => return Err(sources.bad("provider", "expected anthropic, openai or demo")),
    };
    if provider == Provider::OpenAi && !sources.0.contains_key("model") {
        let reason = "the server of SLIPWAY_PROVIDER=openai has models of its own: set SLIPWAY_MODEL to one of them";
        return Err(sources.bad("model", reason));
    }
    let model = sources.text("model").unwrap_or_default().trim().parse();
    Ok((provider, model.map_err(|error: Invalid| sources.bad("model", error.0))?))
}

/// A domain, in lowercase.
fn domain(sources: &Sources, name: &'static str) -> Result<String, ConfigError> {
    let domain = sources.text(name).unwrap_or_default().to_ascii_lowercase();
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if domain.split('.').all(is_label) {
        return Ok(domain);
    }
    Err(sources.bad(name, "expected a domain, such as localhost or 203.0.113.7.nip.io"))
}

/// The domain of apps. One within the other would be the same site to browsers, and nothing would be separate.
fn apps_domain(sources: &Sources, own: &str) -> Result<String, ConfigError> {
    if sources.text("apps_domain").is_none() {
        return Ok(own.to_owned());
    }
    let apps = domain(sources, "apps_domain")?;
    let is_within = |inner: &str, outer: &str| inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    if is_within(&apps, own) || is_within(own, &apps) {
        let reason = format!(
            "{apps} and {own} belong to the same site, so apps would share cookies with the pages all the same: use a \
             domain that is registered separately"
        );
        return Err(sources.bad("apps_domain", reason));
    }
    Ok(apps)
}

/// Who may see drafts and previews. Where there is no password, there is no log-in to ask for.
fn preview_access(sources: &Sources, has_password: bool) -> Result<PreviewAccess, ConfigError> {
    match sources.text("preview_access") {
        None | Some("login") if has_password => Ok(PreviewAccess::Login),
        None | Some("open") => Ok(PreviewAccess::Open),
        Some("login") => {
            let reason = "login needs a password: set SLIPWAY_ADMIN_PASSWORD or SLIPWAY_ADMIN_PASSWORD_FILE as well";
            Err(sources.bad("preview_access", reason))
        }
        Some(_) => Err(sources.bad("preview_access", "expected login or open")),
    }
}

/// An address of a server, without a slash at the end.
fn address(sources: &Sources, name: &'static str) -> Result<String, ConfigError> {
    let address = sources.text(name).unwrap_or_default().trim().trim_end_matches('/');
    if address.starts_with("http://") || address.starts_with("https://") {
        Ok(address.to_owned())
    } else {
        Err(sources.bad(name, "expected an address that starts with http:// or https://"))
    }
}

/// What turns may use.
fn turn_caps(sources: &Sources) -> Result<TurnCaps, ConfigError> {
    let above_zero = |name: &'static str| -> Result<f64, ConfigError> {
        let usd: f64 = sources.parse(name, "a number")?;
        if usd.is_finite() && usd > 0.0 { Ok(usd) } else { Err(sources.bad(name, "expected a number above 0")) }
    };
    Ok(TurnCaps {
        steps: sources.positive("turn_max_steps")?,
        tokens: sources.positive("turn_max_tokens")?,
        usd: above_zero("turn_max_usd")?,
        time: Duration::try_from_secs_f64(60.0 * above_zero("turn_max_minutes")?).unwrap_or(Duration::MAX),
        app_usd_per_day: above_zero("app_max_usd_per_day")?,
    })
}

/// Values with commas between them.
fn list<T: FromStr<Err = Invalid>>(sources: &Sources, name: &'static str) -> Result<Vec<T>, ConfigError> {
    let text = sources.text(name).unwrap_or_default();
    let all = text.split(',').map(str::trim).filter(|value| !value.is_empty());
    all.map(|value| value.parse().map_err(|error: Invalid| sources.bad(name, error.0))).collect()
}

fn allowed_networks(sources: &Sources, runtime: RuntimeKind) -> Result<Vec<AllowedNetwork>, ConfigError> {
    let allowed = list(sources, "allowed_networks")?;
    if runtime == RuntimeKind::Kubernetes && !allowed.is_empty() {
        return Err(sources.bad(
            "allowed_networks",
            "this setting is for the Docker runtime; on a cluster, add a NetworkPolicy to the app's namespace",
        ));
    }
    Ok(allowed)
}

/// Addresses, or networks as an address, a slash and a number. A plain “true” is refused: whoever reaches
/// the builder beside the proxy could then say to be anybody.
fn trusted_proxies(sources: &Sources) -> Result<Vec<IpNet>, ConfigError> {
    let text = sources.text("trust_proxy").unwrap_or_default();
    let all = text.split(',').map(str::trim).filter(|proxy| !proxy.is_empty() && *proxy != "false");
    let parsed = all.map(|proxy| {
        let network = proxy.parse::<IpNet>().or_else(|_| proxy.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            let reason = if proxy == "true" {
                "name the proxy's addresses, such as 127.0.0.1 or 10.42.0.0/16, in place of “true”".to_owned()
            } else {
                format!("expected addresses or networks such as 127.0.0.1 or 10.42.0.0/16, not “{proxy}”")
            };
            sources.bad("trust_proxy", reason)
        })
    });
    parsed.collect()
}

fn max_connections(sources: &Sources) -> Result<usize, ConfigError> {
    let number: u32 = sources.parse("max_connections", "a number")?;
    if (16..=1_000_000).contains(&number) {
        Ok(number as usize)
    } else {
        Err(sources.bad("max_connections", "expected a number from 16 to 1000000"))
    }
}

/// Pages look at the newest jobs and at those with logs, so that many are kept in any case.
fn kept_job_records(sources: &Sources) -> Result<u32, ConfigError> {
    let number: u32 = sources.parse("kept_job_records", "a number")?;
    if number < JOBS_ON_PAGES {
        return Err(sources.bad("kept_job_records", format!("expected a number from {JOBS_ON_PAGES}")));
    }
    Ok(number.max(sources.positive("kept_jobs")?))
}

/// A secret that stands in one key, or in the file that another key names.
fn secret_or_file(
    sources: &Sources,
    name: &'static str,
    file: &'static str,
) -> Result<Option<SecretString>, ConfigError> {
    let from_file = match sources.text(file) {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| sources.bad(file, format!("cannot read {path}: {error}")))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    };
    Ok(sources.text(name).map(str::to_owned).or(from_file).map(SecretString::from))
}

fn registry_login(sources: &Sources) -> Result<Option<(String, SecretString)>, ConfigError> {
    let password = secret_or_file(sources, "registry_password", "registry_password_file")?;
    match (sources.text("registry_username"), password) {
        (None, None) => Ok(None),
        (Some(name), Some(password)) => Ok(Some((name.to_owned(), password))),
        (Some(_), None) => Err(sources.bad("registry_password", "expected a password for the registry's user")),
        (None, Some(_)) => Err(sources.bad("registry_username", "expected the user that the password belongs to")),
    }
}

/// Where the certificates for the engine are, if it is spoken to with TLS. As with Docker's own command line, any word
/// in `DOCKER_TLS_VERIFY` asks for TLS; unlike it, the engine's certificate is checked however TLS was asked for.
fn docker_cert_path(sources: &Sources) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(folder) = sources.text("docker_cert_path") {
        return Ok(Some(PathBuf::from(folder)));
    }
    if sources.text("docker_tls_verify").is_none() {
        return Ok(None);
    }
    match std::env::home_dir() {
        Some(home) => Ok(Some(home.join(".docker"))),
        None => Err(sources.bad("docker_tls_verify", "there is no home folder here: set DOCKER_CERT_PATH")),
    }
}

fn admin_password(sources: &Sources) -> Result<Option<SecretString>, ConfigError> {
    match secret_or_file(sources, "admin_password", "admin_password_file")? {
        Some(password) if password.expose_secret().len() < 8 => {
            Err(sources.bad("admin_password", "expected a password of 8 characters or more"))
        }
        other => Ok(other),
    }
}

fn read_file(path: &Path, sources: &mut Sources) -> Result<(), ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| failed(error.to_string()))?;
    for (name, value) in table {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Err(ConfigError::Unknown { key: name, path: path.to_owned() });
        };
        let source = path.display().to_string();
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            _ => {
                return Err(ConfigError::Bad {
                    key: key.name,
                    source_name: source,
                    reason: "expected a text or a number".to_owned(),
                });
            }
        };
        sources.0.insert(key.name, (text, source));
    }
    Ok(())
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
