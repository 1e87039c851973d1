//! What is done after a restore.

use super::{Mistake, Resolver, Result, Text, mistake_in, required};
use crate::config::after_restore::{
    AfterRestoreSettings, CallSettings, READY_WITHIN, ReadySettings, is_http_url, is_method,
};
use crate::config::document::{AfterRestoreDocument, CallDocument, ReadyDocument};
use crate::config::secret::Typed;
use crate::config::text::OneOrMany;

impl Resolver<'_> {
    pub(super) fn after_restore(&self, stack: &Text, after: &AfterRestoreDocument) -> Result<AfterRestoreSettings> {
        Ok(AfterRestoreSettings {
            restart: after
                .restart
                .iter()
                .flat_map(OneOrMany::texts)
                .map(|name| self.filled(name))
                .collect::<Result<_>>()?,
            call: after.call.as_ref().map(|call| self.call(stack, call)).transpose()?,
            run: after.run.iter().flatten().map(|command| self.command_line(command)).collect::<Result<_>>()?,
            ready: after.ready.as_ref().map(|ready| self.ready(stack, ready)).transpose()?,
        })
    }

    fn call(&self, stack: &Text, call: &CallDocument) -> Result<CallSettings> {
        let url = required(&call.url, stack, "after_restore: call: url", "the address that the request goes to")?;
        let method = match &call.method {
            None => "POST".to_owned(),
            Some(text) => {
                let method = self.filled(text)?;
                if !is_method(&method) {
                    return Err(Mistake::at(text.place, "this is no method of HTTP").with_hint("write POST or GET"));
                }
                method
            }
        };
        let headers = (&call.headers, &call.headers_file, &call.headers_command);
        Ok(CallSettings { url: self.http_url(url)?, method, headers: self.secret("headers", headers)? })
    }

    fn ready(&self, stack: &Text, ready: &ReadyDocument) -> Result<ReadySettings> {
        let hint = "the address that answers once it is ready, such as http://127.0.0.1:8080/.ready";
        let url = required(&ready.url, stack, "after_restore: ready: url", hint)?;
        let within = ready.within.as_ref().map_or(Ok(READY_WITHIN), |span| self.duration(span))?;
        Ok(ReadySettings { url: self.http_url(url)?, within })
    }

    /// No message repeats it, as there may be a secret in it.
    fn http_url(&self, text: &Text) -> Result<Typed> {
        let url = self.environment.replace(&text.raw).map_err(|what| mistake_in(text, what))?;
        match is_http_url(&url) {
            true => Ok(Typed::new(text.raw.to_string(), url)),
            false => Err(Mistake::at(text.place, "this is no address that a request can go to")
                .with_hint("write it like http://127.0.0.1:8080/path; a login goes into `headers`")),
        }
    }
}
