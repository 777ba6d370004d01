//! A process: finds out where it runs, starts the function, and serves.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};

use crate::{
    function::Function,
    host::Host,
    local,
    log::Severity,
    server,
    settings::{SettingError, Settings},
    state::Reach,
};

/// What the settings and the arguments say about where this process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Platform {
    Lambda,
    Google,
    Azure,
    Local,
    Stdin,
}

impl Platform {
    /// Each platform sets a variable of its own; without any of them it is a plain machine.
    fn of(settings: &Settings, stdin: bool) -> Self {
        let set = |name: &str| settings.get(name).is_some();
        match () {
            () if stdin => Platform::Stdin,
            () if set("AWS_LAMBDA_RUNTIME_API") => Platform::Lambda,
            () if set("FUNCTIONS_CUSTOMHANDLER_PORT") => Platform::Azure,
            () if set("K_SERVICE") => Platform::Google,
            () => Platform::Local,
        }
    }
}

/// The one line of a `main.rs`: [`run`] with the function's type, and the [`Allocator`](crate::Allocator) of its program.
///
/// ```ignore
/// function_host::main!(greeter::Greeter);
/// ```
#[macro_export]
macro_rules! main {
    ($function:ty) => {
        #[global_allocator]
        static ALLOCATOR: $crate::Allocator = $crate::Allocator;

        fn main() -> std::process::ExitCode {
            $crate::run::<$function>()
        }
    };
}

/// Runs a function until the platform ends it.
///
/// `--stdin` handles one event from standard input; `--help` tells the settings of the host.
#[must_use]
pub fn run<F: Function>() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let stdin = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--stdin"] => true,
        ["--help" | "-h"] => {
            println!("{}", help::<F>());
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("error: unknown arguments\n\n{}", help::<F>());
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(start::<F>(Settings::from_env(), stdin)) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {}: {message}", F::NAME);
            1
        }
    };
    // Work past its deadline must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn help<F: Function>() -> String {
    format!(
        "{name} handles events of these types: {consumes}\nand replies with: {emits}\n\n\
         Usage: {name}            serve, on whichever platform this is\n       \
         {name} --stdin    handle one event (JSON) from standard input, replies to standard output;\n                  \
         exit code 0 handled, 1 try again, 2 refused\n\n\
         Settings are environment variables:\n  \
         LISTEN         address on a plain machine (127.0.0.1:8080)\n  \
         OUTPUT_URL     where replies are posted; `answer`: always in the answer\n  \
         OUTPUT_BEARER  a key or token that is shown there\n  \
         STATE_URL      what is remembered: memory, file:///PATH, s3://BUCKET/PREFIX, gs://…, az://CONTAINER/PREFIX\n\n\
         Each platform is known by what it sets: AWS_LAMBDA_RUNTIME_API, FUNCTIONS_CUSTOMHANDLER_PORT, K_SERVICE.",
        name = F::NAME,
        consumes = F::CONSUMES.join(", "),
        emits = if F::EMITS.is_empty() { "nothing".to_owned() } else { F::EMITS.join(", ") },
    )
}

async fn start<F: Function>(settings: Settings, stdin: bool) -> Result<u8, String> {
    let platform = Platform::of(&settings, stdin);
    let host = Arc::new(Host::<F>::new(settings).map_err(|e| e.to_string())?);
    if platform != Platform::Stdin && host.reach() == Reach::Process {
        let message =
            "no state is configured (STATE_URL): repeats are recognised as long as this process lives, and by it alone";
        host.log().line(Severity::Warning, message);
    }
    match platform {
        Platform::Stdin => return Ok(local::stdin(&host).await),
        Platform::Lambda => lambda(host).await?,
        Platform::Google => google(host).await?,
        Platform::Azure => azure(host).await?,
        Platform::Local => {
            let address = local_address(host.settings()).map_err(|e| e.to_string())?;
            serve(host, address, |host, request| async move { local::respond(&host, request).await }).await?;
        }
    }
    Ok(0)
}

#[cfg(feature = "lambda")]
async fn lambda<F: Function>(host: Arc<Host<F>>) -> Result<(), String> {
    crate::lambda::run(host).await.map_err(|e| e.to_string())
}

#[cfg(not(feature = "lambda"))]
async fn lambda<F: Function>(_: Arc<Host<F>>) -> Result<(), String> {
    Err("this is AWS Lambda (AWS_LAMBDA_RUNTIME_API is set), and the program is built without lambda".into())
}

#[cfg(feature = "google")]
async fn google<F: Function>(host: Arc<Host<F>>) -> Result<(), String> {
    let port = port(host.settings(), "PORT").map_err(|e| e.to_string())?;
    let refused = crate::google::Refused::new(host.settings()).map_err(|e| e.to_string())?;
    // Google's front reaches the container over its network, not over loopback.
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    serve(host, address, move |host, request| async move { crate::google::respond(&host, refused, request).await })
        .await
}

#[cfg(not(feature = "google"))]
async fn google<F: Function>(_: Arc<Host<F>>) -> Result<(), String> {
    Err("this is Google Cloud (K_SERVICE is set), and the program is built without google".into())
}

#[cfg(feature = "azure")]
async fn azure<F: Function>(host: Arc<Host<F>>) -> Result<(), String> {
    let port = port(host.settings(), "FUNCTIONS_CUSTOMHANDLER_PORT").map_err(|e| e.to_string())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    serve(host, address, |host, request| async move { crate::azure::respond(&host, request).await }).await
}

#[cfg(not(feature = "azure"))]
async fn azure<F: Function>(_: Arc<Host<F>>) -> Result<(), String> {
    Err("this is Azure Functions (FUNCTIONS_CUSTOMHANDLER_PORT is set), and the program is built without azure".into())
}

#[cfg(any(feature = "azure", feature = "google"))]
fn port(settings: &Settings, name: &str) -> Result<u16, SettingError> {
    let required = settings.required(name)?;
    required.parse().map_err(|_| SettingError::new(name, "is no port: a number from 0 to 65535"))
}

/// `LISTEN`, else `PORT` on loopback, else port 8080 there.
fn local_address(settings: &Settings) -> Result<SocketAddr, SettingError> {
    match settings.get("LISTEN") {
        Some(text) => {
            text.parse().map_err(|_| SettingError::new("LISTEN", "is no address and port like 127.0.0.1:8080"))
        }
        None => Ok(SocketAddr::from(([127, 0, 0, 1], settings.read("PORT", 8080)?))),
    }
}

/// Serves HTTP until the process is told to stop.
async fn serve<F, A, R>(host: Arc<Host<F>>, address: SocketAddr, answer: A) -> Result<(), String>
where
    F: Function,
    A: Fn(Arc<Host<F>>, Request<Bytes>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Bytes>> + Send + 'static,
{
    let listener = server::bind(address).await?;
    let bound = listener.local_addr().map_err(|e| e.to_string())?;
    host.log().line(Severity::Info, &format!("listening on http://{bound}"));
    let log = host.clone();
    server::serve(listener, move |request| answer(host.clone(), request), server::stopped()).await;
    log.log().line(Severity::Info, "stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_is_known_by_what_it_sets() {
        for (set, platform) in [
            (&[][..], Platform::Local),
            (&["PORT"], Platform::Local),
            (&["PORT", "K_SERVICE"], Platform::Google),
            (&["FUNCTIONS_CUSTOMHANDLER_PORT", "PORT"], Platform::Azure),
            (&["AWS_LAMBDA_RUNTIME_API", "PORT"], Platform::Lambda),
        ] {
            let settings: Settings = set.iter().map(|name| (*name, "1")).collect();
            assert_eq!(Platform::of(&settings, false), platform, "{set:?}");
            assert_eq!(Platform::of(&settings, true), Platform::Stdin, "{set:?}");
        }
    }

    #[test]
    fn addresses_are_on_loopback_unless_said_otherwise() {
        let address = |pairs: &[(&str, &str)]| local_address(&pairs.iter().copied().collect()).map(|a| a.to_string());
        assert_eq!(address(&[]).unwrap(), "127.0.0.1:8080");
        assert_eq!(address(&[("PORT", "9")]).unwrap(), "127.0.0.1:9");
        assert_eq!(address(&[("PORT", "9"), ("LISTEN", "[::]:0")]).unwrap(), "[::]:0");
        for (name, value) in [("PORT", "99999"), ("LISTEN", "localhost")] {
            assert_eq!(&*address(&[(name, value)]).unwrap_err().name, name);
        }
    }
}
