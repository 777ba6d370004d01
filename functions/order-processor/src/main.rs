//! The order-processor as a program: see its library.

function_host::main!(order_processor::OrderProcessor);
