//! The order-processor as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<order_processor::OrderProcessor>()
}
