//! A small curl, for machines that have none: HTTP/1.1 and HTTPS with the options that tutorials use.

mod tls;
mod transfer;
mod write_out;

use std::process::ExitCode;

use clap::Args;

/// The options, with curl's names.
#[derive(Clone, Debug, Args)]
#[command(disable_version_flag = true)]
pub struct Curl {
    /// The URLs
    #[arg(required = true)]
    pub urls: Vec<String>,
    /// Say nothing of progress and errors
    #[arg(short, long)]
    pub silent: bool,
    /// Say errors in spite of -s
    #[arg(short = 'S', long)]
    pub show_error: bool,
    /// Show the answer's headers as well
    #[arg(short = 'i', long = "include")]
    pub include: bool,
    /// Ask for headers only
    #[arg(short = 'I', long)]
    pub head: bool,
    /// Show what is sent and received
    #[arg(short, long)]
    pub verbose: bool,
    /// Write the answer to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<String>,
    /// What to write at the end, with %{http_code} and the like
    #[arg(short, long, value_name = "FORMAT")]
    pub write_out: Option<String>,
    /// A header to send
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The method
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub request: Option<String>,
    /// Data to post; @FILE reads a file
    #[arg(short, long, value_name = "DATA", allow_hyphen_values = true)]
    pub data: Vec<String>,
    /// Data to post as it is
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub data_raw: Vec<String>,
    /// Do not verify certificates
    #[arg(short = 'k', long)]
    pub insecure: bool,
    /// A file with the authorities to trust
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<String>,
    /// A file with the client's certificate, and its key unless --key has it
    #[arg(short = 'E', long, value_name = "FILE")]
    pub cert: Option<String>,
    /// A file with the client's key
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// The most seconds that all may take
    #[arg(short, long, value_name = "SECONDS")]
    pub max_time: Option<f64>,
    /// The most seconds that connecting may take
    #[arg(long, value_name = "SECONDS")]
    pub connect_timeout: Option<f64>,
    /// Follow redirects
    #[arg(short = 'L', long)]
    pub location: bool,
    /// Fail on statuses from 400 on
    #[arg(short, long)]
    pub fail: bool,
    /// User and password
    #[arg(short, long, value_name = "USER:PASSWORD")]
    pub user: Option<String>,
    /// The User-Agent to send
    #[arg(short = 'A', long, value_name = "NAME")]
    pub user_agent: Option<String>,
    /// Cookies to send
    #[arg(short = 'b', long, value_name = "DATA")]
    pub cookie: Option<String>,
    /// Send data in the query
    #[arg(short = 'G', long)]
    pub get: bool,
    /// Another address for a host: HOST:PORT:ADDRESS
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub resolve: Vec<String>,
    /// Keep no progress meter (there never is one)
    #[arg(long)]
    pub no_progress_meter: bool,
    /// Speak HTTP/1.1 (this is all that there is)
    #[arg(long = "http1.1")]
    pub http1: bool,
}

/// What can go wrong, with curl's exit codes.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A scheme other than HTTP.
    #[error(
        "(1) Protocol \"{0}\" not supported: this small curl speaks plain HTTP only; install curl for more"
    )]
    Protocol(String),
    /// A URL that is none.
    #[error("(3) URL rejected: {0}")]
    Url(String),
    /// A name that does not resolve.
    #[error("(6) Could not resolve host: {0}")]
    Resolve(String),
    /// A connection that is refused.
    #[error("(7) Failed to connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// A status from 400 on, with `-f`.
    #[error("(22) The requested URL returned error: {0}")]
    Status(u16),
    /// A file that cannot be written or read.
    #[error("(23) {0}")]
    File(std::io::Error),
    /// Too late.
    #[error("(28) Operation timed out after {0} milliseconds")]
    Timeout(u128),
    /// TLS that does not come about, or a certificate that is not trusted.
    #[error("(35) TLS connect error: {0}; -k does not verify certificates")]
    Tls(String),
    /// Too many redirects.
    #[error("(47) Maximum (50) redirects followed")]
    Redirects,
    /// A connection that ends without an answer.
    #[error("(52) Empty reply from server")]
    Empty,
    /// A certificate or key that cannot be read.
    #[error("(58) unable to read {0}: {1}")]
    Certificate(String, String),
    /// A connection that breaks.
    #[error("(56) Recv failure: {0}")]
    Receive(String),
}

impl Failure {
    /// The exit code.
    fn code(&self) -> u8 {
        match self {
            Self::Protocol(_) => 1,
            Self::Url(_) => 3,
            Self::Resolve(_) => 6,
            Self::Connect(..) => 7,
            Self::Status(_) => 22,
            Self::File(_) => 23,
            Self::Timeout(_) => 28,
            Self::Tls(_) => 35,
            Self::Certificate(..) => 58,
            Self::Redirects => 47,
            Self::Empty => 52,
            Self::Receive(_) => 56,
        }
    }
}

/// Transfers all URLs; the exit code is that of the last.
pub async fn run(curl: &Curl) -> ExitCode {
    let mut code = 0;
    for url in &curl.urls {
        code = match transfer::transfer(curl, url).await {
            Ok(()) => 0,
            Err(failure) => {
                if !curl.silent || curl.show_error {
                    eprintln!("curl: {failure}");
                }
                failure.code()
            }
        };
    }
    ExitCode::from(code)
}
