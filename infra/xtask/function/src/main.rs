//! `the-function` as a program: see its library.

function_host::main!(the_function::TheFunction);
