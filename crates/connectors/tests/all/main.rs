//! Tests of the connectors that need processes of their own. One binary, since each costs link time.

#[cfg(test)]
mod containers;
#[cfg(test)]
mod killed_writer;
#[cfg(test)]
mod object_storage;
#[cfg(test)]
mod restic;
#[cfg(test)]
mod sftp_storage;
#[cfg(feature = "webdav")]
#[cfg(test)]
mod webdav;
