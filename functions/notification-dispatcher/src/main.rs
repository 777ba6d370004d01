//! The notification-dispatcher as a program: see its library.

function_host::main!(notification_dispatcher::NotificationDispatcher);
