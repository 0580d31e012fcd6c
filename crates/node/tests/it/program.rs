//! What the pods run: `serve PORT TEXT`, `get URL`, `fail CODE`, `sleep`, `stubborn`, `cat FILE`, `whoami`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

pub fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", port, text] => serve(port.parse().unwrap(), text),
        ["get", url] => match get(url) {
            Ok(body) => println!("{body}"),
            Err(error) => {
                println!("{:?}", error.kind());
                return ExitCode::FAILURE;
            }
        },
        ["fail", code] => {
            println!("failing with {code}");
            return ExitCode::from(code.parse::<u8>().unwrap());
        }
        ["cat", file] => print!("{}", std::fs::read_to_string(file).unwrap()),
        ["stubborn"] => {
            use nix::sys::signal::{SigSet, Signal};
            SigSet::from(Signal::SIGTERM).thread_block().unwrap();
            println!("stubborn");
            std::thread::sleep(Duration::from_secs(600));
        }
        ["whoami"] => {
            println!("{} {}", nix::unistd::getuid(), std::env::var("LATEEN_SOCKET_MARK").unwrap_or_default());
        }
        _ => std::thread::sleep(Duration::from_secs(600)),
    }
    ExitCode::SUCCESS
}

fn serve(port: u16, text: &str) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let text = format!("{text} from {}", stream.peer().unwrap_or_default());
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let len = text.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{text}");
            let _ = stream.write_all(answer.as_bytes());
        });
    }
}

trait Peer {
    fn peer(&self) -> Option<String>;
}

impl Peer for TcpStream {
    fn peer(&self) -> Option<String> {
        self.peer_addr().ok().map(|a| a.ip().to_string())
    }
}

/// The body of `http://HOST:PORT/`.
pub fn get(url: &str) -> std::io::Result<String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address)?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}
