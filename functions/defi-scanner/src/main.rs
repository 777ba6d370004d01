//! The defi-scanner as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<defi_scanner::DefiScanner>()
}
