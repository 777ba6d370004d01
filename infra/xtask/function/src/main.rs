//! `the-function` as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<the_function::TheFunction>()
}
