//! Servers that policies ask: who may pass, by gRPC and by HTTP, and which keys sign tokens. A test runs this program in
//! a pod with [`serve`] as its only test.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use lateen_xds::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use lateen_xds::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use lateen_xds::pb::envoy::service::auth::v3::check_response::HttpResponse;
use lateen_xds::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use lateen_xds::pb::google::rpc;

/// Longer than any provider of the tests waits.
const SLOW: Duration = Duration::from_secs(4);

/// The command that serves, for `lateen up --image`.
pub fn command() -> String {
    let program = std::env::current_exe().unwrap();
    format!("{} --exact judges::serve --ignored --nocapture", program.display())
}

#[test]
#[ignore = "a server, which other tests run in a pod"]
fn serve() {
    std::thread::spawn(|| listen(8000, judge));
    std::thread::spawn(|| listen(8080, file));
    for port in 7000..=7005 {
        std::thread::spawn(move || echo(port));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async {
            let service = AuthorizationServer::new(Judge);
            tonic::transport::Server::builder()
                .add_service(service)
                .serve("0.0.0.0:9000".parse().unwrap())
                .await
        })
        .unwrap();
}

/// One request over HTTP/1.1.
struct Asked {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    fn read(reader: &mut impl BufRead) -> Option<Asked> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut asked = Asked { path, headers: Vec::new(), body: Vec::new() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            asked.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = asked.header("content-length").parse().unwrap_or(0);
        asked.body.resize(length, 0);
        reader.read_exact(&mut asked.body).ok()?;
        Some(asked)
    }
}

fn listen(port: u16, answer: fn(&Asked) -> String) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || connection(stream, answer));
    }
}

fn connection(stream: TcpStream, answer: fn(&Asked) -> String) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(asked) = Asked::read(&mut reader) {
        if writer.write_all(answer(&asked).as_bytes()).is_err() {
            return;
        }
    }
}

/// Says what it hears.
fn echo(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    for mut stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
    }
}

/// Lets requests pass that carry `x-ext-authz: allow`, and tells the application what was asked.
fn judge(asked: &Asked) -> String {
    if asked.path.contains("slow") {
        std::thread::sleep(SLOW);
    }
    let seen = format!("http {} {} {}", asked.path, asked.body.len(), asked.header("x-added"));
    match asked.header("x-ext-authz") {
        "allow" => format!("HTTP/1.1 200 OK\r\nx-checked: {seen}\r\ncontent-length: 0\r\n\r\n"),
        _ => "HTTP/1.1 401 Unauthorized\r\nx-why: because\r\nx-secret: s\r\ncontent-length: 7\r\n\r\ngo away"
            .to_owned(),
    }
}

/// The file of that name in `/keys`.
fn file(asked: &Asked) -> String {
    let name = asked.path.rsplit('/').next().unwrap_or_default();
    match std::fs::read_to_string(Path::new("/keys").join(name)) {
        Ok(text) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
        Err(_) => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    }
}

struct Judge;

#[tonic::async_trait]
impl Authorization for Judge {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let caller = attributes.source.map(|s| s.principal).unwrap_or_default();
        // Of a connection nothing is known but who made it.
        let Some(http) = attributes.request.and_then(|r| r.http) else {
            let code = if caller.ends_with("/sa/friend") { 0 } else { 7 };
            let status = Some(rpc::Status { code, ..rpc::Status::default() });
            return Ok(tonic::Response::new(CheckResponse { status, ..CheckResponse::default() }));
        };
        if http.path.contains("slow") {
            tokio::time::sleep(SLOW).await;
        }
        let header = |key: &str, value: String| HeaderValueOption {
            header: Some(HeaderValue { key: key.into(), value, raw_value: Vec::new() }),
            ..HeaderValueOption::default()
        };
        let (code, answer) = match http.headers.get("x-ext-authz").map(String::as_str) {
            Some("allow") => {
                let seen = format!("grpc {} {} {caller}", http.path, http.body.len());
                let headers = vec![header("x-checked", seen)];
                (0, HttpResponse::OkResponse(OkHttpResponse { headers, ..OkHttpResponse::default() }))
            }
            _ => {
                let headers = vec![header("x-why", "because".to_owned())];
                let body = "go away".to_owned();
                (7, HttpResponse::DeniedResponse(DeniedHttpResponse { headers, body, ..Default::default() }))
            }
        };
        Ok(tonic::Response::new(CheckResponse {
            status: Some(rpc::Status { code, ..rpc::Status::default() }),
            http_response: Some(answer),
            ..CheckResponse::default()
        }))
    }
}
