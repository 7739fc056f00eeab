//! The command line: `serve` runs the builder, `config` lists what can be set.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// Describe an app, watch it being written, preview it, publish it, roll it back.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, about)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the builder.
    Serve,
    /// List every setting with its default.
    Config,
    /// Set the packet filter rules that block private networks and the host for apps and builds on this machine's
    /// Docker engine. Needs root or `CAP_NET_ADMIN`. `serve` does this automatically if it has the right.
    NetworkRules(NetworkRules),
}

/// Options of the rules.
#[derive(Debug, Args)]
pub struct NetworkRules {
    /// Write the IPv4 rules for `iptables-restore --noflush` to standard output, and change nothing.
    #[arg(long)]
    pub print: bool,
    /// A DNS server that the engine asks, for --print; without --print this machine's are taken. May be repeated.
    #[arg(long, value_name = "ADDRESS", requires = "print")]
    pub resolver: Vec<std::net::IpAddr>,
}

/// Flags that win over the environment and the file.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file; default: slipway.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database, workspaces, uploads.
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Address of pages, API and gateway.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Apps live at <app>.<domain>.
    #[arg(long, global = true)]
    domain: Option<String>,
    /// How links are written, with {host} in it.
    #[arg(long, global = true, value_name = "PATTERN")]
    public_url: Option<String>,
    /// docker, kubernetes or auto.
    #[arg(long, global = true)]
    runtime: Option<String>,
    /// anthropic or demo.
    #[arg(long, global = true)]
    provider: Option<String>,
    /// Any model that the provider knows.
    #[arg(long, global = true)]
    model: Option<String>,
}

impl Cli {
    /// The configuration from file, environment and flags.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        let settings = &self.settings;
        let flags: Vec<(&'static str, String)> = [
            ("data_dir", &settings.data_dir),
            ("listen", &settings.listen),
            ("domain", &settings.domain),
            ("public_url", &settings.public_url),
            ("runtime", &settings.runtime),
            ("provider", &settings.provider),
            ("model", &settings.model),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect();
        // A variable that is no Unicode is none of ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::load(settings.config.as_deref(), environment, &flags)
    }
}
