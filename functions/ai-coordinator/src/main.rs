//! The ai-coordinator as a program: see its library.

function_host::main!(ai_coordinator::AiCoordinator);
