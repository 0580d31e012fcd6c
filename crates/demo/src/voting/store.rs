//! Where votes are kept, and how each store counts them.

use anyhow::{Context, bail};

use super::Choices;
use crate::database::Address;
use crate::database::mysql::{self, Account, literal};
use crate::database::redis::{self, Reply};
use crate::server::env;

/// The table of the MySQL store: a row a vote.
pub const TABLE: &str = "azurevote";

/// A store of votes.
#[derive(Clone, Debug)]
pub enum Store {
    /// A number a choice.
    Redis(Address),
    /// A row a vote.
    Mysql(Account),
}

impl Store {
    /// The store of a version, where the sample's variables say: `REDIS_HOST` and `REDIS_PORT`, from version 2 on
    /// `MYSQL_HOST`, `MYSQL_PORT`, `MYSQL_USER`, `MYSQL_PASSWORD`, `MYSQL_DATABASE`.
    ///
    /// # Errors
    /// Names the variable that is not what it must be.
    pub fn from_env(version: &str) -> anyhow::Result<Self> {
        let host = "voting-storage";
        if !version.starts_with('2') {
            return Ok(Self::Redis(Address::from_env("REDIS", host, 6379)?));
        }
        let needed = |name: &str| {
            env(name).with_context(|| format!("{name} is not set; version {version} keeps votes in MySQL"))
        };
        Ok(Self::Mysql(Account {
            address: Address::from_env("MYSQL", host, 3306)?,
            user: needed("MYSQL_USER")?,
            password: env("MYSQL_PASSWORD").unwrap_or_default(),
            database: needed("MYSQL_DATABASE")?,
        }))
    }

    /// What the page calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Mysql(_) => "mysql",
        }
    }

    /// Adds a vote.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn vote(&self, choice: &str) -> anyhow::Result<()> {
        match self {
            Self::Redis(address) => drop(redis::command(address, &["INCR", choice]).await?),
            Self::Mysql(account) => {
                let statement = format!("INSERT INTO {TABLE} (votevalue) VALUES ({})", literal(choice));
                mysql::query(account, &statement).await?;
            }
        }
        Ok(())
    }

    /// Takes all votes away.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn reset(&self, choices: &Choices) -> anyhow::Result<()> {
        match self {
            Self::Redis(address) => {
                drop(redis::command(address, &["MSET", &choices.first, "0", &choices.second, "0"]).await?);
            }
            Self::Mysql(account) => drop(mysql::query(account, &format!("DELETE FROM {TABLE}")).await?),
        }
        Ok(())
    }

    /// The votes for the first and the second choice.
    ///
    /// # Errors
    /// When the store does not say, or not in numbers.
    pub async fn count(&self, choices: &Choices) -> anyhow::Result<(u64, u64)> {
        match self {
            Self::Redis(address) => Ok((
                redis_count(address, &choices.first).await?,
                redis_count(address, &choices.second).await?,
            )),
            Self::Mysql(account) => {
                let (first, second) = (literal(&choices.first), literal(&choices.second));
                let statement = format!(
                    "SELECT COALESCE(SUM(votevalue = {first}), 0), COALESCE(SUM(votevalue = {second}), 0) FROM {TABLE}"
                );
                let rows = mysql::query(account, &statement).await?;
                let column = |at: usize| rows.first().and_then(|row| row.get(at)?.as_ref()?.parse().ok());
                column(0).zip(column(1)).context("MySQL does not answer with two numbers")
            }
        }
    }
}

async fn redis_count(address: &Address, choice: &str) -> anyhow::Result<u64> {
    match redis::command(address, &["GET", choice]).await? {
        Reply::Bulk(None) => Ok(0),
        Reply::Bulk(Some(text)) => {
            text.parse().with_context(|| format!("{choice} is {text:?} in Redis, no number"))
        }
        other => bail!("Redis answers GET with {other:?}"),
    }
}
