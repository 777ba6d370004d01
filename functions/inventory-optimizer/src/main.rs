//! The inventory-optimizer as a program: see its library.

function_host::main!(inventory_optimizer::InventoryOptimizer);
