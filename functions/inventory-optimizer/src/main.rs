//! The inventory-optimizer as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<inventory_optimizer::InventoryOptimizer>()
}
