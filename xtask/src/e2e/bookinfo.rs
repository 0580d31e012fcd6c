//! Bookinfo, as its pages look in a browser.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lateen_testkit::http::{self, Answer};

use super::cluster::{Cluster, eventually};

const TITLE: &str = "<title>Simple Bookstore App</title>";

/// Bookinfo behind a gateway.
pub struct Bookinfo<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// `ADDRESS:PORT` of the gateway.
    pub address: String,
}

/// Which stars stand beside the reviews.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stars {
    None,
    Black,
    Red,
}

impl Bookinfo<'_> {
    pub fn page(&self, headers: &[&str]) -> Result<Answer> {
        let answer = http::request("GET", &self.address, "/productpage", headers, "")?;
        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
        Ok(answer)
    }

    pub fn has_title(&self) -> Result<()> {
        ensure!(self.page(&[])?.body.contains(TITLE), "the page has no title");
        Ok(())
    }

    /// Of that many pages, how many have these stars.
    pub fn share(&self, requests: usize, wanted: Stars) -> Result<usize> {
        let mut seen = 0;
        for _ in 0..requests {
            seen += usize::from(stars(&self.page(&[])?.body) == wanted);
        }
        Ok(seen)
    }

    /// Signs in, and gives the header line that keeps the session.
    pub fn sign_in(&self, user: &str) -> Result<String> {
        let answer =
            http::request("POST", &self.address, "/login", &[], &format!("username={user}&passwd="))?;
        let cookie = answer.header("set-cookie").unwrap_or_default();
        ensure!((300..400).contains(&answer.status) && !cookie.is_empty(), "no session: {answer:?}");
        Ok(format!("Cookie: {}", cookie.split(';').next().unwrap_or_default()))
    }

    pub fn sees(&self, session: &str, wanted: Stars) -> Result<()> {
        eventually(Duration::from_secs(15), || {
            let seen = stars(&self.page(&[session])?.body);
            ensure!(seen == wanted, "{seen:?} stars instead of {wanted:?}");
            Ok(())
        })
    }

    pub fn reads(&self, session: &str, text: &str) -> Result<()> {
        eventually(Duration::from_secs(40), || {
            ensure!(self.page(&[session])?.body.contains(text), "the page does not say {text:?}");
            Ok(())
        })
    }

    /// Status and seconds of a call to ratings from the pod `sleep`.
    pub fn call_ratings(&self, headers: &[&str]) -> Result<(u16, f64)> {
        let mut arguments =
            vec!["exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-s", "-o", "/dev/null"];
        arguments.extend(["-w", "%{http_code} %{time_total}"]);
        for header in headers {
            arguments.extend(["-H", header]);
        }
        arguments.push("http://ratings:9080/ratings/0");
        let text = self.cluster.kubectl(&arguments)?;
        let Some((status, seconds)) = text.trim().split_once(' ') else { bail!("curl said {text:?}") };
        Ok((status.parse()?, seconds.parse()?))
    }
}

fn stars(page: &str) -> Stars {
    match (page.contains("color=\"black\""), page.contains("color=\"red\"")) {
        (true, _) => Stars::Black,
        (_, true) => Stars::Red,
        _ => Stars::None,
    }
}
