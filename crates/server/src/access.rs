//! Who may do what.

mod caller;
mod password;
mod role;
mod secret;
mod session;
mod setup;
mod throttle;
mod token;
mod user;

pub use caller::{Caller, Visitor, cookies, is_same_origin};
pub use role::Role;
pub use session::{COOKIE, Sessions};
pub use setup::Setup;
pub use throttle::Throttle;
pub use token::{NewToken, Token, Tokens};
pub use user::{User, Users};
