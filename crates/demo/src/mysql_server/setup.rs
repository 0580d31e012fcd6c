//! What a new data directory begins with: accounts, a database, tables.

use std::fmt::Write as _;

use anyhow::{Context, bail, ensure};

use super::Tables;
use crate::server::env;
use crate::voting::store::TABLE;

/// Accounts, the database and the image's tables.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Setup {
    root_password: String,
    /// Name and password of a user of the database.
    user: Option<(String, String)>,
    database: Option<String>,
    tables: Option<Tables>,
}

impl Setup {
    /// As the container's environment says.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be used.
    pub(super) fn from_env(tables: Option<Tables>) -> anyhow::Result<Self> {
        Self::from(tables, &|name| variable(name))
    }

    fn from(
        tables: Option<Tables>,
        variable: &dyn Fn(&str) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<Self> {
        let root_password = match variable("ROOT_PASSWORD")? {
            Some(password) => password,
            None if variable("ALLOW_EMPTY_PASSWORD")?.is_some()
                || variable("ALLOW_EMPTY_ROOT_PASSWORD")?.is_some() =>
            {
                String::new()
            }
            None if variable("RANDOM_ROOT_PASSWORD")?.is_some() => {
                // Nobody is told: a password in a log would be no secret. Use MYSQL_USER.
                format!("{:032x}", rand::random::<u128>())
            }
            None => {
                bail!("set MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD or MYSQL_RANDOM_ROOT_PASSWORD")
            }
        };
        let user = match (variable("USER")?, variable("PASSWORD")?) {
            (Some(user), _) if user == "root" => {
                bail!("MYSQL_USER is for other users; root has MYSQL_ROOT_PASSWORD")
            }
            (Some(user), Some(password)) => Some((user, password)),
            (Some(_), None) => bail!("MYSQL_USER is set and MYSQL_PASSWORD is not"),
            (None, _) => None,
        };
        let setup = Self { root_password, user, database: variable("DATABASE")?, tables };
        let user = setup.user.as_ref();
        for value in
            [Some(&setup.root_password), user.map(|u| &u.0), user.map(|u| &u.1), setup.database.as_ref()]
        {
            // The server reads its first statements line by line.
            ensure!(
                !value.is_some_and(|v| v.contains(char::is_control)),
                "names and passwords have no control characters"
            );
        }
        Ok(setup)
    }

    /// The statements, a line each.
    pub(super) fn statements(&self) -> String {
        let root = quoted(&self.root_password);
        let mut sql = format!(
            "FLUSH PRIVILEGES;\n\
             ALTER USER 'root'@'localhost' IDENTIFIED BY {root};\n\
             CREATE OR REPLACE USER 'root'@'%' IDENTIFIED BY {root};\n\
             GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n\
             DELETE FROM mysql.global_priv WHERE User = '';\n\
             DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';\n\
             DELETE FROM mysql.global_priv WHERE User = 'root' AND Host NOT IN ('localhost', '%');\n"
        );
        // Writing to a String does not fail.
        if let Some(database) = &self.database {
            let _ = writeln!(sql, "CREATE DATABASE IF NOT EXISTS {};", identifier(database));
        }
        if let Some((user, password)) = &self.user {
            let _ = writeln!(
                sql,
                "CREATE OR REPLACE USER {}@'%' IDENTIFIED BY {};",
                quoted(user),
                quoted(password)
            );
            if let Some(database) = &self.database {
                // A name in GRANT is a pattern.
                let pattern = identifier(&database.replace('_', "\\_").replace('%', "\\%"));
                let _ = writeln!(sql, "GRANT ALL ON {pattern}.* TO {}@'%';", quoted(user));
            }
        }
        sql.push_str(&self.tables());
        sql.push_str("FLUSH PRIVILEGES;\n");
        sql
    }

    fn tables(&self) -> String {
        match self.tables {
            None => String::new(),
            Some(Tables::Voting) => {
                let database = identifier(self.database.as_deref().unwrap_or("azurevote"));
                format!(
                    "CREATE DATABASE IF NOT EXISTS {database};\n\
                     CREATE TABLE {database}.{TABLE} (voteid INT NOT NULL AUTO_INCREMENT PRIMARY KEY, votevalue VARCHAR(45));\n"
                )
            }
            Some(Tables::Bookinfo) => "CREATE DATABASE IF NOT EXISTS test;\n\
                 CREATE TABLE test.ratings (ReviewID INT NOT NULL PRIMARY KEY, Rating INT);\n\
                 INSERT INTO test.ratings (ReviewID, Rating) VALUES (1, 5), (2, 4);\n"
                .to_owned(),
        }
    }
}

/// `MYSQL_NAME` or `MARIADB_NAME`, or the content of the file that `..._FILE` names.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    for prefix in ["MARIADB", "MYSQL"] {
        if let Some(value) = env(&format!("{prefix}_{name}")) {
            return Ok(Some(value));
        }
        let variable = format!("{prefix}_{name}_FILE");
        if let Some(file) = env(&variable) {
            let text = std::fs::read_to_string(&file).with_context(|| format!("{variable}: {file}"))?;
            return Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()));
        }
    }
    Ok(None)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn identifier(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(tables: Option<Tables>, variables: &[(&str, &str)]) -> anyhow::Result<Setup> {
        Setup::from(tables, &|name| {
            Ok(variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        })
    }

    #[test]
    fn without_a_root_password_nothing_is_made() {
        let error = setup(None, &[]).err().unwrap().to_string();
        assert!(error.contains("MYSQL_ROOT_PASSWORD"), "{error}");
        for how in ["ROOT_PASSWORD", "ALLOW_EMPTY_PASSWORD", "RANDOM_ROOT_PASSWORD"] {
            assert!(setup(None, &[(how, "yes")]).is_ok(), "{how}");
        }
        assert!(setup(None, &[("ROOT_PASSWORD", "a"), ("USER", "u")]).is_err());
        assert!(setup(None, &[("ROOT_PASSWORD", "a\nDROP")]).is_err());
    }

    #[test]
    fn the_voting_image_has_its_table_in_the_database_that_is_asked_for() {
        let variables =
            [("ROOT_PASSWORD", "r"), ("USER", "dbuser"), ("PASSWORD", "it's"), ("DATABASE", "azure_vote")];
        let sql = setup(Some(Tables::Voting), &variables).unwrap().statements();
        assert!(sql.contains("CREATE TABLE `azure_vote`.azurevote"), "{sql}");
        assert!(sql.contains("'dbuser'@'%' IDENTIFIED BY 'it''s'"), "{sql}");
        assert!(sql.contains("GRANT ALL ON `azure\\_vote`.* TO 'dbuser'@'%'"), "{sql}");
    }

    #[test]
    fn names_cannot_end_their_quotes() {
        let variables = [("ROOT_PASSWORD", "\\'; DROP"), ("DATABASE", "a`b")];
        let sql = setup(None, &variables).unwrap().statements();
        assert!(sql.contains("'\\\\''; DROP'") && sql.contains("`a``b`"), "{sql}");
    }
}
