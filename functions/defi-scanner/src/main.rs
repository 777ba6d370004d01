//! The defi-scanner as a program: see its library.

function_host::main!(defi_scanner::DefiScanner);
