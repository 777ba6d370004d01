//! The notification-dispatcher as a program: see its library.

fn main() -> std::process::ExitCode {
    function_host::run::<notification_dispatcher::NotificationDispatcher>()
}
