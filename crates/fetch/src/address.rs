//! Where something lies on the network, with its credentials kept out of every message.

use std::fmt;

use anyhow::{Context, Result, bail};

/// An `http` or `https` URL. Shown and compared without the credentials that it may carry.
#[derive(Clone)]
pub struct Address {
    secure: bool,
    /// Host and port as written, lower case.
    authority: String,
    /// Begins with `/`; may hold a query.
    path: String,
    login: Option<Login>,
}

/// Credentials for HTTP's basic scheme (RFC 7617).
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Address {
    /// Reads a URL. Other schemes are an error.
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, authority) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((login, authority)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                let plain = |text: &str| decode(text).context("read the login of a URL");
                let login = Login { user: plain(user)?, password: plain(password)? };
                (Some(login), authority)
            }
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            // The text is not shown: what is before `@` may be a password.
            _ => bail!(
                "`{authority}{path}` is no address: it begins with neither http:// nor https://"
            ),
        };
        if authority.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            bail!("`{}` is no address", format!("{scheme}://{authority}{path}").escape_debug());
        }
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.to_ascii_lowercase(), path, login })
    }

    /// The address of the file `location` below this one: each byte that a server may read in
    /// another sense is encoded, `+` and `%` too; `~` is not.
    pub fn join(&self, location: &str) -> Self {
        let mut path = self.path.trim_end_matches('/').to_owned();
        path.push('/');
        for byte in location.bytes() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => path.push(char::from(byte)),
                _ => path.push_str(&format!("%{byte:02X}")),
            }
        }
        Self { path, ..self.clone() }
    }

    /// The address beside this one: its last component replaced.
    pub(crate) fn sibling(&self, last: &str) -> Self {
        let path = self.path.trim_end_matches('/');
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        Self { path: parent.to_owned(), ..self.clone() }.join(last)
    }

    /// The last component of the path.
    pub(crate) fn last(&self) -> &str {
        self.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// Where a redirection (RFC 9110, 10.2.2) leads; never from `https` to `http`. Credentials go
    /// along only to the same host.
    pub(crate) fn redirected(&self, location: &str) -> Result<Self> {
        let next = if let Some(rest) = location.strip_prefix("//") {
            Self::parse(&format!("{}://{rest}", self.scheme()))?
        } else if location.starts_with('/') {
            Self { path: location.to_owned(), ..self.clone() }
        } else if location.contains("://") {
            Self::parse(location)?
        } else {
            let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            Self { path: format!("{parent}/{location}"), ..self.clone() }
        };
        if self.secure && !next.secure {
            bail!("{self} redirects to {next}, which is not encrypted");
        }
        let same = next.secure == self.secure && next.authority == self.authority;
        let login = next.login.clone().or_else(|| self.login.clone().filter(|_| same));
        Ok(Self { login, ..next })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    pub(crate) fn secure(&self) -> bool {
        self.secure
    }

    /// Host without port; an IPv6 address keeps its brackets.
    pub(crate) fn host(&self) -> &str {
        let end = self.authority.rfind(']').unwrap_or(0);
        let colon = self.authority[end..].find(':').map(|colon| end + colon);
        &self.authority[..colon.unwrap_or(self.authority.len())]
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.path)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Login {
    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Basic {}", base64(format!("{}:{}", self.user, self.password).as_bytes()))
    }
}

/// Undoes percent-encoding (RFC 3986, 2.1).
fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.context("a `%` without two digits")?;
        bytes.push(u8::from_str_radix(digits, 16).context("a `%` without two digits")?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).context("percent-encoding of no UTF-8")
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn names_are_encoded_once_and_tilde_not_at_all() {
        let base = address("http://Mirror.test/debian/");
        assert_eq!(
            base.join("pool/g++_1.0+b1~rc2_amd64.deb").to_string(),
            "http://mirror.test/debian/pool/g%2B%2B_1.0%2Bb1~rc2_amd64.deb"
        );
        assert_eq!(base.join("a_5%3a20.10").path(), "/debian/a_5%253a20.10");
    }

    #[test]
    fn credentials_are_never_shown_and_stay_with_their_host() {
        let one = address("https://me:p%40ss@mirror.test:8443/a/b");
        assert!(!format!("{one} {one:?}").contains("ss@"), "{one:?}");
        let login = |address: &Address| address.login().map(|l| l.password.clone());
        assert_eq!(login(&one).as_deref(), Some("p@ss"));
        assert_eq!(login(&one.redirected("c").unwrap()).as_deref(), Some("p@ss"));
        assert_eq!(login(&one.redirected("https://other.test/c").unwrap()), None);
        assert_eq!(login(&one.redirected("//mirror.test/c").unwrap()), None);
        let error = Address::parse("ftp://me:secret@mirror.test/").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn redirections_lead_where_they_say_but_never_out_of_https() {
        let one = address("https://mirror.test/a/b");
        assert_eq!(one.redirected("/x").unwrap().to_string(), "https://mirror.test/x");
        assert_eq!(one.redirected("x").unwrap().to_string(), "https://mirror.test/a/x");
        assert!(one.redirected("http://mirror.test/x").is_err());
        assert!(one.redirected("file:///etc/passwd").is_err());
    }

    #[test]
    fn hosts_and_siblings() {
        assert_eq!(address("http://[::1]:80/x").host(), "[::1]");
        assert_eq!(address("http://a.test:80/x").host(), "a.test");
        let sibling = address("http://a.test/mirror/debian/").sibling("debian-security");
        assert_eq!(sibling.path(), "/mirror/debian-security");
        for bad in ["", "mirror.test/debian", "http://", "http://a b/", "file:///x"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_agrees_with_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
