//! `coffee-functions`: the five functions of the platform in one program, so that the demo builds them at once. Which
//! one a process is says `COFFEE_FUNCTION`; all else is as in the function's own program.

use std::process::ExitCode;

use ai_coordinator::AiCoordinator;
use defi_scanner::DefiScanner;
use function_host::{Function, run};
use inventory_optimizer::InventoryOptimizer;
use notification_dispatcher::NotificationDispatcher;
use order_processor::OrderProcessor;

/// What a function's own program does.
type Run = fn() -> ExitCode;

fn main() -> ExitCode {
    let all: [(&str, Run); 5] = [
        (OrderProcessor::NAME, run::<OrderProcessor>),
        (InventoryOptimizer::NAME, run::<InventoryOptimizer>),
        (DefiScanner::NAME, run::<DefiScanner>),
        (AiCoordinator::NAME, run::<AiCoordinator>),
        (NotificationDispatcher::NAME, run::<NotificationDispatcher>),
    ];
    let name = std::env::var("COFFEE_FUNCTION").unwrap_or_default();
    if let Some((_, run)) = all.iter().find(|(known, _)| *known == name) {
        return run();
    }
    let known: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    eprintln!("error: COFFEE_FUNCTION is one of {}", known.join(", "));
    ExitCode::from(2)
}
