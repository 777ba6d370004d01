//! The ai-coordinator as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<ai_coordinator::AiCoordinator>()
}
