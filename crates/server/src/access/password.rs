//! Passwords of people, kept as argon2id.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use operations::{Fault, FaultKind};

/// The shortest one that is taken. Length is what counts (NIST SP 800-63B, 3.1.1.2).
pub const CHARS_MIN: usize = 12;
/// A longer one would let anybody make the server compute for long.
const BYTES_MAX: usize = 1024;

/// Verified where there is no such user, so that nobody learns from the time it takes who there is.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash_of("nobody has this password").unwrap_or_default());

/// What is kept of a new password.
///
/// # Errors
///
/// Where it is too short, or so long that it is none.
pub fn hash(password: &str) -> Result<String, Fault> {
    if password.chars().count() < CHARS_MIN || password.len() > BYTES_MAX {
        return Err(Fault::new(FaultKind::Usage, format!("a password has at least {CHARS_MIN} characters"))
            .with_hint("take a few words that do not belong together"));
    }
    hash_of(password)
}

fn hash_of(password: &str) -> Result<String, Fault> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed
        .map(|hash| hash.to_string())
        .map_err(|error| Fault::new(FaultKind::Failed, format!("the password cannot be hashed: {error}")))
}

/// Whether `password` is the one that `kept` is of. Takes as long where there is nothing to compare with.
pub fn is_right(password: &str, kept: Option<&str>) -> bool {
    if password.len() > BYTES_MAX {
        return false;
    }
    let hash = kept.unwrap_or(&NOBODY);
    let parsed = PasswordHash::new(hash);
    let is_right = parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    is_right && kept.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_right() {
        let kept = hash("three plain words").unwrap();
        assert!(kept.starts_with("$argon2id$"), "{kept}");
        assert!(is_right("three plain words", Some(&kept)));
        assert!(!is_right("three plain word", Some(&kept)) && !is_right("", Some(&kept)));
        assert!(!is_right("nobody has this password", None), "there is no such user");
        assert!(!is_right("three plain words", Some("nonsense")));
        assert_ne!(kept, hash("three plain words").unwrap(), "salted");
        assert!(hash("eleven char").is_err() && hash(&"x".repeat(2000)).is_err());
    }
}
