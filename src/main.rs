//! The binary: reads the command line, starts the builder, stops it in order.

use anyhow::Context;
use clap::Parser;
use slipway::cli::{Cli, Command};
use slipway::config::Config;
use slipway::{data_dir, file_limit, server, startup, telemetry, web};

fn main() -> anyhow::Result<()> {
    // Before anything speaks TLS: there is one provider, and it is chosen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    match cli.command {
        Command::Config => {
            print!("{}", Config::reference());
            Ok(())
        }
        Command::NetworkRules(ref how) => {
            let firewall = startup::firewall(&cli.configuration()?)?;
            if how.print {
                print!("{}", firewall.script(&how.resolver));
                return Ok(());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(firewall.serve()).context("the packet filter rules were not set")
        }
        Command::Serve => {
            // Before anything is written, and while there is one thread.
            data_dir::only_owner_reads();
            telemetry::start();
            let config = cli.configuration()?;
            file_limit::raise();
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(workers())
                .enable_all()
                .build()?
                .block_on(serve(config))
        }
    }
}

/// Half of the processors, and never fewer than two: with a single thread, whatever keeps it busy keeps
/// everybody waiting. More would cost the gateway requests, since idle threads wake each other all the time;
/// builds, git and apps get the rest.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |processors| processors.get().div_ceil(2).max(2))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let address = config.listen;
    // Taken first: an address that is in use is said before anything is changed.
    let listener = server::listen(address).with_context(|| format!("cannot listen on {address}"))?;
    let builder = startup::start(config).await?;
    let services = builder.services.clone();
    let url = services.url(&slipway::domain::HostName::Builder);
    let (is_demo, model) = services.model();
    tracing::info!(%address, %url, %model, is_demo, "Slipway is ready");
    let lifecycle = builder.lifecycle.clone();
    let app = server::app(services.clone(), web::router(services));
    let server = lifecycle.tasks.spawn(server::serve(listener, app, lifecycle.clone()));
    builder.lifecycle.run_until_stopped(server).await
}
