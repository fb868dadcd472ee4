//! HTTP over `admin.sock`: one request, one answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::cli::task::TaskError;
use crate::service::admin::ADMIN_SOCKET;
use crate::service::in_directory;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The running server of a data directory.
pub struct Server {
    runtime: Runtime,
    data_dir: PathBuf,
}

impl Server {
    /// # Errors
    /// There is no runtime to be had.
    pub fn of(data_dir: &Path) -> Result<Self, TaskError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| TaskError::Server(format!("nothing, as {error}")))?;
        Ok(Self { runtime, data_dir: data_dir.to_owned() })
    }

    /// The answer to a question, whose parameters are `None` where they are left out.
    ///
    /// # Errors
    /// There is no server, or it refuses.
    pub fn get(&self, page: &str, parameters: &[(&str, Option<&str>)]) -> Result<Value, TaskError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in parameters {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        self.ask(Method::GET, &format!("/admin/{page}{mark}{query}"), String::new())
    }

    /// The answer to a change.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post(&self, page: &str, body: &Value) -> Result<Value, TaskError> {
        self.ask(Method::POST, &format!("/admin/{page}"), body.to_string())
    }

    fn ask(&self, method: Method, target: &str, body: String) -> Result<Value, TaskError> {
        let asked = async {
            let connected = in_directory(&self.data_dir, ADMIN_SOCKET, |path| {
                std::os::unix::net::UnixStream::connect(path)
            });
            let stream = connected.map_err(|error| self.unreached(&error))?;
            let broken = |error: &dyn std::fmt::Display| {
                TaskError::Server(format!("nothing, as the connection broke: {error}"))
            };
            stream.set_nonblocking(true).map_err(|error| broken(&error))?;
            let stream = UnixStream::from_std(stream).map_err(|error| broken(&error))?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
            tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(target)
                .header(HOST, "localhost")
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body)))
                .map_err(|error| broken(&error))?;
            let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let is_refused = !answer.status().is_success();
            let body = answer.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
            let answer: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
            match is_refused {
                true => {
                    Err(TaskError::Server(answer["error"]["message"].as_str().unwrap_or_default().to_owned()))
                }
                false => Ok(answer),
            }
        };
        let in_time = async { timeout(PATIENCE, asked).await };
        let late = |_| TaskError::Server("nothing in time".to_owned());
        self.runtime.block_on(in_time).map_err(late)?
    }

    fn unreached(&self, error: &std::io::Error) -> TaskError {
        let socket = self.data_dir.join(ADMIN_SOCKET);
        TaskError::NoServer { socket, error: error.to_string() }
    }
}
