//! The numbers that Slipway holds itself to, each measured on the real binary, with the bare tools
//! doing the same beside it where there are such tools. Prints a Markdown table.
//!
//! `scripts/bench` prepares what this needs and runs it.

mod cluster;
mod deployments;
mod gateway;
mod home;
mod hostile;
mod report;
#[path = "../../tests/it/support/mod.rs"]
mod support;
mod tokens;

use report::Report;

/// Parts that can be measured alone: `scripts/bench gateway tokens`.
const PARTS: [&str; 6] = ["home", "tokens", "deployments", "gateway", "hostile", "cluster"];

fn main() {
    // Cargo adds flags of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = asked.iter().find(|word| !PARTS.contains(&word.as_str())) {
        eprintln!("There is no part “{unknown}”; the parts are {}.", PARTS.join(", "));
        std::process::exit(2);
    }
    let wanted = |part: &str| asked.is_empty() || asked.iter().any(|word| word == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(async {
        let mut report = Report::default();
        for part in PARTS.into_iter().filter(|part| wanted(part)) {
            report::say(&format!("measuring {part}"));
            match part {
                "home" => home::measure(&mut report).await,
                "tokens" => tokens::measure(&mut report).await,
                "deployments" => deployments::measure(&mut report).await,
                "gateway" => gateway::measure(&mut report).await,
                "hostile" => hostile::measure(&mut report).await,
                _ => cluster::measure(&mut report).await,
            }
        }
        report
    });
    println!("{}", report.table());
    if !report.holds() {
        std::process::exit(1);
    }
}
